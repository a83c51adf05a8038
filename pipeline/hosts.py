"""Which hosts train one model together: what `TF_CONFIG` in the environment means, and waiting for all of them.

Kubernetes' training operator, Vertex AI and SageMaker set it on every host of a job, to name all hosts and the one
that reads it:

    {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from pipeline import console
from pipeline.errors import ConfigError, TrainingError

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:/\s\[\]]+):([0-9]{1,5})")
LARGEST_PORT = 65535
SECONDS_BETWEEN_MESSAGES = 10.0
SECONDS_BETWEEN_TRIES = 0.5
SECONDS_TO_ANSWER = 2.0


def _checked(address: str) -> str:
    match = ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[2]) <= LARGEST_PORT:
        raise ValueError(f"{address!r} is no HOST:PORT, such as trainer-0:2222")
    return address


Role = Literal["chief", "worker"]
Address = Annotated[str, AfterValidator(_checked)]


class _Task(BaseModel):
    type: Role
    index: int = Field(ge=0)


class _Content(BaseModel):
    """What is read of the variable; those who set it add more, which is none of our business."""

    cluster: dict[Role, tuple[Address, ...]]
    task: _Task


@dataclass(frozen=True)
class Cluster:
    """The hosts of one training, and which of them this is.

    Args:
        addresses: HOST:PORT of every host, two or more, the chief first.
        index: the place of this host among them, 0..n-1.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def chief(self) -> str:
        """The host that writes the Run."""
        return self.addresses[0]

    @property
    def own(self) -> str:
        """This host."""
        return self.addresses[self.index]

    @property
    def others(self) -> tuple[str, ...]:
        """All but this host."""
        return self.addresses[: self.index] + self.addresses[self.index + 1 :]


def cluster_of(environment: Mapping[str, str]) -> Cluster | None:
    """The hosts that the environment names; None where it names none, or only one.

    Raises:
        ConfigError: `TF_CONFIG` is no JSON, or does not say which hosts there are and which of them this is; or it
            asks for parameter servers or an evaluator, which Convoy has not.
    """
    text = environment.get(VARIABLE, "").strip()
    given = _parsed(text) if text else None
    if not given or not given.get("cluster"):
        return None
    try:
        content = _Content.model_validate(given)
    except ValidationError as error:
        raise ConfigError(_refused(f"is not as expected: {_described(error)}")) from error
    addresses = content.cluster.get("chief", ()) + content.cluster.get("worker", ())
    if len(set(addresses)) < len(addresses):
        raise ConfigError(_refused(f"names a host twice: {', '.join(addresses)}"))
    index = _place(content)
    return Cluster(addresses, index) if len(addresses) > 1 else None


def _parsed(text: str) -> dict[str, object]:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(_refused(f"is no JSON ({error}): {text[:80]!r}")) from error
    if not isinstance(given, dict):
        raise ConfigError(_refused(f"is {text[:80]}"))
    return given


def _place(content: _Content) -> int:
    """Where this host stands among all, the chief first."""
    role, index = content.task.type, content.task.index
    of_role, chiefs = content.cluster.get(role, ()), content.cluster.get("chief", ())
    if len(chiefs) > 1:
        raise ConfigError(_refused(f"names {len(chiefs)} chiefs, {', '.join(chiefs)}, and there is but one"))
    if index >= len(of_role):
        raise ConfigError(_refused(f"says that this is {role} {index}, but its cluster has {len(of_role)} of these"))
    return index if role == "chief" else len(chiefs) + index


def _refused(reason: str) -> str:
    return (
        f"{VARIABLE} in the environment {reason}. Expected the hosts and which of them this is, such as {EXAMPLE}; "
        "unset it to train on this host alone."
    )


def _described(error: ValidationError) -> str:
    """What is wrong, in one line; a role that Convoy has not is by far the most frequent."""
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"] if part != "[key]")
    if found["type"] == "missing":
        return f"it has no {place}"
    reason = found["msg"].removeprefix("Value error, ")
    if found["type"] == "literal_error":
        reason = f"got {found['input']!r}, but the roles of a Convoy training are chief and worker"
    return f"{place}: {reason}"


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until all other hosts answer. TensorFlow would wait for an hour, without a word.

    Every host listens on its own port meanwhile, and leaves it to TensorFlow when it has heard of all others; who has
    not heard of it by then finds TensorFlow there.

    Raises:
        ConfigError: the host's own port cannot be listened on.
        TrainingError: some did not answer in time.
    """
    began = said = time.monotonic()
    missing = cluster.others
    with _listening(cluster):
        while missing := tuple(address for address in missing if not _answers(address)):
            now = time.monotonic()
            if now - began >= seconds:
                raise TrainingError(_nobody_there(cluster, missing, seconds))
            if said == began or now - said >= SECONDS_BETWEEN_MESSAGES:
                said = now
                console.say(f"train: {cluster.own} waits for {', '.join(missing)} ({now - began:.0f} s)")
            time.sleep(SECONDS_BETWEEN_TRIES)
    console.say(f"train: {len(cluster.addresses)} hosts, this is {cluster.own}; the chief is {cluster.chief}")


def _nobody_there(cluster: Cluster, missing: tuple[str, ...], seconds: float) -> str:
    return (
        f"{len(missing)} of {len(cluster.addresses)} hosts did not answer within {seconds:.0f} s: {', '.join(missing)}."
        f" Look at their logs, start all hosts of {VARIABLE} at about the same time, let them reach each other's ports,"
        " or wait longer (train.devices.wait_seconds)."
    )


@contextmanager
def _listening(cluster: Cluster) -> Iterator[None]:
    """Answers on this host's port, on all of its networks as TensorFlow does."""
    port = _port(cluster.own)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=dual)
    except OSError as error:
        raise ConfigError(
            f"{VARIABLE} says that this host is {cluster.own}, but port {port} cannot be listened on here "
            f"({os.strerror(error.errno or 0)}). Name a free one, the same on all hosts, and end what is left of an "
            "earlier training."
        ) from error
    with server:
        yield


def _answers(address: str) -> bool:
    """Whether anything listens there."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        socket.create_connection((host, _port(address)), SECONDS_TO_ANSWER).close()
    except OSError:  # also a name that is not known yet, as of a pod that is still to come
        return False
    return True


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def start_alone() -> NoReturn:
    """Becomes a process of the same command that knows of no other host, and finds the training done."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
