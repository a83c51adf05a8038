from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipeline.data.sources import Tfds
from pipeline.data.survey import survey
from pipeline.errors import DataError
from tests.data.pictures import encoded, noise

FEATURES = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
    "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["x", "y", "z"])),
    "number": np.int64,
    "height": np.float32,
    "caption": tfds.features.Text(),
}


def row(number: int) -> dict[str, object]:
    return {
        "image": np.asarray(noise(number)),
        "label": number % 2,
        "tags": [2, 0][: number % 3],
        "number": 9 + number,
        "height": number / 2,
        "caption": f"picture {number}",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set `pets` as TFDS writes it."""
    root = tmp_path_factory.mktemp("tfds")
    splits = {
        split: [(number, row(number)) for number in numbers]
        for split, numbers in {"train": range(4), "test": range(4, 6), "extra": [9]}.items()
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        data_dir=root,
        features=tfds.features.FeaturesDict(FEATURES),
        split_datasets=splits,
        disable_shuffling=True,
    )
    return root


def test_classes_by_name(folder):
    source = Tfds(name="pets", data_dir=folder, text_feature="caption")
    source.check()
    assert source.class_names() == ("cat", "dog")
    examples = list(source.examples())
    assert [(row.split, row.label, row.text) for row in examples[:2]] == [
        ("train", "cat", "picture 0"),
        ("train", "dog", "picture 1"),
    ]
    assert [row.split for row in examples] == ["train"] * 4 + ["test"] * 2  # `extra` has no usual name
    assert len({row.id for row in examples}) == 6
    assert examples[0].image[:4] == b"\x89PNG"


def test_slices_and_folder(folder):
    source = Tfds(name=".", data_dir=folder / "pets" / "1.0.0", splits={"train[:50%]": "train", "extra": "test"})
    source.check()
    assert [row.split for row in source.examples()] == ["train", "train", "test"]


def test_other_targets(folder):
    tags = Tfds(name="pets", data_dir=folder, labels_feature="tags")
    assert tags.class_names() == ("x", "y", "z")
    assert [row.labels for row in tags.examples()][:3] == [[], ["z"], ["z", "x"]]
    numbers = Tfds(name="pets", data_dir=folder, value_features=("height",))
    assert [row.value for row in numbers.examples()][:3] == [[0.0], [0.5], [1.0]]
    assert (numbers.value_names(), numbers.class_names()) == (("height",), None)
    plain = Tfds(name="pets", data_dir=folder, label_feature="number")
    assert plain.class_names() is None
    assert next(iter(plain.examples())).label == "9"


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    """A data set whose first pictures have labels and whose last one has none: TFDS writes -1."""
    root = tmp_path_factory.mktemp("tfds_unlabelled")
    box = tfds.features.BBox(ymin=0.25, xmin=0.5, ymax=0.75, xmax=1.0)
    held = [(0, [2], [1, 0]), (1, [], [1]), (-1, [1, -1], [0, -1])]
    rows = [
        {
            "image": np.asarray(noise(number)),
            "label": label,
            "tags": tags,
            "objects": [box_of(box, one) for one in objects],
        }
        for number, (label, tags, objects) in enumerate(held)
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="strays",
        version="1.0.0",
        data_dir=root,
        features=tfds.features.FeaturesDict({**OBJECTS, "label": FEATURES["label"], "tags": FEATURES["tags"]}),
        split_datasets={"train": list(enumerate(rows))},
        disable_shuffling=True,
    )
    return root


def box_of(box, label):
    return {"bbox": box, "label": label, "is_crowd": False}


def test_minus_one_is_no_class(unlabelled):
    """In Python it is the place of the last one."""
    one = list(Tfds(name="strays", data_dir=unlabelled).examples())
    assert [row.label for row in one] == ["cat", "dog", ""]
    several = list(Tfds(name="strays", data_dir=unlabelled, labels_feature="tags").examples())
    assert [(row.labels, row.labels_unknown) for row in several] == [(["z"], []), ([], []), (["y"], ["x", "z"])]
    objects = list(Tfds(name="strays", data_dir=unlabelled, objects_feature="objects").examples())[2].objects
    assert [(held.label, held.unusable) for held in objects] == [("cat", ""), ("", "it has no class")]
    assert objects[1].where.endswith(", object 1")


def test_what_is_not_known_is_refused_or_masked(unlabelled):
    source = Tfds(name="strays", data_dir=unlabelled)
    with pytest.raises(DataError, match=r"strays .*: the label is empty\..*data\.missing_labels=mask"):
        survey(source, lambda done, total: None)
    assert survey(source, lambda done, total: None, "mask").target.indices().tolist() == [0, 1, -1]


def test_what_can_be_wrong(folder):
    with pytest.raises(DataError, match=r"no feature 'lable'\. Did you mean 'label'"):
        Tfds(name="pets", data_dir=folder, label_feature="lable").check()
    with pytest.raises(DataError, match=r"no split 'trane'\. Did you mean 'train'"):
        Tfds(name="pets", data_dir=folder, splits={"trane[:10%]": "train"}).check()
    with pytest.raises(DataError, match="cannot give 'no_such_set_at_all'"):
        Tfds(name="no_such_set_at_all", data_dir=folder).check()
    with pytest.raises(DataError, match="does not exist"):
        Tfds(name=".", data_dir=folder / "pets" / "2.0.0").check()


def test_fingerprint_is_stable(folder):
    assert Tfds(name="pets", data_dir=folder).fingerprint() == Tfds(name="pets", data_dir=folder).fingerprint()


def test_encoded_picture_is_not_decoded_again(folder):
    source = Tfds(name="pets", data_dir=folder)
    picture = next(iter(source.examples())).image
    assert len(picture) <= len(encoded(noise(0))) * 2


OBJECTS = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "objects": tfds.features.Sequence(
        {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "is_crowd": np.bool_,
        }
    ),
}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A detection set as TFDS writes it: y_min, x_min, y_max, x_max."""
    root = tmp_path_factory.mktemp("tfds_boxes")
    box = tfds.features.BBox(ymin=0.25, xmin=0.5, ymax=0.75, xmax=1.0)
    held = [{"bbox": box, "label": 1, "is_crowd": True}, {"bbox": box, "label": 0, "is_crowd": False}]
    rows = [(number, {"image": np.asarray(noise(number)), "objects": held[:number]}) for number in range(3)]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="zoo",
        version="1.0.0",
        data_dir=root,
        features=tfds.features.FeaturesDict(OBJECTS),
        split_datasets={"train": rows},
        disable_shuffling=True,
    )
    return root


def test_objects(boxes):
    source = Tfds(name="zoo", data_dir=boxes, objects_feature="objects")
    source.check()
    assert source.class_names() == ("cat", "dog")
    none, one, two = source.examples()
    assert (none.objects, none.label) == ([], None)
    assert [(held.label, held.box, held.unit, held.crowd) for held in two.objects] == [
        ("dog", (0.5, 0.25, 1.0, 0.75), "picture", True),
        ("cat", (0.5, 0.25, 1.0, 0.75), "picture", False),
    ]
    assert len(one.objects) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objects_feature": "objcts"}, "no feature 'objcts'. Did you mean 'objects'"),
        ({"objects_feature": "image"}, "It is no sequence of boxes and classes"),
        ({"objects_feature": "objects", "class_feature": "type"}, "class_feature: objects has no feature 'type'"),
    ],
)
def test_wrong_features_of_objects(boxes, settings, message):
    with pytest.raises(DataError, match=message):
        Tfds(name="zoo", data_dir=boxes, **settings).check()
