"""What objects look like to trained networks: the same object is nearer to itself than to others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.siamese.network import EDGES, SCORES, weighted_by_middle
from models.stack import keras, tf
from pipeline import stages
from pipeline.cli import execute
from pipeline.errors import ConfigError
from pipeline.run import Run
from pipeline.tasks import Detection, SingleObjectTracking
from pipeline.tracking.appearance import NetworkFeatures
from tests.tracking.given import box
from tests.tracking.test_run import export, written

__all__ = ["export"]  # a fixture of another file

SIDE, OBJECT, KINDS = 44, 20, 4
"""Of a crop, and of an object in a frame."""
PATTERNS = [
    cv2.resize(
        np.random.default_rng(40 + kind).integers(0, 256, (3, 3, 3), dtype=np.uint8),
        (OBJECT, OBJECT),
        interpolation=cv2.INTER_NEAREST,
    )
    for kind in range(KINDS)
]


def frame(random: np.random.Generator, middles: dict[int, tuple[float, float]]) -> np.ndarray:
    """Objects by kind, brighter or darker, on some ground: uint8 [120,160,3]."""
    pixels = cv2.resize(random.integers(60, 180, (12, 16, 3), dtype=np.uint8), (160, 120))
    for kind, (x, y) in middles.items():
        left, top = int(x - OBJECT / 2), int(y - OBJECT / 2)
        lit = np.clip(PATTERNS[kind] * random.uniform(0.85, 1.15), 0, 255)
        pixels[top : top + OBJECT, left : left + OBJECT] = lit.astype(np.uint8)
    return pixels


def pairs(random: np.random.Generator, task: SingleObjectTracking) -> Iterator[tuple[np.ndarray, list[float]]]:
    """A pair [88,44,3] of an object, beside whose middle another one lies, and where it is."""
    cut = task.embedding(task.build()).cut
    for _ in range(160):
        kind, other = random.permutation(KINDS)[:2]
        template = cut(frame(random, {kind: (80, 60)}), np.array(box(80, 60)))
        away = random.integers(-12, 13, 2)
        search = cut(frame(random, {other: (105, 60), kind: tuple(80 - away)}), np.array(box(80, 60)))
        middle = 0.5 - away / 80
        yield np.concatenate([search, template]), [*(middle - 0.125), *(middle + 0.125), 1.0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A Siamese network that has seen some pairs of objects."""
    task = SingleObjectTracking.model_validate(
        {
            "picture": {"height": 2 * SIDE, "width": SIDE},
            "backbone": {"kind": "small_resnet", "depth": 6, "widths": [8, 8], "stem_stride": 2},
            "network": {"stride": 4, "channels": 8, "template_cells": 5, "head_depth": 1},
        }
    )
    keras.utils.set_random_seed(3)
    model, (pictures, targets) = task.build(), zip(*pairs(np.random.default_rng(0), task), strict=True)
    model.compile(keras.optimizers.Adam(0.01), loss=task.losses())
    truth = np.array(targets, np.float32)
    model.fit(np.stack(pictures), {SCORES: truth, EDGES: truth}, batch_size=16, epochs=3, verbose=0)
    made = Run(tmp_path_factory.mktemp("siamese") / "run")
    stages.keep_model(made, model, task)
    return made


def test_a_siamese_networks_template_tells_objects_apart(run: Run) -> None:
    describe = NetworkFeatures(run=str(run.path)).describer()
    assert describe.length == 5 * 5 * 8
    random, looks = np.random.default_rng(9), []
    for shift in (0, 3, -3):  # each kind once, elsewhere and on another ground
        places = {kind: (30.0 + 32 * kind + shift, 60.0 + shift) for kind in range(KINDS)}
        boxes = np.array([box(*places[kind]) for kind in range(KINDS)])
        looks.append(describe(frame(random, places), boxes))
    described = np.concatenate(looks)
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1.0)
    near = described @ described.T
    kinds = np.tile(np.arange(KINDS), 3)
    same = kinds[:, None] == kinds[None, :]
    for row in range(len(near)):
        assert near[row][same[row]].min() > near[row][~same[row]].max()
    assert near[same].mean() > 0.9 and near[~same].mean() < 0.7


def test_the_middle_of_a_template_counts_most() -> None:
    one, other = np.zeros((2, 1, 3, 3, 2), np.float32)
    one[...] = 2.0
    other[0, 1, 1, 0], other[0, 0, 1, 0], other[0, 0, 0, 1] = 1.0, 10.0, 100.0
    looks = weighted_by_middle(tf.constant(np.concatenate([one, other]))).numpy()
    assert looks.shape == (2, 18)
    # 1 in the middle, 1 - (2/3)^2 = 5/9 beside it four times, 1/9 in the four corners: 11/3 in all.
    assert looks[0] @ looks[1] == pytest.approx(2 * (1 + 10 * 5 / 9 + 100 / 9) * 3 / 11, rel=1e-5)


def test_the_command_takes_it(run: Run, export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["track", str(export), str(written(tmp_path / "video")), "--output", str(tmp_path / "out")]
    looks = ["appearance=network", f"appearance.run={run.path}"]
    assert execute([*arguments, *looks, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["appearance"]["kind"] == "network"
    assert document["tracks"]["count"] == 2
    task = Detection(class_names=("a", "b"))
    stages.keep_model(Run(tmp_path / "run"), keras.Sequential([keras.layers.InputLayer((1,))]), task)
    assert execute([*arguments, "appearance=network", f"appearance.run={tmp_path / 'run'}"]) == 2
    assert "'detection' answers for many places" in capsys.readouterr().err


def test_a_network_that_describes_no_single_object_is_refused(tmp_path: Path) -> None:
    task = Detection(class_names=("a", "b"))
    model = keras.Sequential([keras.layers.InputLayer((4,)), keras.layers.Dense(1)])
    stages.keep_model(Run(tmp_path), model, task)
    with pytest.raises(ConfigError, match=r"task 'detection' answers for many places.*single_object_tracking"):
        NetworkFeatures(run=str(tmp_path)).describer()
