"""Whatever a user gets wrong ends in one clear message and the documented exit code, and damages nothing."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import saved
from models.stack import tf
from pipeline import cli
from pipeline.console import terminal
from pipeline.errors import ConfigError
from pipeline.run import Run
from pipeline.strategy import per_replica

Fails = Callable[..., str]

NETWORK = {"kind": "small_resnet", "depth": 8, "stem_width": 4, "widths": [4, 4, 4]}
SETTINGS: dict[str, Any] = {
    # Determinism is switched on for a whole process; other tests share this one.
    "train": {"epochs": 2, "batch_size": 8, "tensorboard": False, "devices": {"deterministic": False}},
    "evaluate": {"mistakes": 2, "samples": 2},
    "compress": {"variants": ["float32"]},
    "export": {"warmup_requests": 2},
    "verify": {"limits": {"max_drop": 1.0, "min_agreement": 0.0}, "min_parity": 0.0, "latency_runs": 2},
}


def config(source: dict[str, Any], kind: str = "classification") -> str:
    """A configuration as text. JSON is YAML, too."""
    task = {"kind": kind, "picture": {"height": 12, "width": 12}, "backbone": NETWORK}
    return json.dumps({"data": {"source": source}, "task": task, **SETTINGS}, indent=2)


def pictures(folder: Path, *names: str, count: int = 12) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.effect_noise((12, 12), 80).convert("RGB").save(folder / name / f"{index}.png")


def contents(folder: Path) -> dict[Path, bytes]:
    """What a Run holds, without what each command notes at its start."""
    noted = ("config.yaml", "environment.json")
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name not in noted}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pets.yaml`, its pictures, and the Run `runs/pets`, gone to its end."""
    folder = tmp_path_factory.mktemp("done")
    pictures(folder / "pets", "cat", "dog", count=20)
    (folder / "pets.yaml").write_text(config({"kind": "folders", "path": "pets"}), encoding="utf-8")
    with contextlib.chdir(folder):
        assert cli.execute(["run", "pets.yaml", "--quiet"]) == 0
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to give commands in."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    terminal.configure()


