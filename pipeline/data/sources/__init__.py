"""Sources: where examples come from. One file a format, one interface."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.data.sources.base import DataSource
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.folders import ClassFolders
from pipeline.data.sources.idx import Idx
from pipeline.data.sources.table import Table
from pipeline.data.sources.tfds import Tfds
from pipeline.data.sources.voc import PascalVoc

Source = Annotated[ClassFolders | Table | Idx | Tfds | Digits | PascalVoc, Field(discriminator="kind")]

SOURCES: dict[str, type[DataSource]] = {
    "folders": ClassFolders,
    "table": Table,
    "idx": Idx,
    "tfds": Tfds,
    "digits": Digits,
    "pascal_voc": PascalVoc,
}

__all__ = ["SOURCES", "ClassFolders", "DataSource", "Digits", "Idx", "PascalVoc", "Source", "Table", "Tfds"]
