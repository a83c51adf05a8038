"""The second pass over a source on Apache Beam: the same shards and counts as `data.writing`, on many machines.

    the examples, listed here -> work files -> (shard, example) -> grouped by shard -> pictures read, checked, written

What travels between machines is where a picture lies, not its bytes: a worker that is given a shard reads the shard's
pictures itself. (Pictures that are no files of their own, as in `idx` or `tfds`, travel with their example.) A shard is
whole or absent, since it is written beside its place and renamed, and writing it twice gives the same bytes.

TensorFlow Datasets' own writer for Beam is not used. It orders records by a salted hash of its own, cuts them into
shards of equal count once all are written, and sends the bytes of every picture through Beam's shuffle; here the
shard of an example is known from its id before any picture is read. So a store is the same whoever wrote it.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from models.settings import Settings
from models.stack import tf
from pipeline.data.example import SPLITS
from pipeline.data.records import Shard
from pipeline.data.shards import Job, Place, Work, plan, without_empty, write_shard
from pipeline.data.splits import UNNAMED
from pipeline.data.survey import Progress, Survey
from pipeline.data.tally import Tally, merged
from pipeline.data.writing import Indexed, chosen, split_file, write_split_file
from pipeline.errors import ConfigError
from pipeline.files import new_file

if TYPE_CHECKING:
    from pipeline.data.prepare import DataSettings

WORK_ITEMS = 10_000
"""Examples in one work file."""
RUNNERS = {"direct": "DirectRunner", "spark": "SparkRunner", "flink": "FlinkRunner", "dataflow": "DataflowRunner"}

Option = str | int | float | bool | tuple[str, ...]


class BeamSettings(Settings):
    """`prepare` on Apache Beam, which is an extra: pip install 'convoy[beam]'."""

    runner: Literal["direct", "spark", "flink", "dataflow"] = "direct"
    """Who runs the pipeline: processes of this machine (`direct`), or a cluster."""
    workers: int = Field(default=2, ge=1)
    """Processes of `direct`, `parallelism` of Flink, the most machines of Dataflow; Spark has its own settings."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Beam's pipeline options, such as `{flink_master: "localhost:8081"}`; they go before what the above sets."""

    def pipeline_options(self) -> dict[str, Any]:
        """All of Beam's options that these settings stand for."""
        workers: dict[str, dict[str, Any]] = {
            "direct": {"direct_running_mode": "multi_processing", "direct_num_workers": self.workers},
            "spark": {},
            "flink": {"parallelism": self.workers},
            "dataflow": {"max_num_workers": self.workers},
        }
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in self.options.items()}
        quiet = {"default_sdk_harness_log_level": "WARNING"}
        return {"runner": RUNNERS[self.runner], **quiet, **workers[self.runner], **listed}


def write_on_beam(
    settings: DataSettings, surveyed: Survey, codes: np.ndarray, folder: Path, progress: Progress
) -> tuple[list[Shard], Tally]:
    """As `data.writing.write_pictures`, and with the same result.

    Raises:
        ConfigError: Apache Beam is not installed.
        DataError: too many pictures cannot be read, or the source changed since it was surveyed.
    """
    beam_settings = settings.beam or BeamSettings()
    pipeline = _pipeline(beam_settings)
    total = int(np.count_nonzero(codes != UNNAMED))
    job = plan(settings, folder, surveyed, codes)
    with split_file(folder) as rows:
        work = _write_work(job, chosen(settings.source, surveyed, codes), surveyed, codes, rows)
    _run(pipeline, job, work)
    for file in work:
        file.unlink()
    shards, tally = _results(job)
    tally.require_few(total, settings.max_bad_pictures)
    if tally.quarantine:
        write_split_file(settings.source, surveyed, tally.codes(codes), folder)
    progress(total, total)
    return shards, tally


def _pipeline(settings: BeamSettings) -> Any:
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ConfigError(
            f"data.beam is set, but Apache Beam cannot be imported ({error}). Install it with "
            "pip install 'convoy[beam]', or leave data.beam empty to prepare in this process."
        ) from error
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    return beam.Pipeline(options=PipelineOptions(flags=[], **settings.pipeline_options()))


def _write_work(job: Job, items: Iterator[Indexed], surveyed: Survey, codes: np.ndarray, rows: Any) -> list[Path]:
    """Lists the examples in files, so that their number is not bounded by the memory or the pipeline's description."""
    files: list[Path] = []
    while part := list(islice(items, WORK_ITEMS)):
        files.append(job.folder / f"work-{len(files)}")
        with tf.io.TFRecordWriter(str(files[-1])) as writer:
            for index, example in part:
                rows.writerow((example.id, SPLITS[codes[index]]))
                key = int(surveyed.keys[index])
                writer.write(pickle.dumps((job.place_of(codes[index], key), Work(key, index, example))))
    return files


def _run(pipeline: Any, job: Job, work: list[Path]) -> None:
    import apache_beam as beam

    with pipeline:
        listed = pipeline | beam.Create([str(file) for file in work]) | beam.Reshuffle() | beam.FlatMap(read_work)
        listed | beam.GroupByKey() | beam.MapTuple(partial(write_and_note, job))


def read_work(file: str) -> Iterator[tuple[Place, Work]]:
    """On a worker: the content of a work file."""
    for item in tf.data.TFRecordDataset(file).as_numpy_iterator():
        yield pickle.loads(item)


def write_and_note(job: Job, place: Place, work: Iterable[Work]) -> None:
    """On a worker: writes one shard, and beside it what became of its pictures."""
    result = write_shard(job, place, work, processes=1)  # the runner starts as many workers as are wanted
    with new_file(_result(job, place)) as temporary:
        temporary.write_bytes(pickle.dumps(result))


def _result(job: Job, place: Place) -> Path:
    return job.folder / f"result-{place.split}-{place.number}"


def _results(job: Job) -> tuple[list[Shard], Tally]:
    """What the workers left, and their notes removed."""
    files = [_result(job, place) for place in job.places()]
    found = [pickle.loads(file.read_bytes()) for file in files]
    for file in files:
        file.unlink()
    shards, tallies = zip(*found, strict=True)
    return without_empty(job.folder, list(shards)), merged(tallies)
