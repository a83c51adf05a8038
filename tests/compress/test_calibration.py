from __future__ import annotations

import numpy as np
import pytest

from models.preprocess import PictureFormat
from models.stack import keras
from pipeline.compress import CompressSettings, convert, flatbuffer
from pipeline.compress.calibration import Calibration, MinMax, Percentile, calibration_pictures, cut, percentiles
from pipeline.compress.inspect import inspect_content
from pipeline.errors import DataError
from pipeline.tasks import Classification
from tests.data.stores import make_store

TASK = Classification(picture=PictureFormat(height=12, width=12, channels=1))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Class k of 4 is every fourth picture; each pixel of a picture is its number."""
    return make_store(tmp_path_factory.mktemp("store"), {"train": 10, "validation": 4}, [(12, 12)])


def test_the_share_cut_off_at_each_end_is_counted_in_values():
    counts = np.zeros(10, np.int64)
    counts[[0, 4, 9]] = 1, 97, 2  # a hundred values between 0 and 10
    assert cut(counts, 0.0, 10.0, 100) == (0.0, 10.0)
    assert cut(counts, 0.0, 10.0, 99) == (4.0, 10.0)  # one of a hundred goes at each end
    assert cut(counts, 0.0, 10.0, 98) == (4.0, 5.0)


def identity_and_its_double() -> keras.Model:
    image = keras.Input((100, 1, 1), name="image")
    double = keras.layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(2.0), name="double")(image)
    return keras.Model(image, {"values": keras.layers.Conv2D(1, 1, name="values", kernel_initializer="ones")(double)})


def test_percentiles_are_those_of_the_values_of_all_pictures():
    pictures = np.arange(1000).reshape(10, 100, 1, 1).astype(np.uint8)
    calibrated = convert.calibrated_file(identity_and_its_double(), pictures)
    ((low, high),) = percentiles(calibrated, {"image": pictures}, 97.0).values()
    values = 2.0 * pictures.ravel()
    width = np.ptp(values) / 2048
    assert low == pytest.approx(np.quantile(values, 0.03), abs=2 + width)
    assert high == pytest.approx(np.quantile(values, 0.97), abs=2 + width)


def test_percentile_narrows_the_ranges_inside_and_no_others():
    pictures = np.full((4, 100, 1, 1), 10, np.uint8)
    pictures[:, 50:] = 20
    pictures[0, 0] = 250
    model = identity_and_its_double()
    extremes, narrow = (convert.calibrated_file(model, pictures, how) for how in (MinMax(), Percentile(percentile=99)))
    ((_, high),) = flatbuffer.ranges(extremes).values()
    assert high == 500.0
    ((_, high),) = flatbuffer.ranges(narrow).values()
    assert 40.0 <= high < 40.5
    ends = [inspect_content(convert.quantized(content)).outputs[0].dtype for content in (extremes, narrow)]
    assert ends == ["float32", "float32"]
    graph = flatbuffer.unpack(narrow).subgraphs[0]
    assert graph.tensors[graph.inputs[0]].quantization.max[0] == 255.0
    assert graph.tensors[graph.outputs[0]].quantization.max[0] == 500.0


def test_a_model_of_two_inputs_is_calibrated_on_both():
    image, other = keras.Input((100, 1, 1), name="image"), keras.Input((100, 1, 1), name="other")
    both = keras.layers.Add(name="both")([image, other])
    model = keras.Model([image, other], {"values": keras.layers.Conv2D(1, 1, kernel_initializer="ones")(both)})
    pictures = np.full((2, 100, 1, 1), 10, np.uint8)
    given = {"image": pictures, "other": np.full((2, 100, 1, 1), 500, np.float32)}
    given["other"][0, 0], given["other"][0, 1] = 4000, -4000
    for how, (least, most) in {MinMax(): (-3990, 4010), Percentile(percentile=98): (505, 515)}.items():
        content = convert.calibrated_on(model, given, how)
        ((low, high),) = flatbuffer.ranges(content).values()
        assert (low, high) == pytest.approx((least, most), abs=5)
        places, tensors = flatbuffer.signature_inputs(content), flatbuffer.unpack(content).subgraphs[0].tensors
        ends = {name: tensors[place].quantization for name, place in places.items()}
        assert (ends["image"].min[0], ends["image"].max[0]) == (0, 255)
        assert (ends["other"].min[0], ends["other"].max[0]) == (-4000, 4000)


def test_fewer_pictures_than_asked_for_are_said_with_numbers(store, capsys):
    assert calibration_pictures(Calibration(count=10), store, TASK).shape == (10, 12, 12, 1)
    assert "Warning" not in capsys.readouterr().err
    assert len(calibration_pictures(Calibration(count=99), store, TASK)) == 10
    message = " ".join(capsys.readouterr().err.split())
    assert "asks for 99 pictures, but the split 'train' holds 10" in message


def test_pictures_come_from_the_split_that_is_asked_for(store):
    pictures = calibration_pictures(Calibration(count=2, split="validation"), store, TASK)
    assert len(pictures) == 2
    whole = calibration_pictures(Calibration(count=4, split="validation"), store, TASK)
    assert all(any((one == other).all() for other in whole) for one in pictures)


def test_pictures_of_one_class_are_said(store, capsys):
    calibration_pictures(Calibration(count=1), store, TASK)
    message = " ".join(capsys.readouterr().err.split())
    assert "All 1 calibration pictures are" in message and "one of 4 classes" in message
    calibration_pictures(Calibration(count=2), store, TASK)
    assert "calibration pictures are" not in capsys.readouterr().err


def test_an_empty_split_is_refused(tmp_path):
    store = make_store(tmp_path, {"train": 4}, [(12, 12)])
    with pytest.raises(DataError, match="'validation' holds no example"):
        calibration_pictures(Calibration(split="validation"), store, TASK)


def test_settings_name_their_kind():
    settings = CompressSettings.model_validate({"calibration": {"range": {"kind": "percentile", "percentile": 99.9}}})
    assert settings.calibration.range == Percentile(percentile=99.9)
    with pytest.raises(ValueError, match="greater than 50"):
        Percentile(percentile=0.1)
