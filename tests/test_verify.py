"""Verification over a real store, with files that are right and files that are wrong."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline.compress import VARIANTS
from pipeline.compress.base import CompressionJob
from pipeline.data.input import evaluation_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import ClassFolders
from pipeline.data.store import Store
from pipeline.errors import VerificationError
from pipeline.export import ExportSettings
from pipeline.export.saved_model import export_saved_model
from pipeline.export.tflite import publish_tflite
from pipeline.tasks import Classification
from pipeline.tasks.base import Metric
from pipeline.verification import Differences, Verification
from pipeline.verify import Limits, VerifySettings, verify_variants, warn_of_unused_limits

COLOURS = {"blue": (40, 60, 200), "green": (60, 190, 50), "red": (210, 50, 40)}
SETTINGS = VerifySettings(batch_size=7, latency_runs=3, parity_pictures=10)


def picture(colour: tuple[int, int, int], seed: int) -> bytes:
    """A JPEG of a noisy colour."""
    generator = np.random.default_rng(seed)
    coarse = np.clip(np.array(colour) + generator.normal(0, 30, (6, 7, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((40, 30), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@dataclass
class Shipped:
    task: Classification
    model: Any
    store: Store
    folder: Path
    version: Path
    pixels: np.ndarray
    converted: dict[tuple[str, float], bytes] = field(default_factory=dict)

    def publish(self, kind: str, name: str, noise: float = 0.0) -> Path:
        """Converts the model, its last weights disturbed by `noise`, and publishes it as a variant."""
        key = (kind, noise)
        if key not in self.converted:
            job = CompressionJob(
                self.task, self.disturbed(noise), self.pixels, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0
            )
            self.converted[key] = VARIANTS[kind]().convert(job)
        return publish_tflite(self.task, self.converted[key], self.folder / f"{name}.tflite", name)

    def disturbed(self, amount: float) -> Any:
        """A copy of the model with noise on its last weights."""
        copy = keras.models.clone_model(self.model)
        copy.set_weights(self.model.get_weights())
        kernel, bias = copy.get_layer("logits").get_weights()
        noise = np.random.default_rng(0).normal(0, amount * np.abs(kernel).max(), kernel.shape)
        copy.get_layer("logits").set_weights([kernel + noise, bias])
        return copy


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    folder = tmp_path_factory.mktemp("verify")
    for name, colour in COLOURS.items():
        (folder / "pictures" / name).mkdir(parents=True)
        for seed in range(24):
            (folder / "pictures" / name / f"{seed}.jpg").write_bytes(picture(colour, seed + 1000 * len(name)))
    store = prepare(DataSettings(source=ClassFolders(path=folder / "pictures")), folder / "store")
    unresolved = Classification(
        picture=PictureFormat(height=16, width=16), backbone=SmallResNet(depth=8, widths=(4, 8, 8))
    )
    task = unresolved.resolve(store.info)
    model, pixels = fitted(task, store)
    encoded = [picture(colour, 1) for colour in COLOURS.values()]
    version = export_saved_model(task, model, folder / "saved_model", encoded, ExportSettings(warmup_requests=1))
    return Shipped(task, model, store, folder, version, pixels)


def fitted(task: Classification, store: Store) -> tuple[Any, np.ndarray]:
    """A network with random features and a last layer solved by least squares; trained in no time."""
    keras.utils.set_random_seed(3)
    model = task.build()
    batches = list(evaluation_batches(store, task, "train", 16).unbatch().filter(lambda one: one["real"]).batch(999))
    pixels, labels = batches[0]["image"].numpy(), batches[0]["label"].numpy()
    last = model.get_layer("logits")
    features = keras.Model(model.input, last.input).predict(pixels, verbose=0)
    with_one = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    solution = np.linalg.lstsq(with_one, 8.0 * np.eye(3)[labels], rcond=1e-3)[0]
    last.set_weights([solution[:-1], solution[-1]])
    return model, pixels


def verify(shipped: Shipped, tflite: dict[str, Path], settings: VerifySettings = SETTINGS) -> Verification:
    return verify_variants(shipped.task, shipped.model, shipped.store, shipped.version, tflite, settings)


@pytest.fixture(scope="module")
def found(shipped: Shipped) -> Verification:
    files = {name: shipped.publish(name, name) for name in ("float32", "int8")}
    return verify(shipped, files)


def test_right_files_are_blessed(found: Verification) -> None:
    assert set(found.variants) == {"saved_model", "saved_model_images", "float32", "int8"}
    assert found.trained["accuracy"] > 0.9
    found.require_blessed()
    for result in found.variants.values():
        assert result.blessed, result.why
        assert "accuracy drops by" in result.why
        assert result.agreement > 0.9
        assert result.latency_ms > 0


def test_what_computes_in_float_gives_the_same_numbers(found: Verification) -> None:
    for name in ("saved_model", "saved_model_images", "float32"):
        result = found.variants[name]
        assert result.max_difference < 1e-4
        assert result.mean_difference <= result.max_difference
        assert result.drop == 0
        assert "predictions differ by" in result.why
    assert found.variants["int8"].max_difference > 1e-4


def test_files_are_described(shipped: Shipped, found: Verification) -> None:
    int8, saved = found.variants["int8"], found.variants["saved_model"]
    assert int8.bytes == int8.file.stat().st_size
    assert int8.float_ops == 0
    assert int8.operators["CONV_2D"] > 3
    assert "int8" in int8.dtypes
    assert found.variants["float32"].float_ops > 0
    assert saved.float_ops is None
    assert set(saved.dtypes) >= {"float32"}
    assert saved.bytes == sum(file.stat().st_size for file in shipped.version.rglob("*") if file.is_file())


def test_every_example_counts_once(shipped: Shipped, found: Verification) -> None:
    assert found.examples == shipped.store.info.num_examples[found.split]
    per_class = found.variants["int8"].metrics["per_class"]
    assert sum(entry["support"] for entry in per_class.values()) == found.examples


def test_parity_of_all_ways_to_prepare_a_picture(found: Verification) -> None:
    assert set(found.parity) == {"saved_model", "float32", "int8"}
    for result in found.parity.values():
        assert result.passed
        assert result.agreement == 1.0
    assert found.parity["saved_model"].pixel_difference is None
    assert found.parity["float32"].pixel_difference < 2.0


def test_plain_values(shipped: Shipped, found: Verification) -> None:
    plain = found.as_json(shipped.folder)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["variants"]["int8"]["file"] == "int8.tflite"
    assert plain["host"]["threads"] == 1


def test_wrong_files_are_not_blessed(shipped: Shipped) -> None:
    files = {
        "int8": shipped.publish("int8", "wrong_int8", noise=10.0),
        "float32": shipped.publish("float32", "wrong_float32", noise=0.05),
    }
    found = verify(shipped, files)
    assert found.variants["saved_model"].blessed
    assert not found.variants["int8"].blessed
    assert "accuracy drops by" in found.variants["int8"].why
    assert not found.variants["float32"].blessed
    assert found.variants["float32"].why.startswith("predictions differ by")
    with pytest.raises(VerificationError, match=r"int8: accuracy drops by [\s\S]*float32: predictions differ by"):
        found.require_blessed()


def test_limits_of_one_variant(shipped: Shipped) -> None:
    file = shipped.publish("int8", "lenient_int8", noise=10.0)
    lenient = SETTINGS.model_copy(update={"variants": {"int8": Limits(max_drop=1.0, min_agreement=0.0)}})
    assert verify(shipped, {"int8": file}, lenient).variants["int8"].blessed


def test_limits_of_what_is_not_verified_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    settings = SETTINGS.model_copy(update={"variants": {"int9": Limits(), "int8": Limits()}})
    warn_of_unused_limits(settings, ["saved_model", "int8"])
    message = " ".join(capsys.readouterr().err.split())
    assert "verify.variants has limits for 'int9', which is not verified. Did you mean 'int8'?" in message
    assert message.count("Warning") == 1


def test_a_wrongly_prepared_picture_fails_parity(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata that asks for pixels of -1..1 from a network that takes 0..255."""
    from pipeline.export import metadata

    right = metadata.picture_metadata

    def wrong(format: PictureFormat) -> metadata.Table:
        table = right(format)
        table[4][0][1] = metadata.Table({0: [127.5], 1: [127.5]})
        return table

    monkeypatch.setattr(metadata, "picture_metadata", wrong)
    found = verify(shipped, {"float32": shipped.publish("float32", "misdescribed")})
    assert not found.parity["float32"].passed
    assert not found.variants["float32"].blessed
    with pytest.raises(
        VerificationError, match=r"float32: the same answer for 28\.6% of 7 pictures when prepared by a client"
    ):
        found.require_blessed()


def test_limits_know_the_direction() -> None:
    limits = Limits(max_drop=0.02, max_increase=0.1)
    assert limits.allowed(Metric("accuracy", "max"), 0.5) == 0.02
    assert limits.allowed(Metric("mean_absolute_error", "min"), 3.0) == pytest.approx(0.3)


def test_differences_by_hand() -> None:
    differences = Differences()
    differences.update({"a": np.array([1.0, 2.0])}, {"a": np.array([1.5, 2.0])})
    differences.update({"a": np.array([-4.0, 0.0])}, {"a": np.array([-4.0, 0.1])})
    differences.update({"b": np.array([100.0])}, {"b": np.array([101.0])})  # large numbers do not excuse small ones
    assert (differences.largest, differences.share) == (1.0, 0.5 / 4.0)
    assert differences.mean == pytest.approx(1.6 / 5)


def test_a_nan_is_never_blessed() -> None:
    differences = Differences()
    differences.update({"a": np.zeros(2)}, {"a": np.array([np.nan, 0.0])})
    differences.update({"a": np.zeros(2)}, {"a": np.zeros(2)})
    assert math.isnan(differences.largest)
    assert not differences.largest <= 1e9
    assert not differences.share <= 1e9
