"""Pictures that a Run keeps for its report: what the model sees while training, and the worst mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.example import REAL, DataInfo
from pipeline.drawing import Names, Values, captions, drawn, png
from pipeline.files import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow

    from pipeline.metrics.base import Mistake


def keep_samples(folder: Path, examples: Sequence[Values], names: Names) -> dict[str, str]:
    """Writes examples as PNG, objects drawn on; gives the caption of each file."""
    written = {}
    for index, example in enumerate(examples):
        file = folder / f"{index:03}.png"
        write_png(file, png(drawn(example, names)))
        written[file.name] = "; ".join(captions(example, names))
    return written


def keep_mistakes(
    folder: Path, batches: tensorflow.data.Dataset, mistakes: Sequence[Mistake], info: DataInfo
) -> list[dict[str, Any]]:
    """Finds the pictures of the mistakes in the evaluation data and writes them as PNG, with what is marked in them
    drawn on; gives a row for each."""
    wanted = {mistake.id: index for index, mistake in enumerate(mistakes)}
    for batch in batches if wanted else ():
        for place, identity in enumerate(batch["id"].numpy()):
            index = wanted.get(identity.decode()) if batch[REAL][place] else None
            if index is not None:
                example = {name: values[place].numpy() for name, values in batch.items()}
                write_png(folder / f"{index:03}.png", png(drawn(example, Names.of(info))))
    return [mistake_row(index, mistake) for index, mistake in enumerate(mistakes)]


def mistake_row(index: int, mistake: Mistake) -> dict[str, Any]:
    """What `mistakes.json` says of one mistake."""
    return {
        "file": f"mistakes/{index:03}.png",
        "id": mistake.id,
        "expected": mistake.expected,
        "answered": mistake.answered,
        "badness": mistake.badness,
    }


def write_png(file: Path, content: bytes) -> None:
    """Writes the bytes, and makes the folder where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, content)
