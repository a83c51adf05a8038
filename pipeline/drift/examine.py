"""READ FIRST: how production is compared with training.

1. How pictures look (size, brightness, ...) is compared with pictures of the training split.
2. What depends on the network (answers, features) is compared with the evaluation split, which it was not trained on:
   it is surer of pictures that it knows, and sees them otherwise.
3. Of each measure: how far apart (PSI, Kolmogorov-Smirnov, Wasserstein), and whether chance could do that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from pipeline import console
from pipeline.answers import Said, said, same_answer
from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.reader import Choice, RequestLog, digest_of, drawn
from pipeline.drift import compare
from pipeline.drift.features import novelty, separation
from pipeline.drift.logged import Translation
from pipeline.drift.look import SIZES, Looked
from pipeline.drift.reference import Training
from pipeline.drift.report import DriftReport, Far
from pipeline.drift.settings import DriftSettings
from pipeline.errors import DataError
from pipeline.predict import in_words
from pipeline.run import Run
from pipeline.tasks import Task
from pipeline.trained import load_model, load_task
from pipeline.wording import quantity

Samples = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Reference:
    """A Run's pictures as its model sees them.

    Args:
        task: resolved.
        training: of the training split.
        held_out: of the evaluation split.
    """

    task: Task
    training: Training
    held_out: Looked

    @classmethod
    def of(cls, run: Run, most: int) -> Reference:
        """At most `most` pictures of each split.

        Raises:
            RunError: the Run has no trained model, or no data.
        """
        task = load_task(run)
        training = Training.of(run, task, load_model(run), most)
        return cls(task, training, training.held_out(most))


@dataclass(frozen=True)
class Production:
    """Pictures of a log as the Run's model sees them.

    Args:
        pictures: those that could be decoded, without their files: all of them would not fit into memory.
        digests: of their files.
        looked: the same.
        answers: what the server answered, in plain values; None where that does not fit the task.
    """

    pictures: Sequence[LoggedPicture]
    digests: Sequence[bytes]
    looked: Looked
    answers: Sequence[dict[str, object] | None]

    @classmethod
    def of(cls, pictures: Iterable[LoggedPicture], total: int, reference: Reference) -> Production:
        """Shows them to the model; DataError where none can be decoded.

        Args:
            total: of the pictures, for the progress that is shown.
        """
        shown: list[tuple[LoggedPicture, bytes]] = []
        with console.progress("requests") as progress:
            looked = reference.training.looker.look(_files(pictures, shown), progress, total)
        if not len(looked):
            raise DataError(f"None of {quantity(len(shown), 'picture')} of the log can be decoded.")
        usable, digests = zip(*(shown[place] for place in looked.usable), strict=True)
        translation = Translation(reference.task, reference.held_out.predictions)
        predictions = (translation.predictions(picture) for picture in usable)
        answers = [None if one is None else reference.task.answer(one) for one in predictions]
        return cls(usable, digests, looked, answers)

    def said(self) -> list[Said]:
        """What the answers say, of those that fit the task."""
        return [said(answer) for answer in self.answers if answer is not None]


def examine(run: Run, log: RequestLog, choice: Choice, settings: DriftSettings) -> DriftReport:
    """Compares a choice of a log with what the Run was trained on.

    Raises:
        ConfigError: the choice names no model of several.
        DataError: nothing fits the choice.
        RunError: the Run has no trained model, or no data.
    """
    log.ids(choice)  # a wrong choice is told before minutes are spent on the reference
    return compared(Reference.of(run, settings.reference), log, choice, settings)


def compared(reference: Reference, log: RequestLog, choice: Choice, settings: DriftSettings) -> DriftReport:
    """The same with a reference that is known."""
    ids = log.ids(choice)
    chosen = drawn(ids, settings.requests)
    production = Production.of(log.pictures(chosen), len(chosen), reference)
    return concluded(log, len(ids), reference, production, settings)


def concluded(
    log: RequestLog, logged: int, reference: Reference, production: Production, settings: DriftSettings
) -> DriftReport:
    """All that is found, once both sides are known."""
    truth, asked = _said(reference.task, reference.held_out), production.said()
    far = novelty(reference.training.looked.features, production.looked.features)
    groups = _samples(reference, production, truth, asked, far)
    measured = [
        found
        for group, samples in groups.items()
        for name, (first, second) in samples.items()
        if (found := compare.numbers(name, group, first, second, settings)) is not None
    ]
    if (found := compare.classes(truth, asked, settings)) is not None:
        measured.append(found)
    times = [picture.seconds for picture in production.pictures]
    return DriftReport(
        folder=str(log.folder),
        logged=logged,
        looked_at=len(production.pictures),
        answered=len(asked),
        first=min(times),
        last=max(times),
        versions=Counter(picture.version for picture in production.pictures),
        agreement=_agreement(reference.task, production),
        measured=compare.judged(measured, settings),
        separation=separation(reference.held_out.features, production.looked.features, settings.p_value),
        samples={name: sample for samples in groups.values() for name, sample in samples.items()},
        class_counts=compare.class_counts((truth, asked)),
        furthest=_furthest(log, production, far, settings.furthest),
        settings=settings,
    )


def _samples(
    reference: Reference, production: Production, truth: Sequence[Said], asked: Sequence[Said], far: np.ndarray
) -> dict[compare.Group, Samples]:
    """Measure -> its values on both sides, by what it is measured of."""
    files = np.array([picture.came_as == "file" for picture in production.pictures])
    looks = {
        name: (values, np.where(files | (name not in SIZES), production.looked.measures[name], np.nan))
        for name, values in reference.training.looked.measures.items()
    }
    first, second = compare.answers(truth), compare.answers(asked)
    said = {name: (values, second[name]) for name, values in first.items() if name in second}
    known = novelty(reference.training.looked.features, reference.held_out.features)
    return {"pictures": looks, "answers": said, "features": {"novelty": (known, far)}}


def _agreement(task: Task, production: Production) -> float | None:
    """Share of the server's answers that are the Run's model's own."""
    own = _answers(task, production.looked)
    pairs = [(one, other) for one, other in zip(production.answers, own, strict=True) if one is not None]
    return sum(same_answer(*pair) for pair in pairs) / len(pairs) if pairs else None