@pytest.fixture
def copied(done: Path, here: Path) -> Run:
    """A copy of `done`, to be spoilt."""
    shutil.copytree(done, here, dirs_exist_ok=True)
    return Run(Path("runs/pets"))


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Gives a command that must end with an exit code and one message that holds some words; gives the message."""

    def command(code: int, arguments: list[str], *words: str) -> str:
        capsys.readouterr()
        assert cli.execute([*arguments, "--quiet"]) == code
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("Error: ") == 1
        for word in words:
            assert word in said
        return said

    return command


# ------------------------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train: {epohcs: 3}", "mine.yaml:3: there is no setting 'epohcs' in train. Did you mean 'epochs'?"),
        ("train: {epochs: many}", "mine.yaml:3: train.epochs is 'many'"),
        ("train: {epochs: -1}", "mine.yaml:3: train.epochs is -1"),
        ("train: [epochs", "mine.yaml:4: not YAML"),
        ("train: 5", "mine.yaml:3: train is 5, expected settings"),
        ("seed: 1\nseed: 2", 'mine.yaml:4: the key "seed" stands twice'),
        ("compress: {variants: [flaot32]}", "mine.yaml:3: compress.variants.0 has no kind 'flaot32'"),
    ],
)
def test_configuration(line: str, message: str, here: Path, fails: Fails) -> None:
    (here / "mine.yaml").write_text(f"data: {{source: digits}}\ntask: classification\n{line}\n", encoding="utf-8")
    fails(2, ["prepare", "mine.yaml"], message)
    assert not (here / "runs").exists()


def test_a_batch_that_replicas_cannot_share() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size is 7, which 2 replicas cannot share evenly.*6 or 8"):
        per_replica(7, 2)


# ------------------------------------------------------------------------------------------------ data

FOLDERS = {"kind": "folders", "path": "pets"}
TABLE = {"kind": "table", "path": "table.csv", "image_column": "image"}


def one_class(here: Path) -> None:
    pictures(here / "pets", "cat")


def empty_class(here: Path) -> None:
    pictures(here / "pets", "cat", "dog")
    (here / "pets" / "bird").mkdir()


def split_without_a_class(here: Path) -> None:
    pictures(here / "pets", "train/cat", "train/dog", "val/cat")


def unreadable(here: Path) -> None:
    pictures(here / "pets", "cat", "dog")
    for index in range(3):
        (here / "pets" / "cat" / f"{index}.png").write_bytes(b"no picture")


def table(here: Path) -> None:
    pictures(here / "pets", "cat")
    rows = [f"pets/cat/{index}.png,{'nan' if index == 3 else index}" for index in range(12)]
    (here / "table.csv").write_text("\n".join(["image,age", *rows]), encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "source", "kind", "message"),
    [
        (one_class, {**FOLDERS, "path": "petz"}, "classification", "petz does not exist"),
        (one_class, FOLDERS, "classification", "show 1 class (cat), expected at least 2"),
        (empty_class, FOLDERS, "classification", "1 class folder holds no picture: pets/bird"),
        (split_without_a_class, FOLDERS, "classification", "The split `validation` has no picture"),
        (unreadable, FOLDERS, "classification", "Too many pictures cannot be used"),
        (table, {**TABLE, "label_column": "gae"}, "classification", "no column 'gae'. Did you mean 'age'?"),
        (table, {**TABLE, "value_columns": ["age"]}, "regression", "table.csv:5 (nan)"),
    ],
)
def test_data(
    make: Callable[[Path], None], source: dict[str, Any], kind: str, message: str, here: Path, fails: Fails
) -> None:
    make(here)
    (here / "mine.yaml").write_text(config(source, kind), encoding="utf-8")
    fails(3, ["prepare", "mine.yaml"], message)
    assert not (here / "runs" / "mine" / "data.json").exists()
    assert not list(here.glob("runs/store/*/convoy.json"))


def test_pictures_that_changed_since_the_training(copied: Run, fails: Fails) -> None:
    before = contents(copied.path)
    Image.new("RGB", (12, 12)).save("pets/cat/new.png")
    fails(7, ["run", "pets.yaml"], "The data has changed since the Run runs/pets was trained on it", "--run DIR")
    assert contents(copied.path) == before


# ------------------------------------------------------------------------------------------------ pretrained weights


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task.backbone.weights=gone.h5"], "gone.h5 does not exist"),
        (["task.backbone.weights=text.h5"], "could not be read"),
        (["task.backbone.weights=runs/pets/model/model.keras", "task.backbone.widths=[8, 8, 8]"], "The weights"),
        (["train.transfer={unfreeze_from: strid_2}"], "Did you mean 'stride_2'?"),
    ],
)
def test_networks_that_cannot_be_built(settings: list[str], message: str, copied: Run, fails: Fails) -> None:
    shutil.copy("pets.yaml", "text.h5")
    fails(4, ["train", "pets.yaml", *settings, "--run", "other"], message)
    assert not Path("other/checkpoints").exists()


def test_weights_that_went_missing_leave_the_trained_run_as_it_was(copied: Run, fails: Fails) -> None:
    shutil.copy(copied.model, "first.keras")
    train = ["train", "pets.yaml", "task.backbone.weights=first.keras", "--run", "second"]
    assert cli.execute([*train, "--quiet"]) == 0
    before = contents(Path("second"))
    Path("first.keras").unlink()
    fails(4, train, "The weights file first.keras does not exist")
    assert contents(Path("second")) == before


# ------------------------------------------------------------------------------------------------ Runs


def test_a_run_of_another_configuration(copied: Run, fails: Fails) -> None:
    before = contents(copied.path)
    fails(7, ["train", "pets.yaml", "train.epochs=9"], "train.epochs: 2 -> 9", "--run DIR")
    assert contents(copied.path) == before


def test_a_run_can_be_moved_with_its_store_and_used_from_elsewhere(
    copied: Run, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path("runs").rename(elsewhere / "moved")
    monkeypatch.chdir(elsewhere)
    assert cli.execute(["evaluate", "moved/pets", "--quiet"]) == 0
    monkeypatch.chdir("/")
    assert cli.execute(["evaluate", str(elsewhere / "moved" / "pets"), "--quiet"]) == 0


def cut(file: Path, size: int = 60) -> None:
    file.write_bytes(file.read_bytes()[:size])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ckpt-8.data-00000-of-00001", "set `model_checkpoint_path` in runs/pets/checkpoints/checkpoint to 'ckpt-4'"),
        ("ckpt-8.index", "or train again without --resume"),
        ("checkpoint", "it names no checkpoint that is there"),
        ("best.npz", "best.npz is damaged"),
    ],
)
@pytest.mark.parametrize("size", [0, 60])
def test_a_checkpoint_cut_short(name: str, size: int, message: str, copied: Run, fails: Fails) -> None:
    copied.training.unlink()
    cut(copied.checkpoints / name, size)
    before = contents(copied.path)
    fails(7, ["train", "pets.yaml", "--resume"], message.partition("to 'ckpt-4'")[0])
    assert contents(copied.path) == before


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("data.json", "evaluate", "Run `convoy prepare runs/pets` again"),
        ("model/model.keras", "evaluate", "Run `convoy train runs/pets` again"),
        ("model/task.json", "compress", "Run `convoy train runs/pets` again"),
        ("variants/float32/model.tflite", "export", "Compress again"),
        ("export/tflite/float32.tflite", "verify", "LiteRT cannot run"),
        ("export/saved_model/1/saved_model.pb", "verify", "Run `convoy export` again"),
        ("export/saved_model/1/variables/variables.index", "verify", "Run `convoy export` again"),
        ("verification.json", "report", "verification.json is damaged"),
    ],
)
def test_a_file_of_a_run_cut_short(name: str, stage: str, message: str, copied: Run, fails: Fails) -> None:
    cut(copied.path / name)
    fails(7, [stage, "runs/pets"], message)


def test_a_record_that_rotted(copied: Run, fails: Fails) -> None:
    shard = next(file for file in copied.store.glob("*test*tfrecord*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    fails(3, ["evaluate", "runs/pets"], "damaged", "runs/pets/data.json", "convoy prepare")


def test_a_stored_picture_that_cannot_be_decoded(copied: Run, fails: Fails) -> None:
    shard = next(file for file in copied.store.glob("*test*tfrecord*"))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records:
            writer.write(record.replace(b"IHDR", b"RHDI"))
    fails(3, ["evaluate", "runs/pets"], "cannot be decoded", "runs/pets/data.json", "convoy prepare")


def test_a_shorter_list_of_variants_leaves_no_file_behind(copied: Run, fails: Fails) -> None:
    stale = copied.tflite / "int8.tflite"
    stale.write_bytes(b"of an earlier list")
    assert cli.execute(["export", "runs/pets", "--quiet"]) == 0
    assert [file.name for file in copied.tflite.iterdir()] == ["float32.tflite"]


@pytest.mark.parametrize(
    ("model", "spoilt"),
    [
        ("runs/pets", "runs/pets/model/task.json"),
        ("runs/pets", "runs/pets/model/model.keras"),
        ("runs/pets/export", "runs/pets/export/contract.json"),
        ("runs/pets/export", "runs/pets/export/saved_model/1/saved_model.pb"),
        ("runs/pets/export/tflite/float32.tflite", "runs/pets/export/tflite/float32.tflite"),
    ],
)
def test_predicting_with_a_file_cut_short(model: str, spoilt: str, copied: Run, fails: Fails) -> None:
    cut(Path(spoilt))
    fails(7, ["predict", model, "pets/cat/1.png"])


def test_a_stage_before_its_time(copied: Run, fails: Fails) -> None:
    shutil.rmtree(copied.variants)
    fails(7, ["export", "pets.yaml"], "the stage `compress` has not been run")
    assert [path.name for path in copied.saved_model.iterdir()] == ["1"]


def test_a_version_that_exists(copied: Run, fails: Fails) -> None:
    before = contents(copied.saved_model)
    fails(5, ["export", "pets.yaml", "export.version=1"], "Version 1 exists already")
    assert contents(copied.saved_model) == before


def test_a_model_whose_answers_are_not_numbers(copied: Run, fails: Fails) -> None:
    before = copied.evaluation.read_bytes()
    model = saved.load(copied.model)
    weights = model.get_weights()
    model.set_weights([*weights[:-1], np.full_like(weights[-1], np.nan)])
    model.save(copied.model)
    fails(4, ["evaluate", "pets.yaml"], "are not finite", "clip_norm")
    assert copied.evaluation.read_bytes() == before


# ------------------------------------------------------------------------------------------------ full disk


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow larger: the same refusal as by a full disk or a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_space_for_a_checkpoint(copied: Run, fails: Fails) -> None:
    copied.training.unlink()
    shutil.rmtree(copied.checkpoints)
    with files_of_at_most(9_000):
        fails(8, ["train", "pets.yaml", "train.checkpoint_steps=1"], "checkpoints/ckpt-1: File too large")
    assert list(copied.checkpoints.iterdir()) == []


@pytest.mark.parametrize("stage", ["compress", "export", "report"])
def test_no_space_for_a_stage(stage: str, copied: Run, fails: Fails) -> None:
    before = contents(copied.path)
    with files_of_at_most(9_000):
        fails(8, [stage, "pets.yaml"], "File too large", "Free some space")
    assert contents(copied.path) == before
