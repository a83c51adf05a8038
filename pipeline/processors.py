"""What this machine's processors are and can do, as the system tells."""

from __future__ import annotations

import platform
from pathlib import Path

TOLD_BY_LINUX = Path("/proc/cpuinfo")
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""Flags of processors that multiply bfloat16 by themselves."""


def processor() -> str:
    """The processor's name as Linux gives it, else as Python does."""
    names = _values("model name")
    return names[0] if names else platform.processor()


def multiplies_bfloat16() -> bool:
    """Whether the processor does it by itself (AVX512-BF16, AMX), as Linux tells: then it trains so much the faster."""
    flags = _values("flags")
    return bool(flags) and not BFLOAT16.isdisjoint(flags[0].split())


def _values(key: str) -> list[str]:
    """What Linux tells of each processor; nothing on other systems."""
    try:
        lines = TOLD_BY_LINUX.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key]
