from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.preprocess import PictureFormat
from pipeline.data.anchors import fit_anchors, shape_ious, training_shapes
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import PascalVoc
from pipeline.errors import ConfigError
from tests.data.sources.test_voc import annotation, element, voc


def test_two_groups_by_hand() -> None:
    """Means of {10x10, 10x10, 10x13} and {40x20, 40x30}; IoUs 100/110, 110/130, 800/1000, 1000/1200."""
    fitted = fit_anchors(np.array([[40, 20], [10, 10], [10, 13], [10, 10], [40, 30]], float), 2)
    np.testing.assert_allclose(fitted.shapes, [[10, 11], [40, 25]])
    np.testing.assert_allclose(fitted.shares, [0.6, 0.4])
    np.testing.assert_allclose(fitted.ious, [0.8, 100 / 110, 110 / 130, 100 / 110, 1000 / 1200])
    assert fitted.mean_iou == pytest.approx((0.8 + 200 / 110 + 110 / 130 + 1000 / 1200) / 5)
    assert (fitted.recall(0.5), fitted.recall(0.82), fitted.recall(0.9)) == (1.0, 0.8, 0.4)


def test_ious_of_shapes_by_hand() -> None:
    found = shape_ious(np.array([[2.0, 3.0], [4.0, 1.0]]), np.array([[2.0, 2.0], [4.0, 4.0]]))
    np.testing.assert_allclose(found, [[4 / 6, 6 / 16], [2 / 6, 4 / 16]])


def test_as_many_anchors_as_shapes_reach_all() -> None:
    shapes = np.random.default_rng(0).uniform(5, 60, (8, 2))
    fitted = fit_anchors(shapes, 8)
    assert fitted.mean_iou == pytest.approx(1.0)
    assert fit_anchors(shapes, 8).shapes.tolist() == fitted.shapes.tolist()
    with pytest.raises(ConfigError, match="9 anchors were asked for, but the training boxes have 8 different"):
        fit_anchors(shapes, 9)


@pytest.mark.parametrize(("fit", "height", "expected"), [("stretch", 48, (14, 24)), ("letterbox", 48, (14, 12))])
def test_shapes_are_those_of_the_models_picture(
    tmp_path: Path, fit: str, height: int, expected: tuple[float, float]
) -> None:
    """A box of 7 x 6 in pictures of 16 x 12, shown 32 wide: stretched to 48 high, or between bars."""
    for name in voc(tmp_path, names=tuple("12345678")).glob("Annotations/*.xml"):
        name.write_text(annotation(element(box=(2, 3, 9, 9))))
    store = prepare(DataSettings(source=PascalVoc(path=tmp_path)), tmp_path / "stores")
    shapes = training_shapes(store, PictureFormat(height=height, width=32, fit=fit))
    np.testing.assert_allclose(shapes, np.tile(expected, (store.info.num_examples["train"], 1)), rtol=1e-5)


def test_objects_that_are_not_asked_for_have_no_anchors(tmp_path: Path) -> None:
    for name in voc(tmp_path, names=tuple("12345678")).glob("Annotations/*.xml"):
        name.write_text(annotation(element(box=(2, 3, 9, 9)), element(box=(1, 1, 16, 12), difficult=1)))
    store = prepare(DataSettings(source=PascalVoc(path=tmp_path)), tmp_path / "stores")
    shapes = training_shapes(store, PictureFormat(height=12, width=16))
    np.testing.assert_allclose(shapes, np.tile((7, 6), (store.info.num_examples["train"], 1)), rtol=1e-5)
