"""Models read from `.keras` files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from models import saved
from models.backbones import SmallResNet
from models.stack import keras


def test_a_model_is_what_keras_itself_reads(build, pictures, tmp_path: Path) -> None:
    model = build(SmallResNet(depth=8, widths=(4, 8, 12)), pool="gem")
    model.compile(keras.optimizers.Adam(), "mse")
    model.save(tmp_path / "model.keras")
    ours, theirs = saved.load(tmp_path / "model.keras"), keras.models.load_model(tmp_path / "model.keras")
    assert [layer.get_config() for layer in ours.layers] == [layer.get_config() for layer in theirs.layers]
    for one, other, original in zip(ours.get_weights(), theirs.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, original)
    assert np.array_equal(ours(pictures()), model(pictures()))
    assert ours.optimizer is None


def test_a_damaged_file_is_refused(build, tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    build(SmallResNet(depth=8, widths=(4, 8, 12))).save(file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cut short"):
        saved.load(file)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(KeyError, match=r"config\.json"):
        saved.load(tmp_path / "other.keras")
