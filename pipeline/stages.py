"""READ FIRST: the whole flow. Each stage reads from the Run folder and writes to it; they share nothing else.

prepare   any source -> verified, sharded examples on disk            store/ beside the Run, data.json
train     examples -> augment -> encode -> Learner.fit                 checkpoints/, model/, history.csv
evaluate  trained model x examples -> metrics, plots                   metrics/
compress  trained model -> variants (float16, int8, QAT, ...)          variants/
export    variants + decode -> SavedModel, .tflite, contract, warm-up  export/
verify    exported files x examples -> blessed or not                  verification.json, summary.json
report    all of it -> one page                                        report.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.stack import keras
from pipeline import console, ownership, strategy, train_stage
from pipeline.augment.suiting import check_data
from pipeline.compress.base import Compressed, Compression, CompressionJob
from pipeline.compress.calibration import calibration_pictures
from pipeline.compress.judging import Judge, held_out_batches
from pipeline.config import Config, dump
from pipeline.data import input as data_input
from pipeline.data.example import TRAIN, VALIDATION
from pipeline.data.known import held
from pipeline.data.prepare import prepare as prepare_data
from pipeline.data.store import Store
from pipeline.environment import environment
from pipeline.evaluate import evaluate_predictor, finite_result
from pipeline.files import new_folder, write_file
from pipeline.locations import location
from pipeline.run import Run
from pipeline.summary import MetricSummary, Summary, TrainSummary, part_summaries, variant_summaries
from pipeline.tasks import Task
from pipeline.team import ALONE, Team
from pipeline.train import TrainingJob
from pipeline.trained import load_model, load_task
from pipeline.wording import quantity

if TYPE_CHECKING:
    from pipeline.learners.base import Learner
    from pipeline.metrics.base import Evaluator


def run_all(config: Config, run: Run, *, resume: bool = False, team: Team = ALONE) -> None:
    """Does all of it. A finished training of the same configuration is reused; an unfinished one needs `resume`.

    Args:
        team: the hosts that train; by default this one.

    Raises:
        VerificationError: a variant missed its limits; everything is written all the same.
        GoesOnAlone: on the chief of several hosts, for which the rest is done by the same command in a new process.
    """
    team.join(config.train.devices, config.seed, train_stage.common(config, resume=resume))
    if place := team.first(lambda: to_be_trained(config, run, resume=resume)):
        train_on(config, run, place, team, resume=resume)
    team.finish(lambda: after_training(config, run))


def to_be_trained(config: Config, run: Run, *, resume: bool) -> str:
    """Prepares, and says on which data a training is needed; empty where it is done already."""
    prepare(config, run)
    if ownership.training_is_finished(run):
        console.say(f"train: reused {run.model}; `convoy train {run.home}` trains again")
        return ""
    return ready(config, run, resume=resume)


def after_training(config: Config, run: Run) -> None:
    """All stages but the first two."""
    evaluate(config, run)
    compress(config, run)
    export(config, run)
    try:
        verify(config, run)
    finally:
        report(config, run)


# ---------------------------------------------------------------------------------------------------- prepare


def prepare(config: Config, run: Run) -> None:
    """Any source -> verified, sharded examples on disk, and `data.json` that says where."""
    begin(config, run, "prepare")
    folder = run.home.parent / "store"
    with console.progress("prepare") as progress:
        store = prepare_data(config.data, folder, progress)
    task = config.task.resolve(store.info)
    check_data(config.augment, held(store.info, task.picture))
    config.learner.check(task)
    ownership.require_same_data(run, store.path)
    left_out, place = len(store.quarantine()), run.reference(store.path)
    run.write_json(run.data, {"store": place, "info": asdict(store.info), "quarantine": left_out})
    counts = ", ".join(f"{count} {split}" for split, count in store.info.num_examples.items())
    names = f"{quantity(len(task.output_names), 'output')}; " if task.output_names else ""  # a tracker's have none
    console.say(f"prepare: {counts}; {names}{quantity(left_out, 'picture')} left out")


# ---------------------------------------------------------------------------------------------------- train


def train(config: Config, run: Run, *, resume: bool = False, team: Team = ALONE) -> None:
    """Examples -> augment -> encode -> Learner.fit -> `model/`. Prepares first where nothing is prepared.

    Args:
        team: the hosts that train; by default this one.
    """
    team.join(config.train.devices, config.seed, train_stage.common(config, resume=resume))
    place = team.first(lambda: ready(config, run, resume=resume))
    train_on(config, run, place, team, resume=resume)
    team.part()


def ready(config: Config, run: Run, *, resume: bool) -> str:
    """Claims the Run for a training, and says where its data is; prepares it where nothing is prepared."""
    begin(config, run, "train")
    ownership.require_resumable(run, resume=resume)
    if not run.data.exists():
        prepare(config, run)
    return str(run.store)


def train_on(config: Config, run: Run, place: str, team: Team, *, resume: bool) -> None:
    """Trains on the prepared data that lies at `place`."""
    from pipeline.fit import fit

    store = Store.open(location(place))
    task = config.task.resolve(store.info)
    check_data(config.augment, held(store.info, task.picture))
    train_stage.keep_sources(config, run, task, resume=resume)
    train_stage.announce(config, store, task)
    train_stage.keep_samples(config, run, store, task)
    with console.progress("train", unit="step") as progress:
        model, result = fit(training_job(config, run, store, task, progress, team), resume=resume)
    keep_model(run, model, task)
    run.write_json(run.training, asdict(result))
    console.say(
        f"train: {quantity(result.steps, 'step')} in {result.seconds:.0f} s, {result.images_per_second} pictures/s"
    )


def training_job(
    config: Config, run: Run, store: Store, task: Task, progress: console.Progress, team: Team = ALONE
) -> TrainingJob:
    """The training that a Config describes, as `fit` takes it; by default on this host."""
    return TrainingJob(
        task=task,
        learner=config.learner,
        store=store,
        operations=config.augment,
        input=config.input,
        settings=config.train,
        seed=config.seed,
        checkpoints=run.checkpoints,
        history=run.history,
        tensorboard=run.tensorboard,
        progress=progress,
        team=team,
    )


def keep_model(run: Run, model: keras.Model, task: Task) -> None:
    """Writes the trained model and its resolved task, both or neither."""
    with new_folder(run.model.parent) as folder:
        model.save(folder / run.model.name)
        write_task(folder / run.task.name, task)


def write_task(file: Path, task: Task) -> None:
    """Writes a resolved task, from which every later stage reads it."""
    write_file(file, task.model_dump_json(indent=2) + "\n")


# ---------------------------------------------------------------------------------------------------- evaluate


def evaluate(config: Config, run: Run) -> None:
    """The trained model x the evaluation split -> metrics, plots, the worst mistakes.

    Raises:
        TrainingError: the model answers with numbers that are not finite.
    """
    begin(config, run, "evaluate")
    from pipeline.metrics.plots import save_plots

    store, model = open_store(run), load_model(run)
    task = tune(config, store, model, load_task(run))
    evaluator = score(config, store, model, task, data_input.evaluation_split(store.info))
    result = finite_result(task, evaluator)
    write_task(run.task, task)
    run.write_json(run.evaluation, result)
    save_plots(evaluator.plots(), run.metrics)
    keep_mistakes(config, run, store, task, evaluator, model)
    value = result[task.metric.name]
    console.say(f"evaluate: {task.metric.name} {value:.4f} on {data_input.evaluation_split(store.info)}")


def tune(config: Config, store: Store, model: keras.Model, task: Task) -> Task:
    """The task with what it chooses on the validation split; only where that is not the split it is judged on."""
    if data_input.evaluation_split(store.info) == VALIDATION or not store.info.num_examples.get(VALIDATION):
        return task
    return task.tuned(score(config, store, model, task, VALIDATION))


def score(config: Config, store: Store, model: keras.Model, task: Task, split: str) -> Evaluator:
    """The trained model's answers for a split."""
    from pipeline.predictors import KerasPredictor

    batches = data_input.evaluation_batches(store, task, split, config.evaluate.batch_size)
    total = store.info.num_examples[split]
    with console.progress(f"evaluate {split}") as progress:
        predictor = KerasPredictor(task.serving_model(model))
        return evaluate_predictor(predictor, batches, task, lambda done: progress(done, total))


