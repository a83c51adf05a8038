"""What is told of the processors."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from pipeline import processors

TOLD = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse2 avx2 avx512f {flags}

processor\t: 1
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse2 avx2 avx512f {flags}
"""


@pytest.mark.parametrize(
    ("flags", "own"), [("avx512_bf16 vaes", True), ("amx_bf16 amx_tile", True), ("avx512_vnni", False), ("", False)]
)
def test_bfloat16_is_multiplied_by_processors_that_say_so(
    flags: str, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(TOLD.format(flags=flags))
    monkeypatch.setattr(processors, "TOLD_BY_LINUX", file)
    assert processors.multiplies_bfloat16() is own
    assert processors.processor() == "AMD EPYC 9R14"


def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "TOLD_BY_LINUX", tmp_path / "cpuinfo")
    assert processors.multiplies_bfloat16() is False
    assert processors.processor() == platform.processor()
