"""Bytes over gRPC that are no message."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from tests.serving.running import SECONDS, config_of, running

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_bytes_that_are_no_message_are_refused_and_leave_nothing_behind(serving_models: Path) -> None:
    """grpcio's own way would leave 19 kB each."""
    count = 2000
    with running(config_of({"scale": serving_models / "scale"})) as server:
        call = server.channel.unary_unary(PREDICT, bytes, bytes)

        def refused(times: int) -> None:
            for _ in range(times):
                with pytest.raises(grpc.RpcError) as caught:
                    call(b"\xff\xff\xff", timeout=SECONDS)
                assert caught.value.code() is grpc.StatusCode.INTERNAL
                assert caught.value.details() == "Exception deserializing request!"

        refused(200)
        before = resident()
        refused(count)
        assert resident() - before < count * 5000
        assert server.predict("scale", x=[2.0])["y"].tolist() == [20.0]
