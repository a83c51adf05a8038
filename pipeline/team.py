"""Who takes part in a training, chosen once for a command: this host alone, or all that `TF_CONFIG` names.

All hosts of a team run the same program, since nearly all of it exchanges something: a step its gradients, a
checkpoint the statistics that each replica has of its own. What differs is here: the chief works in the Run, a helper
in a temporary folder, so whatever is written there is gone afterwards; what only one may decide or do, the chief does
and the helpers are told.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.stack import tf
from pipeline import console, hosts, strategy
from pipeline.errors import ConfigError, GoesOnAlone, TrainingError
from pipeline.hosts import Cluster
from pipeline.mirror import mirrored

if TYPE_CHECKING:
    from models.stack import keras
    from pipeline.strategy import Devices

ABORTED = "Collective ops is aborted"
"""What TensorFlow says where an exchange between hosts was given up."""


class Team(Protocol):
    """What differs between a training on one host and on several."""

    def folder(self, home: Path) -> AbstractContextManager[Path]:
        """Where this host works on the Run that lies at `home`."""

    def errors(self) -> AbstractContextManager[None]:
        """Turns what a lost host brings about into a TrainingError."""

    def join(self, devices: Devices, seed: int, settings: Mapping[str, Any]) -> None:
        """Meets the other hosts; before TensorFlow starts.

        Args:
            devices, seed: to set up this process with.
            settings: name -> plain value of all that has to be the same on every host.

        Raises:
            ConfigError: the devices are none that hosts can share, or the hosts were given different settings.
            TrainingError: a host is missing.
        """

    def strategy(self, devices: Devices) -> tf.distribute.Strategy:
        """One replica on each device, of all hosts."""

    def first(self, work: Callable[[], str]) -> str:
        """What one host does before the others go on; all get its result.

        Raises:
            TrainingError: it failed on the chief, whose own error says why.
        """

    def restore(self, work: Callable[[], None], variables: Callable[[], Sequence[tf.Variable]]) -> None:
        """Restores variables from the Run, on all hosts."""

    def any(self, mine: bool) -> bool:
        """Whether it is so on any host; all have to ask at the same step."""

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What sees to it that all hosts decide alike, after the metrics and before whoever judges them."""

    def part(self) -> None:
        """Ends what is done together: from here on no host needs another."""

    def finish(self, work: Callable[[], None]) -> None:
        """What is done after the training, by the host that has the Run.

        Raises:
            GoesOnAlone: it is to be done by the same command in a new process.
        """

    def answer(self, show: Callable[[], None]) -> None:
        """Shows the command's result where it is."""


