"""How wide the vectors of the processor at hand are, and how many registers hold them.

Asked of llvmlite, for the processor that Numba compiles for: NUMBA_CPU_NAME, NUMBA_CPU_FEATURES and NUMBA_ENABLE_AVX
count here too. BNBENCH_VECTOR_BYTES overrides, with a width that the processor has.
"""

import functools
import os
import platform
from typing import NamedTuple

SWITCH = "BNBENCH_VECTOR_BYTES"
WIDTHS = (16, 32, 64)


class SettingError(ValueError):
    """An environment variable says what cannot be."""


class Vectors(NamedTuple):
    """The vectors that tiles of products are made of.

    Attributes:
        register_bytes: of the widest.
        bytes: what columns are padded to, at most 32: of wider ones, few columns would be padding above all.
        wide: how many of these a register holds, 1 or 2.
        panel: how many of these a panel has.
        sums: registers of a tile that hold sums, at most.
        node_rows: rows of a tile where hidden nodes are shared out.
    """

    register_bytes: int
    bytes: int
    wide: int
    panel: int
    sums: int
    node_rows: int


@functools.cache
def vectors() -> Vectors:
    """Those of this process. Raises `SettingError`."""
    asked, widest = os.environ.get(SWITCH, ""), widest_bytes()
    allowed = [str(width) for width in WIDTHS if width <= widest]
    if asked and asked not in allowed:
        raise SettingError(
            f"{SWITCH} is {asked!r}; allowed are the widths in bytes of this processor's vectors: {', '.join(allowed)}"
        )
    width = int(asked or widest)
    many = width == 64 or platform.machine().lower() in ("arm64", "aarch64")  # 32 registers, or else 16
    each = min(width, 32)
    return Vectors(width, each, width // each, 4 if many else 3, 24 if many else 12, 4 * width // each)


def widest_bytes() -> int:
    """The bytes of the widest vectors that Numba compiles for."""
    from llvmlite import binding

    told = os.environ.get("NUMBA_CPU_FEATURES")
    if told is None and os.environ.get("NUMBA_CPU_NAME", "").lower() == "generic":
        told = ""
    if told is None:
        try:
            has = {name for name, there in binding.get_host_cpu_features().items() if there}
        except RuntimeError:  # LLVM does not know
            has = set()
        if os.environ.get("NUMBA_ENABLE_AVX") == "0":
            has = set()
    else:
        has = {name[1:] for name in told.split(",") if name.startswith("+")}
    return 64 if {"avx512f", "avx512vl"} <= has else 32 if "avx" in has else 16