def keep_mistakes(config: Config, run: Run, store: Store, task: Task, evaluator: Evaluator, model: keras.Model) -> None:
    """Writes the worst mistakes and their pictures."""
    from pipeline import pictures_kept
    from pipeline.predictors import KerasPredictor

    split = data_input.evaluation_split(store.info)
    batches = data_input.evaluation_batches(store, task, split, config.evaluate.batch_size)
    mistakes = evaluator.mistakes(config.evaluate.mistakes)
    answered = pictures_kept.Answered(KerasPredictor(task.serving_model(model)), task)
    rows = pictures_kept.keep_mistakes(run.metrics / "mistakes", batches, mistakes, store.info, answered)
    run.write_json(run.mistakes, rows)


# ---------------------------------------------------------------------------------------------------- compress


def compress(config: Config, run: Run) -> None:
    """The trained model -> a `.tflite` for each variant."""
    begin(config, run, "compress")
    job = compression_job(config, run)
    for variant in config.compress.variants:
        name = variant.variant_name
        made = variant.compress(job)
        keep_variant(run.variants / name, variant, made)
        console.say(f"compress: {name}, {len(made.content):,} bytes{f'; {made.says}' if made.says else ''}")


def keep_variant(folder: Path, variant: Compression, made: Compressed) -> None:
    """Writes a variant's file, its settings, and what was decided while it was made; all or nothing."""
    described = {**variant.model_dump(mode="json"), "outcome": {"says": made.says, **made.facts}}
    with new_folder(folder) as temporary:
        write_file(temporary / "model.tflite", made.content)
        write_file(temporary / "variant.json", json.dumps(described, indent=2) + "\n")


