"""What splits hold, and whether they differ: planted differences are found, chance is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.example import SPLITS, RawExample, RawObject
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.distribution import ClassTally, distribution_findings, imbalance_ratio
from pipeline.diagnosis.drift import SHUFFLES, Drift, class_distance, drift_findings, drifts, number_distance
from pipeline.diagnosis.examine import Subject, examine
from tests.diagnosis.given import Given, diagnosed, encoded, example, found, picture

SETTINGS = DoctorSettings()


def tallied(*labels: str, names: tuple[str, ...] | None = None) -> ClassTally:
    tally = ClassTally(names)
    for label in labels:
        tally.add(RawExample(id="", image=b"", label=label))
    return tally


def test_a_drift_of_classes_can_be_as_sure_as_is_asked() -> None:
    """The permutation test's least p-value lies below the least that can be asked for."""
    with pytest.raises(ValueError, match="drift_p_value"):
        DoctorSettings(drift_p_value=0.0004)
    assert DoctorSettings(drift_p_value=0.001).drift_p_value > 1 / (1 + SHUFFLES)


def codes(**counts: int) -> np.ndarray:
    return np.repeat([SPLITS.index(name) for name in counts], list(counts.values())).astype(np.int8)


def test_counts_by_hand() -> None:
    tally = tallied("b", "a", "a", "", "b", "b")
    assert tally.names == ("a", "b")
    counts = tally.counts(codes(train=4, test=2))
    assert {split: row.tolist() for split, row in counts.items()} == {"train": [2, 1], "test": [0, 2]}


def test_objects_and_many_labels_are_counted() -> None:
    tally = ClassTally(("y", "x"))
    tally.add(RawExample(id="", image=b"", labels=["x", "z"]))
    tally.add(RawExample(id="", image=b"", objects=[RawObject("x"), RawObject("x"), RawObject("y")]))
    assert tally.names == ("y", "x", "z")
    assert tally.counts(codes(train=1, test=1))["test"].tolist() == [1, 2, 0]


def test_what_is_left_out_shows_no_class() -> None:
    """As `prepare` counts: a class whose only picture in a split is broken is absent from it."""
    tally = tallied("a", "b", "a")
    tally.add_unusable(RawExample(id="", image=b"", label="b"))
    assert tally.counts(codes(train=2, test=2))["test"].tolist() == [1, 0]
    examples = [example(number) for number in range(8)]
    examples += [example(8, split="test"), example(9, image=b"no picture", split="test")]
    (one,) = [one for one in found(diagnosed(examples), "absent_class") if "test" in one.what]
    assert one.what == "test shows nothing of b"


@pytest.mark.parametrize(("missing", "severity"), [("auto", "error"), ("warn", "warning"), ("refuse", "error")])
def test_a_class_that_a_split_lacks(missing: str, severity: str) -> None:
    tally = tallied("a", "b", "a", "a")
    (one,) = distribution_findings(tally, codes(train=2, test=2), missing, SETTINGS)
    assert (one.kind, one.severity) == ("absent_class", severity)
    assert one.what == "test shows nothing of b"


def test_imbalance() -> None:
    tally = tallied(*"a" * 60, *"b" * 2)
    (one,) = distribution_findings(tally, codes(train=62), "auto", SETTINGS)
    assert (one.kind, one.numbers) == ("imbalance", {"ratio": 30.0})
    assert "'a' 60 times and 'b' 2 times" in one.what
    assert list(distribution_findings(tally, codes(train=62), "auto", DoctorSettings(imbalance=31))) == []
    assert imbalance_ratio(np.array([0, 5, 0])) is None


def test_class_distance_by_hand() -> None:
    tally = tallied(*"aab", *"abb")
    distance, p_value = class_distance(tally, codes(train=3, test=3), "test")
    assert distance == pytest.approx(1 / 3)
    # of the 20 ways to deal three of each class to two splits of three, all are at least 1/3 apart
    assert p_value == 1


def test_the_p_value_is_that_of_the_permutation_test() -> None:
    """Four `a` in train and four `b` in test: 2 of the 70 deals are as far apart."""
    tally = tallied(*"aaaa", *"bbbb")
    distance, p_value = class_distance(tally, codes(train=4, test=4), "test")
    assert distance == 1
    assert p_value == pytest.approx(2 / 70, abs=0.012)


