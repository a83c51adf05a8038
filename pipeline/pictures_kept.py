"""Pictures that a Run keeps for its report: what the model sees while training, and the worst mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.example import IMAGE, REAL, DataInfo
from pipeline.drawing import Names, Values, beside, captions, drawn, png
from pipeline.files import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow
    from PIL import Image

    from pipeline.metrics.base import Mistake
    from pipeline.predictors import Predictor
    from pipeline.tasks.base import Task


def keep_samples(folder: Path, examples: Sequence[Values], names: Names) -> dict[str, str]:
    """Writes examples as PNG, objects drawn on; gives the caption of each file."""
    written = {}
    for index, example in enumerate(examples):
        file = folder / f"{index:03}.png"
        write_png(file, png(drawn(example, names)))
        written[file.name] = "; ".join(captions(example, names))
    return written


@dataclass(frozen=True)
class Answered:
    """What a model says of evaluation examples, as far as it can be drawn: places, which labels alone do not show.

    Args:
        predictor, task: the model, and what its predictions mean.
    """

    predictor: Predictor
    task: Task

    def of(self, batch: Values, place: int) -> Values:
        """Of one example of a batch of tensors, by the Example's names; empty where the task has no places."""
        one = {name: values[place : place + 1] for name, values in batch.items()}
        inputs, _ = self.task.encode(one)
        predictions = self.predictor({name: value.numpy() for name, value in inputs.items()})
        return self.task.drawing({name: values[0] for name, values in predictions.items()})


def keep_mistakes(
    folder: Path,
    batches: tensorflow.data.Dataset,
    mistakes: Sequence[Mistake],
    info: DataInfo,
    answered: Answered,
) -> list[dict[str, Any]]:
    """Finds the pictures of the mistakes in the evaluation data and writes them as PNG, with what is marked in them
    drawn on, and beside it what was answered where that is places; gives a row for each."""
    wanted = {mistake.id: index for index, mistake in enumerate(mistakes)}
    for batch in batches if wanted else ():
        for place, identity in enumerate(batch["id"].numpy()):
            index = wanted.get(identity.decode()) if batch[REAL][place] else None
            if index is not None:
                example = {name: values[place].numpy() for name, values in batch.items()}
                picture = with_answer(example, Names.of(info), answered.of(batch, place))
                write_png(folder / f"{index:03}.png", png(picture))
    return [mistake_row(index, mistake) for index, mistake in enumerate(mistakes)]


def with_answer(example: Values, names: Names, answer: Values) -> Image.Image:
    """The picture of an example, and on its right the same with the answer drawn on."""
    labelled = drawn(example, names)
    return beside(labelled, drawn({IMAGE: example[IMAGE], **answer}, names)) if answer else labelled


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
