"""Sources: where examples come from. One file a format, one interface."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.data.sources.base import DataSource
from pipeline.data.sources.coco import Coco
from pipeline.data.sources.csv_boxes import CsvBoxes
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.folders import ClassFolders
from pipeline.data.sources.followed import FollowedSequences
from pipeline.data.sources.idx import Idx
from pipeline.data.sources.mot_challenge import MotChallenge
from pipeline.data.sources.scenes import Scenes, SceneSequences
from pipeline.data.sources.table import Table
from pipeline.data.sources.template_pairs import TemplatePairs
from pipeline.data.sources.tfds import Tfds
from pipeline.data.sources.voc import PascalVoc
from pipeline.data.sources.yolo import Yolo

Source = Annotated[
    ClassFolders
    | Table
    | Idx
    | Tfds
    | Digits
    | PascalVoc
    | Coco
    | Yolo
    | CsvBoxes
    | MotChallenge
    | Scenes
    | SceneSequences
    | FollowedSequences
    | TemplatePairs,
    Field(discriminator="kind"),
]

SOURCES: dict[str, type[DataSource]] = {
    "folders": ClassFolders,
    "table": Table,
    "idx": Idx,
    "tfds": Tfds,
    "digits": Digits,
    "pascal_voc": PascalVoc,
    "coco": Coco,
    "yolo": Yolo,
    "csv_boxes": CsvBoxes,
    "mot_challenge": MotChallenge,
    "scenes": Scenes,
    "scene_sequences": SceneSequences,
    "followed_sequences": FollowedSequences,
    "template_pairs": TemplatePairs,
}

__all__ = [
    "SOURCES",
    "ClassFolders",
    "Coco",
    "CsvBoxes",
    "DataSource",
    "Digits",
    "FollowedSequences",
    "Idx",
    "MotChallenge",
    "PascalVoc",
    "SceneSequences",
    "Scenes",
    "Source",
    "Table",
    "TemplatePairs",
    "Tfds",
    "Yolo",
]
