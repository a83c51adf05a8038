"""tf.data service: a dispatcher and two workers, started through the command line as a user does."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from models.stack import tf
from pipeline.augment import Augmentation
from pipeline.augment.colour import ColourJitter
from pipeline.augment.crops import RandomResizedCrop
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.data import input, service
from pipeline.data.input import InputSettings
from pipeline.data.store import Store
from pipeline.errors import ConfigError
from tests.conftest import ROOT
from tests.data.stores import make_store
from tests.data.test_input import TASK, take

COUNT, BATCH, SHARDS = 40, 8, 8
AUGMENTED = (RandomResizedCrop(), HorizontalFlip(), Rotation(), ColourJitter())
CONVOY = [sys.executable, "-c", "from pipeline.cli import main; main()"]


@contextmanager
def server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`convoy data-service ...` and what it says when it is ready; stopped by SIGTERM, which has to end it cleanly."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*CONVOY, "data-service", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline().strip()
            if process.poll() is None:
                process.terminate()
                said = process.stderr.read()
                assert (process.wait(20), said) == (0, "stopped\n")
        finally:
            process.kill()


@contextmanager
def running(workers: int) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A service's address, and its processes: the dispatcher, then the workers."""
    with ExitStack() as stack:
        dispatcher, said = stack.enter_context(server("dispatcher"))
        address = said.removeprefix("dispatcher: ")
        assert address.startswith("grpc://localhost:")
        started = [
            stack.enter_context(server("worker", "--dispatcher", address.removeprefix("grpc://" if bare else "")))
            for bare in itertools.islice(itertools.cycle((True, False)), workers)
        ]
        assert all(said == f"worker of {address}: ready" for _, said in started)
        yield address, [dispatcher, *(process for process, _ in started)]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(workers=2) as (address, _):
        yield address


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    counts = {"train": COUNT, "validation": 8, "test": 0}
    return make_store(tmp_path_factory.mktemp("store"), counts, [(12, 12), (16, 9)], shards=SHARDS)


def stream(
    store: Store,
    address: str,
    first_step: int = 0,
    operations: tuple[Augmentation, ...] = AUGMENTED,
    **settings: object,
) -> tf.data.Dataset:
    options = InputSettings(service=address, threads=2, **settings)
    return input.training_batches(store, TASK, operations, options, BATCH, seed=5, first_step=first_step)


