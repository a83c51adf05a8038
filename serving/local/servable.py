"""One loaded version: what answers requests. SavedModels run in a session, as in TF Serving."""

from __future__ import annotations

import functools
import gc
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tensorflow.core.protobuf.config_pb2 import CallableOptions, ConfigProto
from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef, MetaGraphDef, SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from models.stack import tf
from pipeline import console
from serving.errors import ServingError

SERVE = "serve"
INIT_OP = "__saved_model_init_op"
CALLABLES = 64
"""Combinations of inputs and outputs that are kept ready."""

Arrays = list[np.ndarray[Any, Any]]
CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Question:
    """What a version is asked.

    Args:
        feeds: names of the tensors that are given.
        arrays: these, in the same order.
        fetches: names of the tensors that are asked for, none twice.
        deadline: by `time.monotonic()`. What waits until then is refused; a run that has begun is finished.
    """

    feeds: tuple[str, ...]
    arrays: Sequence[np.ndarray[Any, Any]]
    fetches: tuple[str, ...]
    deadline: float | None = None


class Servable(ABC):
    """Runs the signatures of one version; thread-safe."""

    signatures: Mapping[str, SignatureDef]

    @abstractmethod
    def run(self, question: Question) -> Arrays:
        """The tensors that are asked for, in their order.

        Raises:
            ServingError: with TensorFlow's own code and message.
        """

    @abstractmethod
    def close(self) -> None:
        """Gives the memory back; nothing runs any more."""


@contextmanager
def as_serving_errors() -> Iterator[None]:
    """TensorFlow's errors as ServingErrors."""
    try:
        yield
    except tf.errors.OpError as error:
        code = CODES.get(error.error_code, grpc.StatusCode.UNKNOWN)
        raise ServingError(code, str(error.message)) from error
    except UnicodeDecodeError as error:  # TensorFlow cannot tell Python what it says of bytes that it quotes
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, error.object.decode(errors="replace")) from error


class SavedModelServable(Servable):
    """A SavedModel in a session.

    Loaded as TF Serving loads it (restore, then the init operation), rather than by `tf.saved_model.load`: half a
    SavedModel then behaves alike, tensors are found by the names in the SignatureDef, and a call costs less Python.

    Args:
        folder: of the version; local, or a URL that TensorFlow reads.
        threads: for one operation and among operations; None lets TensorFlow choose.

    Raises:
        ServingError: it cannot be loaded.
    """

    def __init__(self, folder: str, threads: int | None = None):
        with as_serving_errors():
            graph_def = _read_meta_graph(folder)
            self._session = _session(graph_def, threads)
            try:
                _restore(self._session, graph_def, folder)
            except BaseException:
                self._session.close()
                raise
        self.signatures = dict(graph_def.signature_def)
        self._callable = functools.lru_cache(CALLABLES)(self._make_callable)

    def run(self, question: Question) -> Arrays:
        with as_serving_errors():
            found = self._callable(question.feeds, question.fetches)(*question.arrays)
            return [_as_array(value) for value in found]

    def close(self) -> None:
        self._callable.cache_clear()
        self._session.close()
        del self._callable, self._session

    def _make_callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        options = CallableOptions(feed=feeds, fetch=fetches)
        # The one way past Session.run's handling of feeds in Python, which costs more than a small model.
        return self._session._make_callable_from_options(options)


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    """A session gives scalars as numpy's or Python's own."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def give_memory_back() -> None:
    """Returns what was freed to the system: graphs are cycles for Python, and glibc keeps freed pages."""
    import ctypes

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _read_meta_graph(folder: str) -> MetaGraphDef:
    file = f"{folder}/saved_model.pb"
    if not tf.io.gfile.exists(file):
        raise ServingError(
            grpc.StatusCode.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}. Check that the "
            "directory exists and that you have the right permissions for accessing it.",
        )
    for graph in _parsed(file).meta_graphs:
        if set(graph.meta_info_def.tags) == {SERVE}:
            return graph
    raise ServingError(
        grpc.StatusCode.NOT_FOUND,
        "Could not find meta graph def matching supplied tags: { serve }. To inspect available tag-sets in the "
        "SavedModel, please use the SavedModel CLI: `saved_model_cli`",
    )


def _parsed(file: str) -> SavedModel:
    from google.protobuf.message import DecodeError

    with tf.io.gfile.GFile(file, "rb") as stream:
        try:
            return SavedModel.FromString(stream.read())
        except DecodeError as error:
            raise ServingError(grpc.StatusCode.DATA_LOSS, f"Can't parse {file} as binary proto") from error


def _session(graph_def: MetaGraphDef, threads: int | None) -> Any:
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.graph_util.import_graph_def(graph_def.graph_def, name="")
        except ValueError as error:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
    config = ConfigProto(
        intra_op_parallelism_threads=threads or 0, inter_op_parallelism_threads=threads or 0, allow_soft_placement=True
    )
    return tf.compat.v1.Session(graph=graph, config=config)


def _restore(session: Any, graph_def: MetaGraphDef, folder: str) -> None:
    """Restores the variables and initialises tables; a folder without variables is taken for a model without any."""
    assets = {asset.tensor_info.name: f"{folder}/assets/{asset.filename}".encode() for asset in _asset_files(graph_def)}
    saver = graph_def.saver_def
    if tf.io.gfile.exists(f"{folder}/variables/variables.index"):
        checkpoint = {saver.filename_tensor_name: f"{folder}/variables/variables".encode()}
        session.run(session.graph.get_operation_by_name(saver.restore_op_name), {**assets, **checkpoint})
    elif saver.restore_op_name and _has_variables(graph_def):
        console.warn(
            f"{folder} has no variables/variables.index, though its graph has variables: it looks half copied, and "
            "every request will fail. TF Serving loads it too, and never looks again. Copy a version under a name that "
            "is no number, then rename it."
        )
    if initialise := _init_operation(graph_def):
        session.run(session.graph.get_operation_by_name(initialise), assets)


def _has_variables(graph_def: MetaGraphDef) -> bool:
    return any(node.op in ("VarHandleOp", "VariableV2") for node in graph_def.graph_def.node)


def _asset_files(graph_def: MetaGraphDef) -> Sequence[AssetFileDef]:
    if graph_def.asset_file_def:
        return list(graph_def.asset_file_def)
    collected = graph_def.collection_def
    if "saved_model_assets" not in collected:
        return []
    return [AssetFileDef.FromString(one.value) for one in collected["saved_model_assets"].any_list.value]


def _init_operation(graph_def: MetaGraphDef) -> str:
    if INIT_OP in graph_def.signature_def:
        return str(graph_def.signature_def[INIT_OP].outputs[INIT_OP].name)
    for collection in ("saved_model_main_op", "legacy_init_op"):
        if collection in graph_def.collection_def:
            return str(graph_def.collection_def[collection].node_list.value[0])
    return ""
