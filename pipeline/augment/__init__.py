"""Augmentation: the list of operations, and `apply`, which runs them on a batch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.augment.base import Augmentation
from pipeline.augment.colour import Brightness, ChannelShift, ColourJitter, Contrast, Grayscale, Hue, Saturation
from pipeline.augment.crops import RandomCrop, RandomResizedCrop, ScaleJitter
from pipeline.augment.elastic import ElasticDeformation
from pipeline.augment.filters import GaussianBlur, MotionBlur, Sharpness
from pipeline.augment.geometry import HorizontalFlip, Perspective, Rotation, Shear, Translation, VerticalFlip, Zoom
from pipeline.augment.illumination import LightGradient, Shadow
from pipeline.augment.mixing import CopyPaste, CutMix, MixUp, Mosaic
from pipeline.augment.noise import GaussianNoise, JpegArtefacts, SaltAndPepper
from pipeline.augment.occlusion import Cutout, GridMask, Occluders, RandomErasing
from pipeline.augment.plan import apply, check, head_crop
from pipeline.augment.policies import AugMix, RandAugment, TrivialAugment
from pipeline.augment.tables import AutoContrast, Equalize, Gamma, Invert, Posterize, Solarize

Operation = Annotated[
    HorizontalFlip
    | VerticalFlip
    | Rotation
    | Translation
    | Shear
    | Zoom
    | ScaleJitter
    | Perspective
    | ElasticDeformation
    | RandomCrop
    | RandomResizedCrop
    | ColourJitter
    | Brightness
    | Contrast
    | Saturation
    | Hue
    | ChannelShift
    | Grayscale
    | Gamma
    | Solarize
    | Invert
    | Posterize
    | Equalize
    | AutoContrast
    | Sharpness
    | GaussianBlur
    | MotionBlur
    | GaussianNoise
    | SaltAndPepper
    | JpegArtefacts
    | LightGradient
    | Shadow
    | Cutout
    | RandomErasing
    | GridMask
    | Occluders
    | MixUp
    | CutMix
    | Mosaic
    | CopyPaste
    | RandAugment
    | TrivialAugment
    | AugMix,
    Field(discriminator="kind"),
]

OPERATIONS: dict[str, type[Augmentation]] = {
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotation": Rotation,
    "translation": Translation,
    "shear": Shear,
    "zoom": Zoom,
    "scale_jitter": ScaleJitter,
    "perspective": Perspective,
    "elastic": ElasticDeformation,
    "random_crop": RandomCrop,
    "random_resized_crop": RandomResizedCrop,
    "colour_jitter": ColourJitter,
    "brightness": Brightness,
    "contrast": Contrast,
    "saturation": Saturation,
    "hue": Hue,
    "channel_shift": ChannelShift,
    "grayscale": Grayscale,
    "gamma": Gamma,
    "solarize": Solarize,
    "invert": Invert,
    "posterize": Posterize,
    "equalize": Equalize,
    "autocontrast": AutoContrast,
    "sharpness": Sharpness,
    "gaussian_blur": GaussianBlur,
    "motion_blur": MotionBlur,
    "gaussian_noise": GaussianNoise,
    "salt_and_pepper": SaltAndPepper,
    "jpeg_artefacts": JpegArtefacts,
    "light_gradient": LightGradient,
    "shadow": Shadow,
    "cutout": Cutout,
    "random_erasing": RandomErasing,
    "grid_mask": GridMask,
    "occluders": Occluders,
    "mix_up": MixUp,
    "cut_mix": CutMix,
    "mosaic": Mosaic,
    "copy_paste": CopyPaste,
    "rand_augment": RandAugment,
    "trivial_augment": TrivialAugment,
    "augmix": AugMix,
}

__all__ = ["OPERATIONS", "Augmentation", "Operation", "RandomResizedCrop", "apply", "check", "head_crop"]
