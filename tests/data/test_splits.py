from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.data.splits import UNNAMED, Splits, assign, key_of, read_split_file, unit_of
from pipeline.errors import DataError

TRAIN, VALIDATION, TEST = 0, 1, 2


def keys(count: int) -> np.ndarray:
    return np.array([key_of(f"{number}.png") for number in range(count)], np.uint64)


def drawn(settings: Splits, strata: list[int], given: list[int] | None = None) -> np.ndarray:
    count = len(strata)
    codes = np.full(count, UNNAMED, np.int8) if given is None else np.array(given, np.int8)
    return assign(settings, codes, keys(count), np.array(strata))


def counts(codes: np.ndarray) -> list[int]:
    return np.bincount(codes, minlength=3).tolist()


def test_key_is_the_same_on_every_machine():
    assert key_of("a.png") == 0xE203797DE73BF656  # printf a.png | b2sum -l 64


def test_each_class_is_shared_out_on_its_own():
    strata = [0] * 100 + [1] * 20 + [2] * 10
    codes = drawn(Splits(validation=0.1, test=0.2), strata)
    assert counts(codes[:100]) == [70, 10, 20]
    assert counts(codes[100:120]) == [14, 2, 4]
    assert counts(codes[120:]) == [7, 1, 2]


def test_small_classes_give_one_to_each_split_and_keep_one_for_training():
    assert counts(drawn(Splits(validation=0.1, test=0.1), [0] * 3)) == [1, 1, 1]
    for size in (1, 2):
        assert counts(drawn(Splits(validation=0.1, test=0.1), [0] * size))[TRAIN] >= 1


def test_many_small_classes_give_the_right_sum():
    strata = np.repeat(np.arange(50), 6).tolist()
    assert counts(drawn(Splits(validation=0.25, test=0), strata)) == [225, 75, 0]


def test_order_does_not_matter_and_the_seed_does():
    settings = Splits(validation=0.2, test=0.2)
    strata, given, order = np.arange(60) % 3, np.full(60, UNNAMED, np.int8), np.random.default_rng(0).permutation(60)
    codes = assign(settings, given, keys(60), strata)
    np.testing.assert_array_equal(assign(settings, given, keys(60)[order], strata[order]), codes[order])
    other = assign(settings.model_copy(update={"seed": 1}), given, keys(60), strata)
    assert counts(other) == counts(codes)
    assert np.any(other != codes)


def test_without_stratification_only_the_sum_is_kept():
    codes = drawn(Splits(validation=0.5, test=0, stratified=False), [0] * 10 + [1] * 10)
    assert counts(codes) == [10, 10, 0]


def test_given_splits_stand_and_no_test_is_made():
    given = [TRAIN] * 10 + [VALIDATION] * 5 + [UNNAMED] * 2
    assert counts(drawn(Splits(), [0] * 17, given)) == [12, 5, 0]


def test_missing_validation_is_drawn_from_train():
    given = [TRAIN] * 20 + [TEST] * 5
    codes = drawn(Splits(validation=0.1, test=0.5), [0, 1] * 12 + [0], given)
    assert counts(codes) == [18, 2, 5]
    assert counts(codes[20:]) == [0, 0, 5]
    assert counts(drawn(Splits(validation=0), [0] * 25, given)) == [20, 0, 5]


def test_a_group_is_drawn_as_a_whole():
    groups = np.arange(200) // 5
    units = np.array([unit_of(str(number), f"patient {group}") for number, group in enumerate(groups)], np.uint64)
    given = np.full(200, UNNAMED, np.int8)
    codes = assign(Splits(validation=0.2, test=0.1), given, units, groups % 2)
    assert all(len(set(codes[groups == group].tolist())) == 1 for group in range(40))
    assert counts(codes) == [140, 40, 20]
    from_train = assign(Splits(validation=0.2), np.zeros(200, np.int8), units, groups % 2)
    assert all(len(set(from_train[groups == group].tolist())) == 1 for group in range(40))
    assert counts(from_train) == [160, 40, 0]


def test_a_group_is_what_most_of_its_examples_are():
    units = np.array([unit_of("", f"video {number // 5}") for number in range(30)], np.uint64)
    most = np.array([9, 4, 4, 4, 9] * 3 + [9, 4, 9, 9, 4] * 3)
    codes = assign(Splits(validation=0.1, test=0.1), np.full(30, UNNAMED, np.int8), units, most)
    assert sorted(codes[:15:5].tolist()) == sorted(codes[15::5].tolist()) == [TRAIN, VALIDATION, TEST]


def test_the_rest_of_a_group_goes_where_the_source_has_put_some_of_it():
    units = np.array([unit_of(str(number), "a" if number < 4 else "") for number in range(8)], np.uint64)
    given = np.array([UNNAMED, TEST, UNNAMED, TRAIN, VALIDATION, UNNAMED, TRAIN, UNNAMED], np.int8)
    codes = assign(Splits(), given, units, np.zeros(8, np.int64))
    assert codes.tolist() == [TEST, TEST, TEST, TRAIN, VALIDATION, TRAIN, TRAIN, TRAIN]


def test_a_group_is_not_an_example_of_the_same_name():
    assert unit_of("a", "") == key_of("a") != unit_of("b", "a") == unit_of("c", "a")


def test_shares_must_leave_something():
    with pytest.raises(ValidationError, match="leave nothing for training"):
        Splits(validation=0.5, test=0.5)


def test_split_file(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text('id,split\na.png,train\n"b, 2.png",val\nc.png,TEST\n')
    assert read_split_file(path) == {key_of("a.png"): TRAIN, key_of("b, 2.png"): VALIDATION, key_of("c.png"): TEST}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id;split\n", "expected the columns `id` and `split`"),
        ("id,split\na,trai\n", r":2: the split 'trai' is unknown"),
        ("id,split\na,train\na,test\n", r":3: 'a' is in two splits"),
    ],
)
def test_wrong_split_files(tmp_path, text, message):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_split_file(tmp_path / "splits.csv")
    with pytest.raises(DataError, match="does not exist"):
        read_split_file(tmp_path / "split.csv")
