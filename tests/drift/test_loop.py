"""From production to the next training, as a user goes it: log, compare, pick, label, score, prepare."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from models.stack import tf
from pipeline import cli, stages
from pipeline.config import load
from pipeline.data.input import encoded_pictures
from pipeline.data.requests.reader import Choice, RequestLog
from pipeline.errors import ConfigError, DataError, VerificationError
from pipeline.labelled_pictures import pictures_of
from pipeline.run import Run
from pipeline.trained import load_task
from serving.client import connect
from serving.local.conversion import tensor_of
from tests.contracts.tables import COLOURS
from tests.drift.runs import answered, darker, logged, make_run
from tests.serving.processes import convoy_serve
from tests.serving.running import config_of

Row = Mapping[str, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    made = make_run(folder, "classification")
    stages.export(load(folder / "config.yaml"), made)
    return made


@pytest.fixture(scope="module")
def pictures(run: Run) -> list[bytes]:
    store = stages.open_store(run)
    return encoded_pictures(store, "test", store.info.num_examples["test"])


@pytest.fixture(scope="module")
def log(run: Run, pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server logged that was asked every picture over gRPC, and three again over REST."""
    folder = tmp_path_factory.mktemp("served")
    options = ("--request-log", str(folder / "log"), "--log-share", "1")
    with convoy_serve(config_of({"m": run.saved_model}), folder, *options) as serving:
        with connect(f"grpc://127.0.0.1:{serving.grpc_port}/v1/models/m") as client:
            for picture in pictures:
                client.predict([picture])
        with connect(f"http://127.0.0.1:{serving.rest_port}/v1/models/m") as client:
            client.predict(pictures[:3])
        serving.process.send_signal(signal.SIGTERM)
        serving.process.wait(60)
    assert f"request log: {len(pictures) + 1} logged, 0 dropped" in (folder / "serve.log").read_text(encoding="utf-8")
    return folder / "log"