class Alone:
    """A training on this host, with all of its devices."""

    def folder(self, home: Path) -> AbstractContextManager[Path]:
        """The Run, or its local copy."""
        return mirrored(home)

    def errors(self) -> AbstractContextManager[None]:
        """There is no other host to lose."""
        return nullcontext()

    def join(self, devices: Devices, seed: int, settings: Mapping[str, Any]) -> None:
        """Nobody to meet."""

    def strategy(self, devices: Devices) -> tf.distribute.Strategy:
        """A MirroredStrategy."""
        return strategy.mirrored(devices)

    def first(self, work: Callable[[], str]) -> str:
        """Done here."""
        return work()

    def restore(self, work: Callable[[], None], variables: Callable[[], Sequence[tf.Variable]]) -> None:
        """Done here."""
        work()

    def any(self, mine: bool) -> bool:
        """As it is here."""
        return mine

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Nothing to agree on."""
        return []

    def part(self) -> None:
        """Nobody to part from."""

    def finish(self, work: Callable[[], None]) -> None:
        """Done here."""
        work()

    def answer(self, show: Callable[[], None]) -> None:
        """Shown here."""
        show()


ALONE = Alone()
"""For all that is no training of several hosts."""


class Together(ABC):
    """A training over several hosts, under one MultiWorkerMirroredStrategy. `Chief` and `Helper` say who does what.

    Args:
        cluster: all hosts, and which of them this is.
    """

    def __init__(self, cluster: Cluster):
        self.cluster = cluster

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Says that a host was lost, which TensorFlow reports in many lines about collectives."""
        try:
            yield
        except tf.errors.OpError as error:
            if not isinstance(error, tf.errors.UnavailableError) and ABORTED not in str(error):
                raise
            raise TrainingError(
                f"{self.cluster.own} lost a host of the training (one of {', '.join(self.cluster.others)}); its own "
                "log says why it ended. Start all hosts again with --resume."
            ) from error

    def join(self, devices: Devices, seed: int, settings: Mapping[str, Any]) -> None:
        """Meets the other hosts and makes the strategy, which has to be there before TensorFlow's first operation."""
        gpus = strategy.gpus_of_host(devices)
        strategy.configure(devices, seed)
        hosts.meet(self.cluster, devices.wait_seconds)
        self._strategy = strategy.over_hosts(self.cluster.addresses, self.cluster.index, gpus)
        # TensorFlow has put a handler of its own in place, which would leave SIGTERM without effect.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        self._require_same(settings)

    def _require_same(self, settings: Mapping[str, Any]) -> None:
        given = json.loads(self._exchanged(json.dumps(settings).encode()))
        differing = sorted(name for name in given.keys() | settings.keys() if given.get(name) != settings.get(name))
        if self.any(bool(differing)):
            named = "".join(f"; {name}: {given.get(name)} there, {settings.get(name)} here" for name in differing)
            raise ConfigError(
                f"Not all hosts were given the configuration of the chief {self.cluster.chief}{named}. Start all hosts "
                "with the same command and files."
            )

    def strategy(self, devices: Devices) -> tf.distribute.Strategy:
        """The one that was made by `join`."""
        return self._strategy

    def restore(self, work: Callable[[], None], variables: Callable[[], Sequence[tf.Variable]]) -> None:
        """The chief reads its checkpoint; everyone gets its values, so the Run need not be shared."""

        def restored() -> str:
            work()
            return ""

        self.first(restored)
        for variable in variables():
            parts = self._strategy.experimental_local_results(variable)
            value = self.of_chief(parts[0])
            for part in parts:
                part.assign(value)

    def any(self, mine: bool) -> bool:
        """A sum over all hosts."""
        return float(self._strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(float(mine)), axis=None)) > 0

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """The chief's numbers for all."""
        from pipeline.callbacks import SameNumbers

        return [SameNumbers(self.of_chief)]

    def part(self) -> None:
        """Stays until the chief has all that it needs of this host."""
        self.of_chief(tf.zeros([]))

    @abstractmethod
    def first(self, work: Callable[[], str]) -> str:
        """By `Chief` or `Helper`."""

    def of_chief(self, value: Any) -> tf.Tensor:
        """The chief's value on all hosts, of the same shape and type everywhere: a new variable of this strategy
        begins with it. When a helper has it, the chief has done with all that came before."""
        with self._strategy.scope():
            return tf.convert_to_tensor(tf.Variable(value, trainable=False))

    def _exchanged(self, message: bytes) -> bytes:
        """The chief's bytes on all hosts."""
        length = int(self.of_chief(tf.constant(len(message), tf.int64)))
        padded = list(message[:length].ljust(length))
        return bytes(self.of_chief(tf.constant(padded, tf.int64, [length])).numpy().tolist())


class Chief(Together):
    """The host that has the Run."""

    def folder(self, home: Path) -> AbstractContextManager[Path]:
        """The Run, or its local copy."""
        return mirrored(home)

    def first(self, work: Callable[[], str]) -> str:
        """Does it, and tells the others how it went."""
        try:
            result = work()
        except BaseException as error:
            self._tell(failed=str(error) or type(error).__name__)
            raise
        self._tell(result=result)
        return result

    def _tell(self, **said: str) -> None:
        self._exchanged(json.dumps(said).encode())

    def finish(self, work: Callable[[], None]) -> None:
        """Lets the helpers go, and goes on without them."""
        self.part()
        console.say("train: the other hosts are done, this one goes on alone")
        raise GoesOnAlone

    def answer(self, show: Callable[[], None]) -> None:
        """Shown here."""
        show()


class Helper(Together):
    """A host that computes, and leaves nothing behind."""

    @contextmanager
    def folder(self, home: Path) -> Iterator[Path]:
        """A temporary folder, removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="convoy-helper-") as scratch:
            yield Path(scratch)

    def first(self, work: Callable[[], str]) -> str:
        """Waits for what the chief makes of it."""
        said = json.loads(self._exchanged(b""))
        if "failed" in said:
            raise TrainingError(f"The chief {self.cluster.chief} stopped: {said['failed']}")
        return str(said["result"])

    def finish(self, work: Callable[[], None]) -> None:
        """Leaves it to the chief."""
        self.part()

    def answer(self, show: Callable[[], None]) -> None:
        """Says where the result is to be found."""
        cluster = self.cluster
        text = f"{cluster.own} is done; the chief {cluster.chief} goes on with the remaining stages"
        console.terminal.answer({"host": cluster.own, "chief": cluster.chief}, text)


def team_of(environment: Mapping[str, str] = os.environ) -> Team:
    """Who trains, by the environment.

    Raises:
        ConfigError: its `TF_CONFIG` cannot be understood.
    """
    cluster = hosts.cluster_of(environment)
    if cluster is None:
        return ALONE
    return Helper(cluster) if cluster.index else Chief(cluster)
