"""Label files: one name a line, in index order."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import ExportError

LABEL_FILE = "labels.txt"


def labels_text(names: Sequence[str]) -> str:
    """The content of a label file.

    Raises:
        ExportError: a name holds a line break, so that every reader would see two labels.
    """
    broken = [name for name in names if len(name.splitlines()) > 1]
    if broken:
        raise ExportError(
            f"The class name {broken[0]!r} holds a line break, but label files have one name a line. Rename the class."
        )
    return "".join(f"{name}\n" for name in names)
