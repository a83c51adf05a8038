"""A tracker's two signatures: each file answers as the network that was trained, and follows an object."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.preprocess import PictureFormat
from models.stack import keras
from pipeline import stages
from pipeline.compress import Compression, flatbuffer
from pipeline.compress.base import PartCompression
from pipeline.compress.calibration import MinMax, Percentile, Ranges
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Int8, Int16x8
from pipeline.config import loads
from pipeline.data.input import encoded_pictures
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import SceneSequences
from pipeline.data.sources.template_pairs import TemplatePairs
from pipeline.data.store import Store
from pipeline.errors import ConfigError, RunError, VerificationError
from pipeline.export import ExportSettings
from pipeline.export.contract import SAVED_MODEL, write_contract
from pipeline.export.parts import PARTS, publish_parts
from pipeline.export.saved_model import export_saved_model
from pipeline.export.tflite import refuse_other_operators
from pipeline.outcome import VIEWS
from pipeline.run import Run
from pipeline.summary import Summary, part_summaries
from pipeline.tasks import Classification, SingleObjectTracking
from pipeline.tracking.follower import Follower, FollowSettings
from pipeline.tracking.siamese import DividedNetwork, open_network
from pipeline.verification import Verification
from pipeline.verify import Limits, VerifySettings, verify_variants

SIDE = 44
FLOAT32, INT8 = "float32.tflite", "int8.tflite"
VARIANTS = (Float32(), Float16(), DynamicInt8(), Int8(), Int16x8())
"""Those that are made by default."""


@pytest.fixture(scope="module")
def task() -> SingleObjectTracking:
    return SingleObjectTracking.model_validate(
        {
            "picture": {"height": 2 * SIDE, "width": SIDE},
            "backbone": {"kind": "small_resnet", "depth": 6, "widths": [8, 8], "stem_stride": 2},
            "network": {"stride": 4, "channels": 8, "template_cells": 3, "head_depth": 1},
            "threshold": 0.0,
        }
    )


@pytest.fixture(scope="module")
def pairs() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (6, 2 * SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


def published(
    task: SingleObjectTracking,
    model: keras.Model,
    folder: Path,
    pairs: np.ndarray,
    variants: tuple[PartCompression, ...] = VARIANTS,
    ranges: Ranges | None = None,
) -> Path:
    made = publish_parts(task, model, folder, variants, lambda: pairs, ranges or MinMax())
    assert made is not None
    return made


@pytest.fixture(scope="module")
def run(task: SingleObjectTracking, pairs: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With an exported tracker."""
    run = Run(tmp_path_factory.mktemp("tracker"))
    keras.utils.set_random_seed(4)
    model = task.build()
    stages.keep_model(run, model, task)
    made = published(task, model, run.export, pairs)
    assert made == run.export / PARTS
    write_contract(run.export, task, made / SAVED_MODEL, {}, {}, made)
    return run


@pytest.fixture(scope="module")
def expected(run: Run, task: SingleObjectTracking, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """What the whole network says of the pairs."""
    from pipeline.predictors import trained_predictor

    return trained_predictor(run)({"image": pairs})


def answers(network: DividedNetwork, pairs: np.ndarray) -> dict[str, np.ndarray]:
    rows = []
    for pair in pairs:
        template = network.template(pair[np.newaxis, SIDE:])
        rows.append(network.search(pair[np.newaxis, :SIDE], template))
    return {name: np.concatenate([row[place] for row in rows]) for place, name in enumerate(("scores", "boxes"))}


def exported(run: Run, name: str) -> Path:
    return run.export / PARTS / name


@pytest.mark.parametrize("name", ["", SAVED_MODEL, FLOAT32])
def test_a_file_answers_as_the_whole_network(
    run: Run, expected: dict[str, np.ndarray], pairs: np.ndarray, name: str
) -> None:
    found = answers(open_network(exported(run, name) if name else run.path), pairs)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "least"), [("float16", 0.999), ("dynamic_int8", 0.98), ("int8", 0.95), ("int16x8", 0.98)]
)
def test_other_variants_answer_nearly_the_same(
    run: Run, expected: dict[str, np.ndarray], pairs: np.ndarray, name: str, least: float
) -> None:
    found = answers(open_network(exported(run, f"{name}.tflite")), pairs)
    for key, values in expected.items():
        assert np.corrcoef(found[key].ravel(), values.ravel())[0, 1] > least


def scales(file: Path) -> list[float]:
    """Of all quantized tensors of both parts."""
    held = [tensor.quantization for graph in flatbuffer.unpack(file.read_bytes()).subgraphs for tensor in graph.tensors]
    return sorted(float(one.scale[0]) for one in held if one is not None and one.scale is not None and len(one.scale))