def _files(pictures: Iterable[LoggedPicture], shown: list[tuple[LoggedPicture, bytes]]) -> Iterator[bytes]:
    """Each picture's file; what else is known of it, and the file's digest, is put down in `shown`."""
    for picture in pictures:
        shown.append((replace(picture, image=b""), digest_of(picture)))
        yield picture.image


def _furthest(log: RequestLog, production: Production, far: np.ndarray, most: int) -> list[Far]:
    """The furthest first, no file twice; without those that were removed from the log meanwhile."""
    first: dict[bytes, int] = {}
    for place in np.argsort(-far, kind="stable"):
        first.setdefault(production.digests[place], int(place))
    places = list(islice(first.values(), most))
    images = {picture.id: picture.image for picture in log.pictures([production.pictures[one].id for one in places])}
    return [
        _far(picture, images[picture.id], production.answers[place], float(far[place]))
        for place in places
        if (picture := production.pictures[place]).id in images
    ]


def _far(picture: LoggedPicture, image: bytes, answer: dict[str, object] | None, novelty: float) -> Far:
    said = "" if answer is None else in_words(answer)
    return Far(picture.id, image, novelty, said, picture.seconds, picture.version)


def _said(task: Task, looked: Looked) -> list[Said]:
    return [said(answer) for answer in _answers(task, looked)]


def _answers(task: Task, looked: Looked) -> list[dict[str, object]]:
    rows = range(len(looked))
    return [task.answer({name: values[row] for name, values in looked.predictions.items()}) for row in rows]
