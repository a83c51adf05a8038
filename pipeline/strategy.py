"""Devices and replicas: where a job runs, decided once before TensorFlow starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import keras, tf
from pipeline.errors import ConfigError
from pipeline.processors import multiplies_bfloat16
from pipeline.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


UNKNOWN, VOLTA, AMPERE = (0, 0), (7, 0), (8, 0)
"""Compute capabilities: from the second on GPUs multiply float16 in tensor cores, from the third bfloat16 too."""


class Devices(Settings):
    """Where the job runs. Without GPUs it runs on the CPU; nothing else changes."""

    replicas: int | None = Field(default=None, ge=1)
    """Number of replicas on a host: all GPUs when left out; without GPUs that many logical CPU devices, to test replica
    code (on several hosts only one each)."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    """Arithmetic of training: mixed_float16 for GPUs with tensor cores, mixed_bfloat16 for newer ones, TPUs, and
    processors that multiply it by themselves (`convoy doctor`); auto is the one of these that the machine is fast at.
    Weights and outputs stay float32."""
    deterministic: bool = True
    """Whether the same seed gives the same bits on the same machine; some GPU operations are slower for it."""
    wait_seconds: float = Field(default=600.0, gt=0.0)
    """How long a training over several hosts (`TF_CONFIG`) waits for all of them to be there."""


def configure(devices: Devices, seed: int) -> None:
    """Sets up this process: memory growth on GPUs, logical CPU devices, random seeds. Call it before making tensors.

    Raises:
        ConfigError: more replicas asked for than there are GPUs, or TensorFlow already runs with other devices.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        split_cpu(devices.replicas or 1)
    elif (devices.replicas or 1) > len(gpus):
        raise ConfigError(f"devices.replicas is {devices.replicas}, but this machine has {quantity(len(gpus), 'GPU')}.")
    if devices.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Dropout keeps its random state in variables, so that a checkpoint holds it and a resumed run draws the same.
    keras.backend.experimental.enable_tf_random_generator()
    keras.utils.set_random_seed(seed)


def split_cpu(count: int) -> None:
    """Makes `count` logical devices of the CPU, which share out its processors."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    current = tf.config.get_logical_device_configuration(cpu)
    if len(current or [None]) == count:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
        share_processors(count)
    except RuntimeError as error:
        raise ConfigError(
            f"devices.replicas is {count}, but TensorFlow already runs in this process with "
            f"{quantity(len(current or [None]), 'CPU device')}. Start a new process with this setting."
        ) from error


def share_processors(devices: int) -> None:
    """Gives each operation the processors of one of `devices`; the environment's TF_NUM_INTRAOP_THREADS goes before.

    By itself TensorFlow shares out every operation of every replica among all of them, which waits for the last.
    """
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        threads = max(len(os.sched_getaffinity(0)) // devices, 1)
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def mirrored(devices: Devices) -> tf.distribute.Strategy:
    """One replica on each device; gradients are summed with NCCL between GPUs, by the host between CPU devices."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)][: devices.replicas]
    cross = tf.distribute.NcclAllReduce() if kind == "GPU" else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(names, cross_device_ops=cross if len(names) > 1 else None)


def shared_out(
    strategy: tf.distribute.Strategy, batches: Callable[[tf.distribute.InputContext], tf.data.Dataset]
) -> tf.distribute.DistributedDataset:
    """What the replicas take their batches from.

    They are brought to each device ahead. To a single CPU they need not be, and are not: what does it has a thread that
    sleeps up to a minute at a time, for which TensorFlow 2.21 waits when training ends.
    """
    gpus, mirrored = tf.config.list_physical_devices("GPU"), isinstance(strategy, tf.distribute.MirroredStrategy)
    if gpus or not mirrored or strategy.num_replicas_in_sync > 1:
        return strategy.distribute_datasets_from_function(batches)
    straight = tf.distribute.InputOptions(
        experimental_fetch_to_device=False,
        experimental_replication_mode=tf.distribute.InputReplicationMode.PER_REPLICA,
    )
    return strategy.distribute_datasets_from_function(batches, straight)


def gpus_of_host(devices: Devices) -> int:
    """How many GPUs this host brings into a training over several; 0 is its CPU.

    Raises:
        ConfigError: several replicas on a CPU, or more than there are GPUs.
    """
    gpus, asked = len(tf.config.list_physical_devices("GPU")), devices.replicas
    if (asked or 1) > max(gpus, 1):
        raise ConfigError(
            f"train.devices.replicas is {asked}, but each host of a training over several has {gpus or 'no'} GPUs, and "
            "without GPUs one replica. Leave the setting out."
        )
    return asked or gpus if gpus else 0


def over_hosts(addresses: Sequence[str], index: int, gpus: int) -> tf.distribute.Strategy:
    """One replica on each GPU (or the CPU) of each host; gradients are summed by NCCL between GPUs, else around a ring.

    TensorFlow must not have run any operation in this process; on all hosts this is called with the same addresses.

    Args:
        addresses: HOST:PORT of each, the chief first.
        index: which of them this is.
        gpus: of each host; 0 is its CPU.
    """
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses)}),
        task_type="worker",
        task_id=index,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(implementation=kinds.NCCL if gpus else kinds.RING)
    return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)


def per_replica(batch_size: int, replicas: int) -> int:
    """The batch of each replica; ConfigError where the global batch cannot be shared out evenly."""
    if batch_size % replicas:
        lower = max(batch_size // replicas, 1) * replicas
        raise ConfigError(
            f"train.batch_size is {batch_size}, which {replicas} replicas cannot share evenly. "
            f"Use a multiple of {replicas}, such as {lower} or {lower + replicas}."
        )
    return batch_size // replicas


class Precision:
    """A Keras precision policy for the length of a `with` block."""

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> None:
        self.before = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy(self.name)

    def __exit__(self, *_: object) -> None:
        keras.mixed_precision.set_global_policy(self.before)


def policy(devices: Devices) -> str:
    """The name of the Keras precision policy that is asked for, or that suits the machine."""
    return own_precision() if devices.precision == "auto" else devices.precision


def own_precision() -> str:
    """What all GPUs multiply by themselves, or without GPUs the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "mixed_bfloat16" if multiplies_bfloat16() else "float32"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    least = min(one.get("compute_capability", UNKNOWN) for one in details)
    return "mixed_bfloat16" if least >= AMPERE else "mixed_float16" if least >= VOLTA else "float32"


def doubts(devices: Devices) -> str:
    """What speaks against the precision that is asked for; empty where nothing does."""
    on_cpu = not tf.config.list_physical_devices("GPU")
    if devices.precision == "mixed_bfloat16" and on_cpu and not multiplies_bfloat16():
        return "this processor does not multiply bfloat16 by itself: train.devices.precision=float32 is likely faster"
    return ""


def device_names() -> Iterator[str]:
    """The devices that TensorFlow sees, such as `CPU:0`, with the GPU's model where known."""
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
        name = device.name.removeprefix("/physical_device:")
        yield f"{name} ({details['device_name']})" if "device_name" in details else name
