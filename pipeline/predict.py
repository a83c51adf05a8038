"""What `convoy predict` does: pictures in, answers out, by any Predictor; as a table, as JSON, or drawn on pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import drawing
from pipeline.data.example import IMAGE
from pipeline.data.missing import MissingRegions
from pipeline.data.pictures import BadPicture, StoredPicture, stored_picture
from pipeline.data.sources.base import files_below, is_picture, shortened
from pipeline.errors import DataError
from pipeline.files import write_file
from pipeline.views import Mirrored, Tiled, Views, Whole
from pipeline.wording import quantity

if TYPE_CHECKING:
    from pipeline.predictors import Predictor
    from pipeline.tasks import Task

BATCH = 32
DRAWN_AT_LEAST = 240
"""Width in pixels below which a picture is enlarged, so that its answer can be read."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture.

    Args:
        file: as the user gave it.
        picture: upright JPEG or PNG bytes; empty where the file cannot be read.
        answer: the task's answer in plain values; empty where the file cannot be read.
        marks: what of it can be drawn on the picture, by the Example's names.
        names: of the classes in `marks`.
        error: why it cannot be read; else empty.
    """

    file: Path
    picture: bytes
    answer: Mapping[str, Any]
    error: str = ""
    marks: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Sequence[str] = ()

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"file": str(self.file), **self.answer, **({"error": self.error} if self.error else {})}


def predict(
    model: Path, files: Sequence[Path], regions: MissingRegions | None = None, views: Views | None = None
) -> list[Answer]:
    """The answers for pictures, in their order; a picture that cannot be read is an answer with an error.

    Args:
        model: a Run, an export folder, a SavedModel (or the folder of its versions), or a `.tflite`, also in a bucket.
        files: pictures, or folders of them, also there.
        regions: which parts of the pictures are missing and how they were filled for the training, if they were.
        views: how pictures are looked at; each as a whole by default.

    Raises:
        RunError: there is no model, or nothing says what its answers mean.
        ConfigError: several views of a picture, and a task that answers for the whole of it.
        DataError: a file does not exist, or a folder holds no picture.
    """
    from pipeline.export.anchored_reader import answering
    from pipeline.mirror import fetched
    from pipeline.predictors import open_predictor
    from pipeline.trained import model_files, task_of

    with fetched(model) as local:
        task = task_of(local)
        pictures = [read(file, regions or MissingRegions(), stored_picture) for file in all_files(files)]
        predictor = answering(task, local, open_predictor(model_files(local)))
    readable = [index for index, (_, data, _) in enumerate(pictures) if data]
    asking = Asking(predictor, task, views or Whole())
    answers = {
        index: _answer(*pictures[index], prediction, task)
        for batch in _batches(readable, asking.views.pictures_at_once)
        for index, prediction in zip(batch, asking.predictions([pictures[i][1] for i in batch]), strict=True)
    }
    return [answers.get(i) or Answer(file, data, {}, error) for i, (file, data, error) in enumerate(pictures)]


def views_of(*, tile: bool, overlap: float | None, mirror: bool) -> Views:
    """How the options of `convoy predict` have pictures looked at; None: the usual overlap."""
    tiles = Tiled() if overlap is None else Tiled(overlap)
    views = tiles if tile else Whole()
    return Mirrored(views) if mirror else views


@dataclass(frozen=True)
class Asking:
    """A model, and how it is shown pictures."""

    predictor: Predictor
    task: Task
    views: Views

    def predictions(self, pictures: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
        """What the model says of encoded pictures, one by one, its places as shares of the pictures."""
        looks = [self.views.of(picture, self.task.picture) for picture in pictures]
        said = iter(self._said([view.pixels for views in looks for view in views]))
        return [self._joined([(next(said), view.window) for view in views]) for views in looks]

    def _said(self, pixels: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(pixels), BATCH):
            predictions = self.predictor({"image": np.stack(pixels[start : start + BATCH])})
            for row in range(len(next(iter(predictions.values())))):
                yield {name: values[row] for name, values in predictions.items()}

    def _joined(self, parts: Sequence[tuple[dict[str, np.ndarray], np.ndarray]]) -> dict[str, np.ndarray]:
        return dict(self.task.placed(*parts[0]) if len(parts) == 1 else self.task.merged(parts))


def _answer(file: Path, data: bytes, error: str, prediction: Mapping[str, np.ndarray], task: Task) -> Answer:
    return Answer(file, data, task.answer(prediction), error, task.drawing(prediction), task.output_names)


def require_all(answers: Sequence[Answer]) -> None:
    """Raises DataError where a picture could not be read, after all others have been answered."""
    bad = [f"{answer.file} ({answer.error})" for answer in answers if answer.error]
    if bad:
        raise DataError(f"{len(bad)} of {quantity(len(answers), 'picture')} cannot be read: {shortened(bad)}.")


def as_table(answers: Sequence[Answer]) -> str:
    """The answers for the terminal, each picture on one line however long its path, so that `grep` finds it."""
    rows = [("file", "answer"), *((str(answer.file), answer.error or in_words(answer.answer)) for answer in answers)]
    width = max(len(file) for file, _ in rows)
    return "\n".join(f"{file:{width}}  {said}" for file, said in rows)


def in_words(answer: Any) -> str:
    """An answer of any task on one line, such as `rose 0.913` or `age 31.4, height 1.7`."""
    match answer:
        case {"label": label, "score": score}:
            return f"{label} {score:.3f}"
        case {} if len(answer) == 1:
            return in_words(next(iter(answer.values())))
        case {}:
            return ", ".join(f"{name} {in_words(value)}" for name, value in answer.items())
        case list() | tuple():
            return ", ".join(map(in_words, answer)) or "none"
        case float():
            return f"{answer:.4g}"
        case _:
            return str(answer)


def draw(answers: Sequence[Answer], folder: Path) -> None:
    """Writes each readable picture with its answer as `folder/NAME.png`; StorageError where that is impossible."""
    used: set[str] = set()
    for answer in answers:
        if not answer.error:
            write_file(folder / f"{_unused(answer.file.stem, used)}.png", drawn(answer))


def drawn(answer: Answer) -> bytes:
    """PNG bytes of an answer's picture with what can be drawn on it, and the answer as a line of text below it."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(answer.picture)).convert("RGB"))
    marked = drawing.drawn({**answer.marks, IMAGE: pixels}, drawing.Names(answer.names), DRAWN_AT_LEAST)
    return drawing.png(drawing.with_caption(marked, in_words(answer.answer)))


def all_files(files: Sequence[Path]) -> list[Path]:
    """Every picture that is meant by paths of pictures and of folders of them.

    Raises:
        DataError: a file does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            inside = [entry for entry in files_below(file) if is_picture(entry)]
            if not inside:
                raise DataError(f"The folder {file} holds no pictures.")
            found += inside
        elif file.exists():
            found.append(file)
        else:
            raise DataError(f"There is no picture {file}.")
    return found


def read(file: Path, regions: MissingRegions, normalise: Callable[[bytes], StoredPicture]) -> tuple[Path, bytes, str]:
    """(File, bytes as they would be stored for training, why not)."""
    try:
        data = file.read_bytes()
        return file, regions.filled(normalise(data), data, None).data, ""
    except (BadPicture, OSError) as error:
        return file, b"", str(error)


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    yield from (indices[start : start + size] for start in range(0, len(indices), size))


def _unused(stem: str, used: set[str]) -> str:
    name, number = stem, 2
    while name in used:
        name, number = f"{stem}_{number}", number + 1
    used.add(name)
    return name