def test_the_files_are_those_of_the_variants_and_ranges_follow_the_calibration(
    run: Run, task: SingleObjectTracking, pairs: np.ndarray, tmp_path: Path
) -> None:
    cut = Percentile(percentile=75)
    variants = (Int8(name="small"), Int8(name="own", range=MinMax()))
    parts = published(task, open_model(run), tmp_path, pairs, variants, cut)
    assert sorted(file.name for file in parts.iterdir()) == ["own.tflite", SAVED_MODEL, "small.tflite"]
    narrow, wide = scales(parts / "small.tflite"), scales(parts / "own.tflite")
    assert wide == scales(exported(run, INT8))
    assert sum(narrow) < 0.9 * sum(wide)


def test_a_picture_s_bytes_go_into_int8_unchanged(run: Run) -> None:
    model = flatbuffer.unpack(exported(run, INT8).read_bytes())
    for graph, signature in zip(model.subgraphs, model.signatureDefs, strict=True):
        (image,) = (int(one.tensorIndex) for one in signature.inputs if one.name == b"image")
        (quantize,) = (one for one in graph.operators if image in one.inputs)
        quantization = graph.tensors[quantize.outputs[0]].quantization
        assert (float(quantization.scale[0]), int(quantization.zeroPoint[0])) == (1.0, -128)


def test_no_pictures_are_asked_for_where_nothing_is_calibrated(
    run: Run, task: SingleObjectTracking, tmp_path: Path
) -> None:
    def refuse() -> np.ndarray:
        raise AssertionError

    assert publish_parts(task, open_model(run), tmp_path, (Float16(),), refuse, MinMax()) == tmp_path / PARTS


CONFIG = "data: {source: digits}\ntask: single_object_tracking\n"


@pytest.mark.parametrize("kind", ["int8_qat", "int8_selective", "pruned", "float32_fine_tuned"])
def test_variants_that_cannot_be_made_of_parts_are_refused_with_the_configuration(kind: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"compress.variants.1. \({kind}\) makes one file .*\(template, search\).* these can: float32, float16, "
        "dynamic_int8, int8, int16x8",
    ):
        loads(CONFIG, [f"compress.variants=[int8, {kind}]"])