def test_two_workers_give_every_example_of_a_pass_once(store: Store, address: str) -> None:
    batches = take(stream(store, address), 10 * COUNT // BATCH)
    assert all(inputs["image"].shape == (BATCH, 12, 12, 1) for inputs, _ in batches)
    assert all(targets["logits"].shape == (BATCH, 4) for _, targets in batches)
    names = [name for inputs, _ in batches for name in inputs["id"]]
    epochs = [epoch for inputs, _ in batches for epoch in inputs["epoch"].tolist()]
    seen = Counter(zip(epochs, names, strict=True))
    assert set(seen.values()) == {1}
    for epoch in range(5):  # the later passes may not be complete yet
        assert sum(place[0] == epoch for place in seen) == COUNT


def test_the_pictures_are_those_of_the_own_process(store: Store, address: str) -> None:
    """Augmented by seed, pass and id alone, up to what the two engines differ by."""
    own, operations = InputSettings(cache="none"), AUGMENTED[1:]  # the crop resamples these pictures of noise otherwise
    alone: dict[tuple[int, bytes], np.ndarray] = {}
    for inputs, _ in take(input.training_batches(store, TASK, operations, own, BATCH, seed=5), 2 * COUNT // BATCH):
        alone |= dict(zip(zip(inputs["epoch"].tolist(), inputs["id"], strict=True), inputs["image"], strict=True))
    compared = 0
    for inputs, _ in take(stream(store, address, operations=operations), 2 * COUNT // BATCH):
        for place in zip(inputs["epoch"].tolist(), inputs["id"], inputs["image"], strict=True):
            if place[:2] in alone:
                compared += 1
                assert np.abs(alone[place[:2]].astype(int) - place[2]).mean() < 2
    assert compared >= COUNT


def test_a_resumed_stream_begins_in_the_right_pass(store: Store, address: str) -> None:
    batches = take(stream(store, address, first_step=13), 3)  # 104 examples are done: 2 passes and 24 of the third
    assert {epoch for inputs, _ in batches for epoch in inputs["epoch"].tolist()} <= {2, 3}


def test_no_example_travels_with_the_graph(tmp_path: Path, store: Store, address: str) -> None:
    """Neither cached data nor Python functions: the graph is as large for ten times the data."""

    def graph(store: Store) -> bytes:
        options = InputSettings(service=address)
        read = input.reading_of(store, TASK, AUGMENTED, options, BATCH, 5)
        batches = input.decode_batches(service.shared_records(read), read).map(TASK.encode)
        return batches._as_serialized_graph().numpy()

    many = make_store(tmp_path, {"train": 10 * COUNT}, [(12, 12)], shards=SHARDS)
    assert abs(len(graph(many)) - len(graph(store))) < 2000
    assert b"PyFunc" not in graph(store) and b"PyFunc" not in graph(many)


def test_what_dies_takes_nothing_with_it(store: Store) -> None:
    """The stream goes on without a worker that is killed; the other can be stopped where the dispatcher is gone."""
    with running(workers=2) as (address, (dispatcher, killed, _)):
        batches = stream(store, address, prefetch=1).as_numpy_iterator()
        assert len(list(itertools.islice(batches, 5))) == 5
        kill(killed)
        rest = list(itertools.islice(batches, 200))
        assert len(rest) == 200
        assert max(epoch for inputs, _ in rest for epoch in inputs["epoch"].tolist()) > 20
        del batches  # it would go on asking for its dispatcher
        kill(dispatcher)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_what_the_service_cannot_do_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"No dispatcher answers at .* grpc://localhost:9 .*data-service"):
        stream(store, "grpc://localhost:9")
    with pytest.raises(ConfigError, match=r"`input\.cache` is encoded, but .* workers read the files"):
        stream(store, "grpc://localhost:9", cache="encoded")
    context = tf.distribute.InputContext(2, 0, 2)
    with pytest.raises(ConfigError, match="one host, not of 2"):
        input.training_batches(store, TASK, (), InputSettings(service="grpc://a:9"), BATCH, 5, 0, context)
    with pytest.raises(ValueError, match="service"):
        InputSettings(service="localhost:5050")


def test_mistakes_on_the_command_line(address: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def said(*arguments: str) -> tuple[int, str]:
        command = [*CONVOY, "data-service", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    code, text = said("worker")
    assert code == 2 and "A worker needs --dispatcher HOST:PORT" in text
    for wrong in ("localhost", "localhost:abc", "localhost:70000", ":5050", "http://localhost:5050"):
        with pytest.raises(ConfigError, match=r"Got '.*' as the address of a dispatcher, expected HOST:PORT"):
            service.host_and_port(wrong)
    code, text = said("worker", "--dispatcher", "localhost:abc")
    assert code == 2 and "expected HOST:PORT" in text
    code, text = said("worker", "--dispatcher", "localhost:9")
    assert code == 2 and "No dispatcher answers" in text
    code, text = said("dispatcher", "--port", address.rpartition(":")[2])
    assert code == 2 and "Choose another with --port" in text, text


def test_a_training_through_the_command_line(tmp_path: Path, address: str) -> None:
    """`fit` with deterministic operations, two replicas, and the samples of the report, all from the service."""
    config = tmp_path / "digits.yaml"
    config.write_text(
        "data: {source: digits}\ntask: {kind: classification, picture: {height: 8, width: 8, channels: 1},\n"
        "  backbone: {kind: small_resnet, depth: 8, widths: [4, 4, 8]}}\naugment: [rotation]\n"
        "train: {epochs: 1, batch_size: 128, devices: {replicas: 2}}\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*CONVOY, "train", str(config), f"input.service={address}"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"batches come from the tf.data service at {address}" in done.stderr
    assert "of memory for the input" in done.stderr
    assert (tmp_path / "runs" / "digits" / "model" / "model.keras").is_file()
