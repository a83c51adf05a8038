"""Is what ships what was trained? The exported files answer the whole evaluation split, beside the trained model.

Each file is judged by the task's own metric, from the same evaluator that judged the trained model. Besides, the same
encoded pictures go through each way of preparing them: the training input, the SavedModel's own decoding, and a client
that knows no more than a `.tflite`'s metadata.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from models.settings import Settings
from models.stack import keras, tf
from pipeline import console
from pipeline.compress.base import SAVED_MODELS
from pipeline.compress.inspect import TfliteFile, inspect_file, zipped_size
from pipeline.compress.kernels import slow_operators
from pipeline.data.example import IMAGE, REAL
from pipeline.errors import nearest
from pipeline.evaluate import labels_of
from pipeline.limits import DropLimit
from pipeline.metrics.base import Evaluator
from pipeline.parity import BYTES, Asked, check_decoding, check_preparation
from pipeline.tasks.base import Task
from pipeline.verification import Differences, ParityResult, PartsResult, VariantResult, Verification

if TYPE_CHECKING:
    from pipeline.console import Progress
    from pipeline.data.store import Store
    from pipeline.export.parts_reader import WholePredictor
    from pipeline.predictors import Predictor

SAVED_MODEL, SAVED_MODEL_IMAGES = SAVED_MODELS
PARTS = "parts"
"""What the names of files that are called in parts begin with, and a slash."""


class Limits(DropLimit):
    """How far an exported file may fall behind the trained model."""

    min_agreement: float = Field(default=0.8, ge=0, le=1)
    """Least share of the pictures that must get the same answer as from the trained model."""


class VerifySettings(Settings):
    """What exported files are held to, and how they are timed."""

    limits: Limits = Limits()
    """Limits of every exported file."""
    variants: dict[str, Limits] = Field(default_factory=dict)
    """Limits of single files by name, in place of the general ones, such as `{int8: {max_drop: 0.003}}`; those of
    `int8` also hold for `parts/int8`, where that has none of its own."""
    exact_difference: float = Field(default=1e-3, ge=0)
    """Largest difference of any number in the predictions of a SavedModel and of the variant `float32`,
    as a share of the largest number of the same prediction, or of 1 where all are smaller."""
    parity_pictures: int = Field(default=32, ge=0)
    """How many encoded pictures are sent through every way of preparing them; 0 for none."""
    min_parity: float = Field(default=0.9, ge=0, le=1)
    """Least share of these whose answer must not depend on the way."""
    batch_size: int = Field(default=32, ge=1)
    """Pictures at a time; decides speed and memory, not the result."""
    latency_runs: int = Field(default=50, ge=1)
    """How often one picture is answered for the median latency."""
    threads: int = Field(default=1, ge=1)
    """Threads of the TFLite runtime while it is timed."""


@dataclass
class Candidate:
    """One way to call one model, and what is known of its answers.

    Args:
        file: the `.tflite`, or the SavedModel's folder.
        predictor: answers the inputs of `Asked`.
        evaluator: has seen the answers.
        content: of a `.tflite`.
        exact: whether it should compute as the trained model does, in float32 throughout.
        differences: from the trained model's predictions.
    """

    file: Path
    predictor: Predictor
    evaluator: Evaluator
    content: TfliteFile | None = None
    exact: bool = True
    differences: Differences = field(default_factory=Differences)


def verify_variants(
    task: Task,
    model: keras.Model,
    store: Store,
    saved_model: Path,
    tflite: Mapping[str, Path],
    settings: VerifySettings,
    progress: Progress | None = None,
    exact: Collection[str] = ("float32",),
    parts: Path | None = None,
) -> Verification:
    """Examines the exported files over the split that the trained model was judged on.

    Args:
        task: resolved.
        model: trained.
        saved_model: one version's folder.
        tflite: variant -> file with metadata; an anchored one is answered for by `export.anchored_reader`.
        exact: files that should compute exactly as the trained model does; they are held to `exact_difference`.
        parts: the folder of what is called in parts, see `pipeline.export.parts`; it may be missing.
    """
    from pipeline.data.input import evaluation_split
    from pipeline.latency import host
    from pipeline.predictors import KerasPredictor

    split = evaluation_split(store.info)
    total = store.info.num_examples[split]
    trained = Candidate(saved_model, KerasPredictor(task.serving_model(model)), task.evaluator())
    candidates = _candidates(task, saved_model, tflite, settings, exact)
    whole = _whole(task, parts, settings.threads) if parts and parts.is_dir() else {}
    divided = _divided(task, whole, exact)
    warn_of_unused_limits(settings, [*candidates, *divided])
    questions = _questions(task, store, split, settings.batch_size)
    _ask_all(task, trained, candidates | divided, questions, total, progress)
    sample = next(_questions(task, store, split, max(settings.parity_pictures, 1)))
    judge = Judge(task, settings, trained)
    results = {name: judge.result(name, candidate, sample) for name, candidate in candidates.items()}
    parity = _parity(task, candidates, sample, settings)
    return Verification(
        split=split,
        examples=total,
        trained=judge.metrics,
        variants={name: result.held_to(parity.get(name)) for name, result in results.items()},
        parity=parity,
        parts={name: judge.parts_result(name, divided[name], whole[divided[name].file], sample) for name in divided},
        host={"description": host(), "threads": settings.threads, "runs": settings.latency_runs},
    )


def warn_of_unused_limits(settings: VerifySettings, examined: Collection[str]) -> None:
    """Says so where limits are set for something that is not there: a name that is mistyped would else count for
    nothing, and its file be held to the general limits."""
    for name in settings.variants:
        if name not in examined:
            console.warn(f"verify.variants has limits for {name!r}, which is not verified. {nearest(name, examined)}")


class Judge:
    """Holds exported files against the trained model, once all have answered the same examples."""

    def __init__(self, task: Task, settings: VerifySettings, trained: Candidate):
        self.metrics = trained.evaluator.result()
        self._task, self._settings, self._trained = task, settings, trained.evaluator

    def result(self, name: str, candidate: Candidate, sample: Asked) -> VariantResult:
        """Everything about one file. Times it on the first picture of `sample`."""
        from pipeline.latency import measure_latency

        metrics = candidate.evaluator.result()
        metric = self._task.metric
        drop = metric.drop(self.metrics[metric.name], metrics[metric.name])
        agreement = candidate.evaluator.agreement_with(self._trained)
        reasons, blessed = self._verdict(name, candidate, drop, agreement)
        content = candidate.content
        return VariantResult(
            file=candidate.file,
            bytes=_size(candidate.file),
            zipped_bytes=content.zipped_bytes if content else _zipped_size(candidate.file),
            metrics=metrics,
            drop=drop,
            agreement=agreement,
            max_difference=candidate.differences.largest,
            mean_difference=candidate.differences.mean,
            latency_ms=measure_latency(candidate.predictor, sample.inputs, self._settings.latency_runs).median,
            float_ops=content.float_operators if content else None,
            decode_ops=content.decode_operators if content else 0,
            dtypes=content.dtypes if content else _weight_types(candidate.file),
            operators=content.operators if content else {},
            slow_operators=slow_operators(candidate.file.read_bytes()) if content else {},
            weight_bytes=content.weight_bytes if content else {},
            sparsity=content.sparsity if content else None,
            distinct_values=content.distinct_values if content else None,
            blessed=blessed,
            why=reasons,
        )

    def parts_result(self, name: str, candidate: Candidate, whole: WholePredictor, sample: Asked) -> PartsResult:
        """What its answers were worth, beside how long each part took."""
        metrics, metric = candidate.evaluator.result(), self._task.metric
        drop = metric.drop(self.metrics[metric.name], metrics[metric.name])
        agreement = candidate.evaluator.agreement_with(self._trained)
        reasons, blessed = self._verdict(name, candidate, drop, agreement)
        return PartsResult(
            file=candidate.file,
            bytes=_size(candidate.file),
            zipped_bytes=_zipped_size(candidate.file),
            metrics=metrics,
            drop=drop,
            agreement=agreement,
            max_difference=candidate.differences.largest,
            mean_difference=candidate.differences.mean,
            latency_ms=whole.latency(sample.inputs, self._settings.latency_runs),
            blessed=blessed,
            why=reasons,
        )

    def _verdict(self, name: str, candidate: Candidate, drop: float, agreement: float) -> tuple[str, bool]:
        """The reasons, and whether the limits are kept. A NaN keeps none."""
        general = self._settings.variants.get(name.removeprefix(f"{PARTS}/"), self._settings.limits)
        limits = self._settings.variants.get(name, general)
        metric = self._task.metric.name
        allowed = limits.allowed(self._task.metric, self.metrics[metric])
        checks = [
            (f"{metric} drops by {drop:.4g} (limit {allowed:.4g})", drop <= allowed),
            (f"agreement {agreement:.4f} (limit {limits.min_agreement:.4g})", agreement >= limits.min_agreement),
        ]
        if candidate.exact:
            share, limit = candidate.differences.share, self._settings.exact_difference
            checks.append((f"predictions differ by {share:.2g} (limit {limit:.2g})", share <= limit))
        missed = [reason for reason, kept in checks if not kept]
        return "; ".join(missed or [reason for reason, _ in checks]), not missed


def _candidates(
    task: Task, saved_model: Path, tflite: Mapping[str, Path], settings: VerifySettings, exact: Collection[str]
) -> dict[str, Candidate]:
    from pipeline.export.anchored_reader import answering
    from pipeline.predictors import SavedModelPredictor, TFLitePredictor

    by_bytes = SavedModelPredictor(saved_model, "serving_default")
    by_pixels = SavedModelPredictor(saved_model, "images")
    candidates = {
        SAVED_MODEL: Candidate(saved_model, by_bytes, task.evaluator()),
        SAVED_MODEL_IMAGES: Candidate(saved_model, by_pixels, task.evaluator()),
    }
    for name, file in tflite.items():
        network = TFLitePredictor(file, settings.threads, workers=os.cpu_count() or 1)
        candidates[name] = Candidate(
            file, answering(task, file, network), task.evaluator(), inspect_file(file), name in exact
        )
    return candidates


def _whole(task: Task, folder: Path, threads: int) -> dict[Path, WholePredictor]:
    """File -> what calls the parts in it one after the other."""
    from pipeline.export.contract import SAVED_MODEL as FOLDER
    from pipeline.export.parts_reader import WholePredictor, open_parts

    files = [folder / FOLDER, *sorted(folder.glob("*.tflite"))]
    return {file: WholePredictor(task, open_parts(file, task.part_names, threads)) for file in files}


def _divided(task: Task, whole: Mapping[Path, WholePredictor], exact: Collection[str]) -> dict[str, Candidate]:
    """`parts/NAME` -> the parts in one file. Those that compute in float32 should compute exactly."""
    return {
        f"{PARTS}/{file.stem}": Candidate(
            file, predictor, task.evaluator(), exact=file.suffix != ".tflite" or file.stem in exact
        )
        for file, predictor in whole.items()
    }


def _questions(task: Task, store: Store, split: str, batch_size: int) -> Iterator[Asked]:
    """The split's examples once, in the store's order, prepared as for training and encoded side by side."""
    from pipeline.data.cache import records
    from pipeline.data.input import evaluation_batches

    encoded = records(store, split).map(lambda record: store.parse(record)[IMAGE]).batch(batch_size)
    for batch, pictures in tf.data.Dataset.zip((evaluation_batches(store, task, split, batch_size), encoded)):
        real = batch[REAL].numpy()
        inputs = {name: value.numpy()[real] for name, value in task.encode(batch)[0].items()}
        yield Asked(labels_of(batch, real), {**inputs, BYTES: pictures.numpy()})


def _ask_all(
    task: Task,
    trained: Candidate,
    candidates: Mapping[str, Candidate],
    questions: Iterator[Asked],
    total: int,
    progress: Progress | None,
) -> None:
    """One pass over the examples; no predictions are kept but what the evaluators keep."""
    done = 0
    for asked in questions:
        expected = trained.predictor(asked.inputs)
        trained.evaluator.update(asked.labels, expected)
        for candidate in candidates.values():
            found = candidate.predictor(asked.inputs)
            candidate.evaluator.update(asked.labels, found)
            candidate.differences.update(expected, task.comparable(expected, found))
        done += len(asked)
        if progress is not None:
            progress(done, total)


def _parity(
    task: Task, candidates: Mapping[str, Candidate], sample: Asked, settings: VerifySettings
) -> dict[str, ParityResult]:
    if not settings.parity_pictures:
        return {}
    by_bytes, by_pixels = candidates[SAVED_MODEL].predictor, candidates[SAVED_MODEL_IMAGES].predictor
    results = {SAVED_MODEL: check_decoding(task, by_bytes, by_pixels, sample, settings.min_parity)}
    for name, candidate in candidates.items():
        if candidate.content is not None:
            results[name] = check_preparation(task, candidate.file, candidate.predictor, sample, settings.min_parity)
    return results


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _zipped_size(path: Path) -> int:
    return sum(zipped_size(file.read_bytes()) for file in _files(path))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def _weight_types(saved_model: Path) -> dict[str, int]:
    reader = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    types = Counter(dtype.name for name, dtype in reader.get_variable_to_dtype_map().items() if dtype != tf.string)
    return dict(sorted(types.items()))
