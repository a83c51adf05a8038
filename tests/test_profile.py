"""`convoy profile`: the stages it names, the limit, the advice by fabricated speeds, and that a Run stays as it was."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline import cli, measuring, stages
from pipeline.config import loads
from pipeline.console import terminal
from pipeline.data.cache import Kept
from pipeline.data.memory import kept_for
from pipeline.measuring import Work, median_speeds, speed
from pipeline.profile import Facts, Profile, Stage, advice, as_view, from_document
from pipeline.run import Run
from tests.data.stores import make_store

FACTS = Facts(
    cache="encoded", decoded_gib=None, encoded_gib=0.5, threads=4, processors=4, scaled_decoding=False, shrinks=1.0,
    engine="OpenCV", device="CPU", batch_size=32,
)  # fmt: skip
SPEEDS = {"read": 9000.0, "decode": 1000.0, "augment": 2000.0, "mix": 5000.0, "encode": 80000.0, "compute": 400.0}
NAMES = {"augment": "horizontal_flip + rotation", "mix": "mix_up"}
HOW = {"augment": "one resampling of picture and labels", "mix": "two pictures blended"}


def profiled(input: float = 700.0, real: float = 390.0, facts: Facts = FACTS, **speeds: float) -> Profile:
    """Compute at 400 pictures/s, unless other speeds are given."""
    found = {**SPEEDS, **speeds}
    stages = tuple(Stage(kind, NAMES.get(kind, kind), HOW.get(kind, ""), one) for kind, one in found.items())
    return Profile(stages, input, found["compute"], real, facts)


def test_the_limit_is_the_slowest_of_the_slower_side() -> None:
    assert profiled().limit.name == "compute"
    assert profiled(input=300.0).limit.name == "decode"
    assert profiled(input=300.0, augment=500.0).limit.name == "horizontal_flip + rotation"
    assert profiled(input=60.0, mix=100.0, read=70.0).limit.name == "read"
    # Decoding alone is faster than the compute, but the input as a whole is not.
    assert profiled(input=390.0, compute=395.0).limit.name == "decode"
    for name in SPEEDS:
        changed = profiled(input=9.0 if name != "compute" else 500.0, **{name: 10.0})
        assert changed.limit.kind == name == min(changed.stages, key=lambda stage: stage.speed).kind


def test_bound_by_compute() -> None:
    (said,) = advice(profiled())
    assert "nothing to gain in the input" in said and "GPU" in said
    (on_gpu,) = advice(profiled(facts=replace(FACTS, device="GPU")))
    assert "precision=auto" in on_gpu


def test_bound_by_compute_that_shares_its_processors() -> None:
    first, *_, last = advice(profiled(real=200.0))
    assert "up to 100% faster" in first and "slowest stage is decode" in first
    assert "GPU" in last


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ["More processors"]),
        ({"decoded_gib": 1.25}, ["input.cache=decoded needs 1.2 GiB"]),
        ({"shrinks": 3.0}, ["3.0 times", "input.scaled_decoding=true"]),
        ({"shrinks": 3.0, "scaled_decoding": True}, ["More processors"]),
        ({"threads": 1}, ["More processors", "Only 1 of 4 processors", "leave input.threads out"]),
    ],
)
def test_bound_by_decoding(facts: dict[str, Any], words: list[str]) -> None:
    said = " ".join(advice(profiled(input=300.0, facts=replace(FACTS, **facts))))
    assert "Decoding" in said or "scaled" in said
    for word in words:
        assert word in said


def test_bound_by_augmentation() -> None:
    slow = profiled(input=100.0, augment=100.0)
    assert advice(slow)[0].startswith("The augmentation horizontal_flip + rotation (one resampling")
    assert len(advice(slow)) == 1
    other = replace(slow, facts=replace(FACTS, engine="TensorFlow"))
    assert "OpenCV is faster" in advice(other)[1]
    twice = replace(
        slow, stages=(*slow.stages, Stage("augment", "shear", "one resampling of picture and labels", 900.0))
    )
    assert "2 times (horizontal_flip + rotation; shear)" in advice(twice)[-1]
    assert "mix_up" in advice(profiled(input=100.0, mix=100.0))[0]


def test_bound_by_reading() -> None:
    assert (
        "cache=encoded needs 0.5 GiB"
        in advice(profiled(input=100.0, read=100.0, facts=replace(FACTS, cache="none")))[0]
    )
    elsewhere = replace(FACTS, cache="none", encoded_gib=None)
    assert "workers of the service" in advice(profiled(input=100.0, read=100.0, facts=elsewhere))[0]
    assert "from memory" in advice(profiled(input=100.0, read=100.0))[0]
    assert "report it" in advice(profiled(input=100.0, encode=100.0))[0]


def test_as_table_and_document() -> None:
    profile = profiled(input=300.0)
    stream = io.StringIO()
    Console(file=stream, width=100).print(as_view(profile))
    for word in (*NAMES.values(), "read", "compute", "synthetic", "98%", "Limit: decode", "- Decoding"):
        assert word in stream.getvalue()
    document = json.loads(json.dumps(profile.as_document()))
    assert document["limit"] == "decode" and document["advice"]
    assert from_document(document) == profile


def test_speeds_count_what_was_done_after_warming_up() -> None:
    done: list[str] = []
    work = Work(lambda: done.append("step"), 8, buffered=2, settle=lambda: done.append("settled"))
    assert speed(work, 0.0) > 0
    assert done == ["step"] * 3 + ["settled", "step", "settled"]
    told: list[int] = []
    assert len(median_speeds({"one": work, "two": work}, 0.0, lambda step, total=None, **_: told.append(step))) == 2
    assert told == list(range(7))


CONFIG = """
data: {source: digits}
task:
  kind: classification
  picture: {height: 12, width: 12, channels: 1}
  backbone: {kind: small_resnet, depth: 8, widths: [2, 4, 4]}