def executed(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and messages of a command."""
    code = cli.execute([*map(str, arguments), "--json"])
    told = capfd.readouterr()
    return code, json.loads(told.out), told.err


def truth(data: bytes) -> str:
    """What a person sees: the colour of the square."""
    with Image.open(io.BytesIO(data)) as picture:
        return COLOURS[int(np.asarray(picture).mean(axis=(0, 1)).argmax())]


def filled_in(table: Path, labels: Sequence[str]) -> list[Row]:
    """Writes labels into the rows of a table, as far as they go."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, label in zip(rows, labels, strict=False):
        row["label"] = label
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_what_was_served_is_logged_as_it_was_answered(run: Run, pictures: list[bytes], log: Path) -> None:
    found = RequestLog(log)
    logged_pictures = list(found.pictures(found.ids(Choice())))
    assert [one.image for one in logged_pictures] == [*pictures, *pictures[:3]]
    expected = answered(run, pictures)["scores"]
    scores = np.stack([one.outputs["scores"] for one in logged_pictures])
    np.testing.assert_allclose(scores, [*expected, *expected[:3]], atol=1e-4)


def test_the_log_is_shown(log: Path, pictures: list[bytes], capfd: pytest.CaptureFixture[str]) -> None:
    code, document, _ = executed(capfd, "requests", log)
    (shard,) = document["shards"]
    assert (code, document["pictures"], shard["model"]) == (0, len(pictures) + 3, "m")
    assert (shard["versions"], shard["signature"]) == ({"1": len(pictures) + 3}, "serving_default")
    assert cli.execute(["requests", str(log)]) == 0
    assert f"{len(pictures) + 3}  1" in capfd.readouterr().out.replace("       ", "  ")


def test_drift_by_its_exit_code(run: Run, log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, document, told = executed(capfd, "drift", run.path, log)
    assert (code, document["drifted"], document["agreement"]) == (0, False, 1.0), document["why"]
    assert f"drift: {run.drift_page}" in told
    logged(run, tmp_path / "dark", darker)
    code, document, _ = executed(capfd, "drift", run.path, tmp_path / "dark")
    assert code == VerificationError.exit_code and document["drifted"] and "brightness" in document["why"]
    assert "convoy requests" in document["error"]["message"]
    kept = json.loads(run.drift.read_text(encoding="utf-8"))
    assert kept["drifted"] is True and kept["versions"] == {"1": kept["looked_at"]}
    brightness = next(one for one in kept["measures"] if one["measure"] == "brightness")
    assert brightness["verdict"] == "drifted" and brightness["psi"] > 1
    page = run.drift_page.read_text(encoding="utf-8")
    assert "measures have drifted" in page and page.count("data:image/png;base64,") == 24
    assert 'src="http' not in page and "<script" not in page


def test_picked_labelled_scored_prepared(
    run: Run, pictures: list[bytes], log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab"
    code, document, _ = executed(capfd, "requests", log, "--to", lab, "--run", run.path, "--count", 1000)
    assert (code, document["pictures"], document["columns"]) == (0, len(pictures), ["label"])  # no file twice
    with (lab / "requests.csv").open(encoding="utf-8", newline="") as stream:
        files = [(lab / row["image"]).read_bytes() for row in csv.DictReader(stream)]
    labels = [truth(data) for data in files]
    rows = filled_in(lab / "requests.csv", labels[:-5])
    right = [row["answer"].split()[0] == row["label"] for row in rows[:-5]]

    code, document, _ = executed(capfd, "requests", log, "--labels", lab / "requests.csv", "--run", run.path)
    assert (code, document["metric"], document["labelled"]) == (0, "accuracy", len(files) - 5)
    assert document["value"] == pytest.approx(np.mean(right)) and document["picked"] == {"random": len(files) - 5}

    known = pictures_of(lab / "requests.csv", load_task(run), 1000)  # as `convoy canary --pictures` reads them
    names = load_task(run).output_names
    assert [names[one.labels["label"]] for one in known if one.labels] == labels[:-5]

    filled_in(lab / "requests.csv", labels)
    source = {"kind": "table", "path": "lab/requests.csv", "id_column": "id", "label_column": "label"}
    config = {"data": {"source": source, "splits": {"validation": 0.5, "test": 0}}, "task": {"kind": "classification"}}
    (tmp_path / "next.yaml").write_text(json.dumps(config), encoding="utf-8")
    before = Path.cwd()
    assert cli.execute(["prepare", str(tmp_path / "next.yaml"), f"data.source.path={lab / 'requests.csv'}",
                        "--run", str(tmp_path / "next")]) == 0  # fmt: skip
    assert Path.cwd() == before
    info = stages.open_store(Run(tmp_path / "next")).info
    assert info.class_names == tuple(sorted(COLOURS)) and sum(info.num_examples.values()) == len(pictures)


def test_the_least_sure_and_the_furthest(
    run: Run, log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        executed(
            capfd, "requests", log, "--to", tmp_path / "unsure", "--run", run.path, "--pick", "unsure", "--count", 7
        )[0]
        == 0
    )
    found = RequestLog(log)
    scores = {one.id: float(one.outputs["scores"].max()) for one in found.pictures(found.ids(Choice()))}
    rows = filled_in(tmp_path / "unsure" / "requests.csv", [])
    once = {round(score, 5) for score in scores.values()}
    assert sorted(round(scores[row["id"]], 5) for row in rows) == sorted(once)[:7]

    mixed = tmp_path / "mixed"
    logged(run, mixed, darker, model="m")
    strange = logged(run, mixed, lambda one: Image.effect_noise(one.size, 200).convert("RGB"), model="m", version=2)
    assert len(strange.shards) == 2
    code, document, _ = executed(
        capfd, "requests", mixed, "--to", tmp_path / "far", "--run", run.path, "--pick", "far", "--count", 10
    )
    assert (code, document["pictures"]) == (0, 10)
    with (tmp_path / "far" / "requests.csv").open(encoding="utf-8", newline="") as stream:
        versions = [row["version"] for row in csv.DictReader(stream)]
    assert versions.count("2") >= 8  # noise is further from training than dark pictures


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--to", "lab"], ConfigError.exit_code, "--to needs --run RUN"),
        (["--to", "lab", "--labels", "x.csv"], ConfigError.exit_code, "give one of them"),
        (["--labels", "x.csv", "--run", "RUN"], DataError.exit_code, "x.csv does not exist"),
        (["--to", "RUN", "--run", "RUN"], ConfigError.exit_code, "holds something already"),
        (["--to", "lab", "--run", "RUN", "--since", "2100-01-01"], DataError.exit_code, "It holds those from"),
        (["--import", "x.log"], DataError.exit_code, "There is no file x.log"),
    ],
)
def test_mistakes(
    arguments: list[str], code: int, words: str, run: Run, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [str(run.path) if one == "RUN" else one for one in arguments]
    assert cli.execute(["requests", str(log), *given]) == code
    assert words in capfd.readouterr().err


def test_labels_that_the_task_does_not_know(
    run: Run, log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab"
    assert cli.execute(["requests", str(log), "--to", str(lab), "--run", str(run.path), "--count", "3"]) == 0
    arguments = ["requests", str(log), "--labels", str(lab / "requests.csv"), "--run", str(run.path)]
    assert cli.execute(arguments) == DataError.exit_code
    assert "labels no picture of" in capfd.readouterr().err
    filled_in(lab / "requests.csv", ["purple"])
    assert cli.execute(arguments) == DataError.exit_code
    assert "'purple' is no class of the task. Valid: blue, green, red" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-psi", "0", "--max-psi: expected a number above 0, got 0."),
        ("--max-psi", "nan", "Invalid value for '--max-psi'"),
        ("--max-psi", "inf", "got inf"),
        ("--max-auc", "0.5", "--max-auc: expected more than 0.5, which is guessing"),
        ("--max-auc", "nan", "Invalid value for '--max-auc'"),
        ("--p-value", "0.00001", "--p-value: expected a probability from 0.0001 to below 1, got 1e-05."),
        ("--p-value", "nan", "got nan"),
    ],
)
def test_limits_that_are_none(
    option: str, value: str, words: str, run: Run, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(["drift", str(run.path), str(log), option, value]) == ConfigError.exit_code
    assert words in capfd.readouterr().err


def test_a_bucket_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    warm_up = run.saved_model / "1" / "assets.extra" / "tf_serving_warmup_requests"
    # A host that is none: were the bucket taken, the server would end as well.
    serve = ["serve", str(run.saved_model), "--host", "no.such.host", "--request-log", "gs://bucket/log"]
    for arguments in (serve, ["requests", "gs://bucket/log", "--import", str(warm_up)]):
        assert cli.execute(arguments) == ConfigError.exit_code
        told = capfd.readouterr().err
        assert "cannot be written to gs://bucket/log: buckets know no appending" in told
    assert list(tmp_path.iterdir()) == []


def labelled(run: Run, log: Path, table: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code, document, told = executed(capfd, "requests", log, "--labels", table, "--run", run.path)
    assert code == 0, told
    return document


def test_tables_of_every_form_say_how_they_were_picked(
    run: Run, log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab"
    executed(capfd, "requests", log, "--to", lab, "--run", run.path, "--pick", "unsure", "--count", 3)
    rows = filled_in(lab / "requests.csv", ["red"] * 3)
    frame = pandas.DataFrame(rows)
    frame.to_csv(lab / "requests.tsv", sep="\t", index=False)
    frame.to_parquet(lab / "requests.parquet")
    frame.drop(columns="picked").to_csv(lab / "bare.csv", index=False)
    for name in ("requests.csv", "requests.tsv", "requests.parquet"):
        assert labelled(run, log, lab / name, capfd)["picked"] == {"unsure": 3}
    assert labelled(run, log, lab / "bare.csv", capfd)["picked"] == {"": 3}
    assert cli.execute(["requests", str(log), "--labels", str(lab / "requests.csv"), "--run", str(run.path)]) == 0
    assert "(3 unsure): this is not the figure of production" in " ".join(capfd.readouterr().out.split())


def test_tf_servings_own_log_is_imported(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Warm-up requests are in the same format, without answers."""
    warm_up = run.saved_model / "1" / "assets.extra" / "tf_serving_warmup_requests"
    code, document, told = executed(capfd, "requests", tmp_path / "log", "--import", warm_up)
    assert code == 0 and document["pictures"] > 0 and "pictures imported" in told
    imported = RequestLog(tmp_path / "log")
    assert all(one.image and not one.outputs for one in imported.pictures(imported.ids(Choice())))


def test_damaged_pictures_of_a_log_are_counted_not_imported(
    tmp_path: Path, pictures: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    def record(*files: bytes) -> bytes:
        one = PredictionLog()
        one.predict_log.request.model_spec.name = "m"
        one.predict_log.request.inputs["image_bytes"].CopyFrom(tensor_of(np.array(files, object)))
        return bytes(one.SerializeToString())

    with tf.io.TFRecordWriter(str(tmp_path / "log")) as writer:
        for files in ((pictures[0][:10], pictures[1]), (b"no picture",), (pictures[2],)):
            writer.write(record(*files))
    code, document, told = executed(capfd, "requests", tmp_path / "to", "--import", tmp_path / "log")
    assert (code, document["pictures"]) == (0, 2)
    assert "2 pictures imported; 1 picture that cannot be read, and 1 record without a usable picture" in told
