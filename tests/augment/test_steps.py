"""The plan as it is printed."""

from __future__ import annotations

from pipeline.augment import Augmentation
from pipeline.augment.base import PictureShape
from pipeline.augment.colour import ColourJitter
from pipeline.augment.crops import RandomResizedCrop
from pipeline.augment.geometry import HorizontalFlip, Rotation, Translation
from pipeline.augment.mixing import MixUp, Mosaic
from pipeline.augment.plan import Step, steps

GEOMETRY = (HorizontalFlip(), HorizontalFlip(), Rotation())


def printed(*operations: Augmentation, at_once: bool = False) -> list[str]:
    return [str(step) for step in steps(operations, PictureShape(16, 12, 3), joins_crop=at_once)]


def test_each_step_names_its_operations_in_order() -> None:
    assert printed(*GEOMETRY, ColourJitter(), ColourJitter(), Translation()) == [
        "horizontal_flip + horizontal_flip + rotation: one resampling of picture and labels",
        "colour_jitter + colour_jitter: one colour matrix",
        "translation: one resampling of picture and labels",
    ]
    assert printed() == []
    (step,) = steps([Rotation()], PictureShape(4, 4, 1), joins_crop=True)
    assert step == Step(("rotation",), "one resampling of picture and labels")


def test_an_operation_of_several_steps_is_in_all_of_them() -> None:
    assert printed(Rotation(), Mosaic(), Translation()) == [
        "rotation: one resampling of picture and labels",
        "mosaic: four pictures tiled",
        "mosaic + translation: one resampling of picture and labels",
    ]


def test_a_crop_at_the_head_is_done_when_pictures_are_decoded() -> None:
    assert (
        printed(RandomResizedCrop())
        == printed(RandomResizedCrop(), at_once=True)
        == ["random_resized_crop: crop-aware decode"]
    )
    apart = printed(RandomResizedCrop(), *GEOMETRY, ColourJitter())
    assert apart[0] == "random_resized_crop: crop-aware decode" and len(apart) == 3
    assert printed(RandomResizedCrop(), *GEOMETRY, ColourJitter(), at_once=True) == [
        "random_resized_crop + horizontal_flip + horizontal_flip + rotation + colour_jitter: "
        "crop-aware decode, one resampling and one colour matrix",
    ]
    assert printed(RandomResizedCrop(), Rotation(), MixUp(), ColourJitter(), at_once=True) == [
        "random_resized_crop + rotation: crop-aware decode and one resampling",
        "mix_up: two pictures blended",
        "colour_jitter: one colour matrix",
    ]
    assert printed(RandomResizedCrop(), ColourJitter(), Rotation(), at_once=True) == [
        "random_resized_crop + colour_jitter: crop-aware decode and one colour matrix",
        "rotation: one resampling of picture and labels",
    ]
    assert printed(RandomResizedCrop(), Mosaic(), at_once=True)[0] == "random_resized_crop: crop-aware decode"