def test_the_usual_variants_can_be_made_of_parts() -> None:
    usual: tuple[Compression, ...] = loads(CONFIG, []).compress.variants
    assert usual == VARIANTS
    assert loads(CONFIG.replace("single_object_tracking", "classification"), ["compress.variants=[int8_qat]"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    scenes = SceneSequences(train=2, validation=1, test=2, frames=4)
    source = TemplatePairs(sources=(scenes,), side=SIDE, pairs=2, absent=0.3)
    return prepare(DataSettings(source=source), tmp_path_factory.mktemp("pairs"))


def verified(run: Run, task: SingleObjectTracking, store: Store, parts: Path) -> Verification:
    """Of these parts, beside the SavedModel of the network that was trained."""
    model, folder = open_model(run), run.path / "whole"
    if not folder.exists():
        pictures = list(encoded_pictures(store, "train", 1))
        export_saved_model(task, model, folder, pictures, ExportSettings(warmup_requests=1))
    settings = VerifySettings(
        latency_runs=1, parity_pictures=0, variants={"int8": Limits(max_drop=1.0, min_agreement=0.3)}
    )
    return verify_variants(task, model, store, folder / "1", {}, settings, parts=parts)


SUMMARY = {
    "task": "single_object_tracking",
    "metric": {"name": "mean_iou", "direction": "max"},
    "data": {"test": 4},
    "train": {"seconds": 1.0, "images_per_second": None, "steps": 1, "replicas": 1, "best_step": 1},
}


def test_parts_are_judged_as_the_whole_network_is(run: Run, task: SingleObjectTracking, store: Store) -> None:
    found = verified(run, task, store, run.export / PARTS)
    names = [variant.variant_name for variant in VARIANTS]
    assert set(found.parts) == {f"parts/{name}" for name in ("saved_model", *names)}
    for name in ("parts/saved_model", "parts/float32"):
        result = found.parts[name]
        assert result.blessed, result.why
        assert result.metrics["mean_iou"] == pytest.approx(found.trained["mean_iou"], abs=1e-3)
        assert "predictions differ by" in result.why
    assert "(limit 0.3)" in found.parts["parts/int8"].why
    written = found.as_json(run.path)["parts"]
    assert written["parts/int8"]["file"] == "export/parts/int8.tflite"
    assert written["parts/int8"]["zipped_bytes"] < written["parts/int8"]["bytes"]
    for one in written.values():
        assert list(one["latency_ms"]) == ["template", "search"]
        assert min(one["latency_ms"].values()) > 0
    assert not found.parts["parts/float16"].why.count("predictions differ by")  # it is not held to be exact
    summary = Summary.model_validate(SUMMARY | {"parts": part_summaries(written)})
    assert summary.parts["parts/int8"].latency_ms == written["parts/int8"]["latency_ms"]


def test_parts_that_answer_otherwise_are_not_blessed(
    run: Run, task: SingleObjectTracking, store: Store, pairs: np.ndarray, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(99)
    parts = published(task, task.build(), tmp_path, pairs, (Float32(),))
    found = replace(verified(run, task, store, parts), variants={})
    assert not found.parts["parts/float32"].blessed
    with pytest.raises(VerificationError, match=r"parts/float32: .*predictions differ by"):
        found.require_blessed()


def test_several_windows_are_searched_at_once(run: Run, pairs: np.ndarray) -> None:
    for place in (run.path, exported(run, FLOAT32)):
        network = open_network(place)
        template = network.template(pairs[:1, SIDE:])
        together = network.search(pairs[:3, :SIDE], template)
        one = network.search(pairs[2:3, :SIDE], template)
        for all_of_them, last in zip(together, one, strict=True):
            np.testing.assert_allclose(all_of_them[2:], last, rtol=1e-4, atol=1e-5)


def test_tflite_files_hold_both_parts_of_builtin_operators_and_shared_weights(run: Run) -> None:
    sizes = {}
    for name in (FLOAT32, INT8):
        content = exported(run, name).read_bytes()
        refuse_other_operators(content, name)
        model = flatbuffer.unpack(content)
        assert [one.signatureKey.decode() for one in model.signatureDefs] == ["template", "search"]
        sizes[name] = len(content)
        codes = [flatbuffer.operator_name(code) for code in model.operatorCodes]
        assert "BATCH_MATMUL" in codes
    weights = 4 * open_model(run).count_params()
    assert sizes[FLOAT32] < 1.5 * weights + 20_000  # the backbone once, not twice


def open_model(run: Run) -> keras.Model:
    from pipeline.trained import load_model

    return load_model(run)


def test_only_the_decoding_is_in_float_in_int8(run: Run) -> None:
    model = flatbuffer.unpack(exported(run, INT8).read_bytes())
    floats = {
        flatbuffer.operator_name(model.operatorCodes[one.opcodeIndex])
        for graph in model.subgraphs
        for one in graph.operators
        if all(graph.tensors[place].type == 0 for place in one.outputs)
    }
    assert not floats & {"CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL", "TRANSPOSE"}


def test_an_exported_network_follows(run: Run) -> None:
    network = open_network(exported(run, INT8))
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    follower = Follower(network, FollowSettings(), pixels, np.array([30.0, 20.0, 42.0, 30.0]))
    found = follower.update(pixels)
    assert np.isfinite(found.box).all()
    assert not found.lost  # the threshold is 0


def test_the_contract_tells_of_the_parts(run: Run) -> None:
    contract = json.loads((run.export / "contract.json").read_text(encoding="utf-8"))
    parts = contract["parts"]
    assert {name: one["path"] for name, one in parts["tflite"].items()} == {
        variant.variant_name: f"parts/{variant.variant_name}.tflite" for variant in VARIANTS
    }
    signatures = parts["saved_model"]["signatures"]
    assert {name: [one["name"] for one in signature["inputs"]] for name, signature in signatures.items()} == {
        "search": ["image", "template"],
        "template": ["image"],
    }
    assert [one["shape"] for one in signatures["template"]["inputs"]] == [[None, SIDE, SIDE, 3]]
    assert {"parts/float32.tflite", "parts/int8.tflite", "parts/saved_model/saved_model.pb"} <= set(
        contract["checksums"]
    )


def test_a_task_without_parts_publishes_none(tmp_path: Path) -> None:
    task = Classification(class_names=("a", "b"), picture=PictureFormat(height=16, width=16))
    assert publish_parts(task, task.build(), tmp_path, VARIANTS, lambda: np.zeros(0), MinMax()) is None
    assert list(tmp_path.iterdir()) == []


def test_other_models_and_places_are_refused(run: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "other")
    stages.write_task(other.task, Classification(class_names=("a", "b")))
    with pytest.raises(ConfigError, match="'single_object_tracking'"):
        open_network(other.path)
    with pytest.raises(RunError, match="nothing to follow objects with"):
        open_network(run.export)
    broken = exported(run, "broken.tflite")
    broken.write_bytes(b"no file")
    with pytest.raises(RunError, match="LiteRT cannot follow"):
        open_network(broken)


def test_the_terminal_shows_the_parts_with_the_latency_of_each() -> None:
    from rich.console import Console

    part = {"bytes": 12_000, "zipped_bytes": 9_000, "metrics": {"mean_iou": 0.5}, "drop": 0.25, "agreement": 0.75}
    part |= {"latency_ms": {"template": 1.25, "search": 2.5}, "blessed": True}
    console = Console(width=120)
    with console.capture() as captured:
        console.print(VIEWS["verify"]({"metric": {"name": "mean_iou"}, "parts": {"parts/int8": part}}))
    (row,) = (line.split() for line in captured.get().splitlines() if "parts/int8" in line)
    assert row == ["parts/int8", "12", "9", "0.5000", "0.2500", "0.7500", "1.25", "+", "2.50", "yes"]