def compression_job(config: Config, run: Run) -> CompressionJob:
    """The trained model with calibration pictures and the means to fine-tune."""
    store, task, model = open_store(run), load_task(run), load_model(run)
    settings = config.compress
    pictures = calibration_pictures(settings.calibration, store, task)
    judge = Judge(task, model, lambda: held_out_batches(store, task, settings.judged_pictures))
    devices = strategy.mirrored(config.train.devices)

    def fine_tune(
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        learner: Learner | None = None,
    ) -> None:
        from pipeline import fit

        with console.progress("fine-tune", unit="step") as progress:
            job = training_job(config, run, store, task, progress)
            again = replace(job, learner=learner or job.learner)
            fit.fine_tune(again, devices, model, epochs, learning_rate, callbacks)

    return CompressionJob(
        task,
        model,
        pictures,
        fine_tune,
        judge.drop,
        scope=devices.scope,
        distance=judge.distance,
        ranges=settings.calibration.range,
    )


# ---------------------------------------------------------------------------------------------------- export


def export(config: Config, run: Run) -> None:
    """The model and its variants -> SavedModel, `.tflite` files with metadata, `contract.json`."""
    begin(config, run, "export")
    from pipeline.export import anchored, contract, parts, saved_model, tflite

    store, task, model = open_store(run), load_task(run), load_model(run)
    variants = variant_files(config, run)
    pictures = data_input.encoded_pictures(store, TRAIN, config.export.pictures_needed)
    # The folder as a whole, so that no file of an earlier list of variants stays; put in place when all is written.
    with new_folder(run.tflite) as folder:
        made = tflite.publish_variants(task, variants, folder)
        if config.export.anchored:
            anchored.publish_variants(task, model, variants, folder)
        version = saved_model.export_saved_model(task, model, run.saved_model, pictures, config.export)
    files = {name: run.tflite / file.name for name, file in zip(variants, made, strict=True)}
    write_file(run.export / run.config.name, dump(config))
    shown, ranges = config.compress.calibration, config.compress.calibration.range
    divided = parts.publish_parts(
        task, model, run.export, config.compress.variants, lambda: calibration_pictures(shown, store, task), ranges
    )
    contract.write_contract(run.export, task, version, files, run.read_json(run.environment, "prepare"), divided)
    count = quantity(len(config.export.names(files)), "TFLite file")
    in_parts = f"; {divided}: {', '.join(['saved_model', *variants])}" if divided else ""
    console.say(f"export: {version} and {count}{in_parts}")


def variant_files(config: Config, run: Run) -> dict[str, Path]:
    """Variant -> the file that `compress` made."""
    names = [variant.variant_name for variant in config.compress.variants]
    return {name: run.require(run.variants / name / "model.tflite", "compress") for name in names}


# ---------------------------------------------------------------------------------------------------- verify


def verify(config: Config, run: Run) -> None:
    """Exported files x the evaluation split, against the trained model -> `verification.json`, `summary.json`.

    Raises:
        VerificationError: a variant is not blessed.
    """
    begin(config, run, "verify")
    from pipeline.export.saved_model import versions
    from pipeline.verify import verify_variants

    store, task = open_store(run), load_task(run)
    names = config.export.names(variant_files(config, run))
    files = {name: run.require(run.tflite / f"{name}.tflite", "export") for name in names}
    exported = versions(run.require(run.saved_model, "export"))
    exact = config.export.names([one.variant_name for one in config.compress.variants if one.same_function])
    with console.progress("verify") as progress:
        found = verify_variants(
            task, load_model(run), store, exported[max(exported)], files, config.verify, progress, exact, run.parts
        )
    run.write_json(run.verification, found.as_json(run.path))
    run.write_json(run.summary, summarise(config, run).model_dump(mode="json"))
    blessed = sum(result.blessed for result in found.judged.values())
    console.say(f"verify: {blessed} of {len(found.judged)} blessed")
    found.require_blessed()


def summarise(config: Config, run: Run) -> Summary:
    """What the Run came to, for machines."""
    metric, found = config.task.metric, run.read_json(run.verification, "verify")
    return Summary(
        task=config.task.kind,
        metric=MetricSummary(name=metric.name, direction=metric.direction),
        data=run.read_json(run.data, "prepare")["info"]["num_examples"],
        train=TrainSummary(**run.read_json(run.training, "train")),
        variants=variant_summaries(found["variants"]),
        parts=part_summaries(found["parts"]),
    )


# ---------------------------------------------------------------------------------------------------- report


def report(config: Config, run: Run) -> None:
    """Everything in the Run -> `report.html`."""
    begin(config, run, "report")
    from pipeline.report import build_report

    console.say(f"report: {build_report(run, config.report)}")


# ---------------------------------------------------------------------------------------------------- shared


def begin(config: Config, run: Run, stage: str) -> None:
    """Claims the Run for this configuration, and sets up the devices before TensorFlow starts.

    Raises:
        RunError: the Run holds results of another configuration.
    """
    ownership.claim(config, run, stage)
    strategy.configure(config.train.devices, config.seed)
    run.write_json(run.environment, environment(config.seed))


def open_store(run: Run) -> Store:
    """The prepared data of the Run."""
    return Store.open(run.store)