train: {batch_size: 8}
augment: [horizontal_flip, rotation, {kind: mosaic, probability: 0.5}, translation, colour_jitter, mix_up]
"""
GROUPS = ["horizontal_flip + rotation", "mosaic", "mosaic + translation", "colour_jitter", "mix_up"]


def test_every_stage_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(CONFIG, encoding="utf-8")
    try:
        assert cli.execute(["profile", "mine.yaml", "--seconds", "0.1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
    finally:
        terminal.configure()
    assert [stage["name"] for stage in document["stages"]] == ["read", *GROUPS, "encode", "compute"]
    assert all(stage["speed"] > 0 for stage in document["stages"])
    assert [stage["kind"] for stage in document["stages"]][1:-2] == ["augment", "mix", "augment", "augment", "mix"]
    profile = from_document(document)
    assert document["limit"] == profile.limit.name and document["advice"] == advice(profile)
    assert profile.facts.cache == "decoded"
    run = tmp_path / "runs" / "mine"
    assert sorted(file.name for file in run.iterdir()) == ["config.yaml", "data.json", "environment.json"]


@pytest.mark.parametrize("kept", ["encoded", "none"])
def test_pictures_that_are_not_kept_decoded_are_decoded(tmp_path: Path, kept: Kept) -> None:
    config = loads(CONFIG, [f"input.cache={kept}", "augment=[random_resized_crop, rotation, mix_up]"])
    store = make_store(tmp_path, {"train": 20}, [(20, 16), (16, 20)])
    job = stages.training_job(config, Run(tmp_path / "run"), store, config.task.resolve(store.info), lambda *_: None)
    parts = measuring.input_parts(job, measuring.reading_of(job), kept)
    assert [part.name for part in parts] == ["read", "decode", "mix_up", "encode"]
    assert all(part.work.pictures == 8 for part in parts)
    assert parts[1].what == "to the model's size, random_resized_crop, rotation"
    for part in parts:
        assert part.work.step() is not None


@pytest.mark.parametrize(
    ("overrides", "decoded", "encoded", "scaled"),
    [
        ([], True, True, False),
        (["input.buckets=[[12, 12], [12, 16]]"], False, True, False),
        (["input.multi_scale={multiple_of: 4}"], False, True, False),
        (["input.service=grpc://localhost:9"], False, False, False),
        (["augment=[random_resized_crop]"], True, True, True),
        (["augment=[random_resized_crop]", "task.picture.dct=fast"], True, True, False),
        (["input.scaled_decoding=true"], True, True, True),
    ],
)
def test_advice_is_only_what_the_settings_allow(
    tmp_path: Path, overrides: list[str], decoded: bool, encoded: bool, scaled: bool
) -> None:
    config = loads(CONFIG, overrides)
    store = make_store(tmp_path, {"train": 20}, [(20, 16)])
    job = stages.training_job(config, Run(tmp_path / "run"), store, config.task.resolve(store.info), lambda *_: None)
    reading = measuring.reading_of(job)
    facts = measuring.facts_of(job, reading, kept_for(job.input, reading.need))
    assert (facts.decoded_gib is not None, facts.encoded_gib is not None) == (decoded, encoded)
    assert facts.scaled_decoding == scaled
