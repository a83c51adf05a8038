"""Places in answers: a server says them in the model's picture, the client in the picture that was given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.preprocess import PictureFormat
from pipeline import predict
from pipeline.cli import execute
from pipeline.drawing import COLOURS
from pipeline.tasks import Detection
from serving import async_client, client
from tests.serving.client.test_end_to_end import url_of
from tests.serving.client.test_light import CONVOY, client_distributions, modules_outside, python
from tests.serving.running import Running, config_of, running

EXIF_ORIENTATION, TO_THE_RIGHT = 0x0112, 6
WIDE, TALL = [0.25, 0.0, 0.75, 1.0], [0.0, 0.25, 1.0, 0.75]
"""Where the middle of a square with bars lies in a picture that is twice as wide as high, and the other way round."""


class Middle(tf.Module):
    """A model that sees one object of the second class in the middle of every picture."""

    def found(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.shape(inputs)[0]
        boxes, scores = [[0.25, 0.25, 0.75, 0.75], [0.0] * 4], [0.75, 0.0]
        one = {"boxes": boxes, "classes": [1.0, 0.0], "scores": scores, "count": 1.0}
        return {name: tf.broadcast_to(value, [rows, *np.shape(value)]) for name, value in one.items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def of_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.found(image_bytes)

    @tf.function(input_signature=[tf.TensorSpec([None, 64, 64, 3], tf.uint8, name="image")])
    def of_pixels(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.found(image)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, model = tmp_path_factory.mktemp("export"), Middle()
    signatures = {"serving_default": model.of_bytes, "images": model.of_pixels}
    tf.saved_model.save(model, str(folder / "saved_model" / "1"), signatures)
    task = Detection(class_names=("cat", "dog"), picture=PictureFormat(height=64, width=64, fit="letterbox"))
    (folder / "contract.json").write_text(json.dumps({"task": task.model_dump(mode="json")}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(export: Path) -> Iterator[Running]:
    with running(config_of({"middle": export / "saved_model"}), rest_port=0) as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One that is wide, and one that lies as wide in the file and is tall when turned upright."""
    folder, exif = tmp_path_factory.mktemp("files"), Image.Exif()
    exif[EXIF_ORIENTATION] = TO_THE_RIGHT
    Image.new("RGB", (40, 20), "white").save(folder / "wide.png")
    Image.new("RGB", (40, 20), "white").save(folder / "turned.jpg", exif=exif)
    return [folder / "wide.png", folder / "turned.jpg"]


def boxes(answers: Sequence[dict[str, Any]]) -> list[list[float]]:
    found = [one for answer in answers for one in answer["objects"]]
    assert [(one["label"], one["score"]) for one in found] == [("dog", 0.75)] * len(answers)
    return [one["box"] for one in found]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_answers_are_in_the_picture_that_was_given(
    server: Running, export: Path, files: list[Path], scheme: str
) -> None:
    here = [answer.answer for answer in predict.predict(export, files)]
    settings = client.ClientSettings(batch_size=1)
    with client.connect(url_of(server, scheme), "middle", contract=export, settings=settings) as asked:
        assert boxes(asked.answers(files)) == boxes(here) == [WIDE, TALL]
        wide, _ = asked.describe(files)
        assert boxes(asked.answers([np.zeros((20, 40, 3), np.uint8)])) == [WIDE]
        np.testing.assert_allclose(asked.predict(files)["boxes"][:, 0], [[0.25, 0.25, 0.75, 0.75]] * 2)
    np.testing.assert_allclose(wide.marks["boxes"], [WIDE])
    assert (wide.marks["classes"].tolist(), wide.names) == ([1], ("cat", "dog"))


def test_the_client_for_asyncio_says_the_same(server: Running, export: Path, files: list[Path]) -> None:
    async def ask() -> list[dict[str, Any]]:
        async with async_client.connect(url_of(server, "grpc"), "middle", contract=export) as asked:
            return await asked.answers(files)

    assert boxes(asyncio.run(ask())) == [WIDE, TALL]


def test_boxes_are_drawn(server: Running, export: Path, files: list[Path], tmp_path: Path) -> None:
    url = f"{url_of(server, 'http')}/v1/models/middle"
    assert execute(["predict", "--server", url, str(export), *map(str, files), "--draw", str(tmp_path / "there")]) == 0
    assert execute(["predict", str(export), *map(str, files), "--draw", str(tmp_path / "here")]) == 0
    for name in ("wide.png", "turned.png"):
        there, here = (np.asarray(Image.open(tmp_path / place / name)) for place in ("there", "here"))
        np.testing.assert_array_equal(there, here)
    wide = np.asarray(Image.open(tmp_path / "there" / "wide.png"))
    assert wide[100, 60].tolist() == list(COLOURS[1]) and wide[100, 55].tolist() == [255, 255, 255]  # six times as wide


def test_no_tensorflow_is_needed(server: Running, export: Path, files: list[Path]) -> None:
    refused = json.dumps(modules_outside(client_distributions()))
    url = f"{url_of(server, 'grpc')}/v1/models/middle"
    done = python(
        CONVOY, refused, "predict", "--server", url, str(export / "contract.json"), *map(str, files), "--json"
    )
    assert done.returncode == 0, done.stderr
    assert boxes(json.loads(done.stdout)["predictions"]) == [WIDE, TALL]