def test_objects_of_one_picture_belong_together() -> None:
    """As single objects the splits would differ beyond doubt; as pictures with 30 of a kind they do not."""
    tally = ClassTally(None)
    for label in "aab" + "bba":
        tally.add(RawExample(id="", image=b"", objects=[RawObject(label)] * 30))
    distance, p_value = class_distance(tally, codes(train=3, test=3), "test")
    assert distance == pytest.approx(1 / 3)
    assert p_value > 0.9


def test_number_distance_by_hand() -> None:
    distance, p_value = number_distance(np.arange(10.0), np.arange(10.0) + 5)
    assert distance == pytest.approx(0.5)
    assert 0.1 < p_value < 0.2
    assert number_distance(np.arange(10.0), np.arange(10.0)) == (0.0, 1.0)


def test_verdicts() -> None:
    generator = np.random.default_rng(0)
    many, splits = 4000, codes(train=2000, test=2000)
    tally = tallied(*generator.choice(["a", "b"], many))
    shifted = generator.normal(size=many)
    shifted[2000:] += 1
    slightly = generator.normal(size=many)
    slightly[2000:] += 0.15
    measures = {"same": generator.normal(size=many), "shifted": shifted, "slightly": slightly}
    verdicts = {one.measure: one.verdict for one in drifts(tally, measures, splits, SETTINGS)}
    assert verdicts == {
        "classes": "alike", "same": "alike", "shifted": "different", "slightly": "slightly different",
    }  # fmt: skip
    (one,) = drift_findings([Drift("shifted", "test", 0.4, 1e-9, "different"), Drift("a", "test", 0.1, 0.5, "alike")])
    assert (one.kind, one.severity) == ("drift", "warning")


def test_a_split_of_darker_pictures_and_of_other_classes() -> None:
    def planted(number: int) -> RawExample:
        test = number % 2 == 1
        image = picture(number).point(lambda value: value // 3 if test else value)
        return example(
            number, encoded(image), split="test" if test else "train", label="a" if test else "ab"[number % 4 // 2]
        )

    diagnosis = diagnosed([planted(number) for number in range(60)])
    drifted = {one.what.split(":")[0] for one in found(diagnosis, "drift")}
    assert {"brightness", "contrast", "classes"} <= drifted
    assert not {"height", "width", "aspect"} & drifted


def test_regression_targets_that_drift() -> None:
    examples = [
        example(number, value=[float(number % 7 + 50 * (number % 2))], split=("train", "test")[number % 2])
        for number in range(60)
    ]
    (one,) = [one for one in found(diagnosed(examples, source={"targets": ("age",)}), "drift") if "age" in one.what]
    assert one.numbers["distance"] == 1


def test_statistics_of_sizes_and_classes() -> None:
    sizes = [(40, 80), (50, 50), (60, 50)]
    examples = [example(number, encoded(picture(number, *size)), label="a") for number, size in enumerate(sizes)]
    statistics = diagnosed([*examples, example(3, b"broken", label="b")]).statistics
    assert statistics["pictures"] == {"train": 4}
    assert statistics["unusable"] == 1
    assert statistics["classes"]["train"]["classes"]["a"] == {"count": 3, "share": 1.0}
    assert statistics["classes"]["train"]["imbalance"] is None
    height = statistics["measures"]["train"]["height"]
    assert (height["least"], height["median"], height["largest"]) == (40, 50, 60)
    assert statistics["measures"]["train"]["aspect"]["largest"] == 2


def test_excluded_splits_are_not_looked_at() -> None:
    examples = [example(number, split=("train", "test")[number % 2]) for number in range(8)]
    diagnosis = examine(Subject(Given(given=tuple(examples)), excluded=("test",)), SETTINGS)
    assert sum(diagnosis.statistics["pictures"].values()) == 4


def test_the_splits_are_those_of_prepare(tmp_path: Path) -> None:
    from pipeline.data.prepare import DataSettings, prepare
    from pipeline.data.sources import ClassFolders
    from pipeline.diagnosis.examine import subject_of

    for number in range(30):
        file = tmp_path / "data" / "abc"[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(number)))
    settings = DataSettings(source=ClassFolders(path=tmp_path / "data"))
    statistics = examine(subject_of(settings), SETTINGS).statistics
    info = prepare(settings, tmp_path / "store").info
    assert statistics["pictures"] == info.num_examples
    counted = {
        split: [row["count"] for row in held["classes"].values()] for split, held in statistics["classes"].items()
    }
    assert counted == info.class_counts
