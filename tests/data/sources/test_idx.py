from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.data.sources import Idx
from pipeline.errors import DataError


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def pair(folder: Path, part: str, count: int = 3, suffix: str = "", labels: int | None = None) -> None:
    pictures = np.arange(count * 4 * 5, dtype=np.uint8).reshape(count, 4, 5)
    for name, values in (("images-idx3", pictures), ("labels-idx1", np.arange(labels or count, dtype=np.uint8))):
        data = idx(values)
        (folder / f"{part}-{name}-ubyte{suffix}").write_bytes(gzip.compress(data) if suffix else data)


def test_mnist_names_plain_and_gzipped(tmp_path):
    pair(tmp_path, "train", suffix=".gz")
    pair(tmp_path, "t10k", count=2)
    source = Idx(path=tmp_path)
    source.check()
    examples = list(source.examples())
    assert [(row.id, row.split, row.label) for row in examples] == [
        ("t10k/000000", "test", "0"),
        ("t10k/000001", "test", "1"),
        ("train/000000", "train", "0"),
        ("train/000001", "train", "1"),
        ("train/000002", "train", "2"),
    ]
    np.testing.assert_array_equal(examples[3].image, np.arange(20, 40).reshape(4, 5))
    assert source.class_names() is None


def test_explicit_files_and_names(tmp_path):
    pair(tmp_path, "x", count=2)
    files = {"images": tmp_path / "x-images-idx3-ubyte", "labels": tmp_path / "x-labels-idx1-ubyte"}
    source = Idx(**files, names=("shirt", "shoe"))
    assert [(row.label, row.split) for row in source.examples()] == [("shirt", None), ("shoe", None)]
    assert source.class_names() == ("shirt", "shoe")
    with pytest.raises(DataError, match=r"holds the label 1, but data\.source\.names gives 1 names"):
        list(Idx(**files, names=("shirt",)).examples())


@pytest.mark.parametrize("wrong", [{}, {"images": "a"}, {"path": "a", "images": "b", "labels": "c"}])
def test_either_folder_or_files(wrong):
    with pytest.raises(ValidationError, match="idx takes either"):
        Idx(**wrong)


def test_what_can_be_wrong(tmp_path):
    with pytest.raises(DataError, match="holds no idx pictures"):
        Idx(path=tmp_path).check()
    pair(tmp_path, "train", labels=2)
    with pytest.raises(DataError, match=r"holds 3 pictures, but .* holds 2 labels"):
        Idx(path=tmp_path).check()
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no labels: expected train-labels-idx1-ubyte"):
        Idx(path=tmp_path).check()
    pair(tmp_path, "train")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x89PNG and more")
    with pytest.raises(DataError, match=r"not an idx file .* starts with 89 50 4e 47"):
        Idx(path=tmp_path).check()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_file_cut_short(tmp_path, suffix):
    pair(tmp_path, "train", suffix=suffix)
    file = tmp_path / f"train-images-idx3-ubyte{suffix}"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"cut short|cannot be read"):
        list(Idx(path=tmp_path).examples())


def test_fashion_mnist(convoy_data):
    source = Idx(path=convoy_data / "fashion_mnist")
    source.check()
    first = next(iter(source.examples()))
    assert (first.image.shape, first.image.dtype, first.split) == ((28, 28), np.uint8, "test")
