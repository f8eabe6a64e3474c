"""Chunks of rows as a list of arrays: the plainest engine, one chunk after the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnbench import arguments, arrays
from bnbench.chunked.network import Chunked
from bnbench.chunked.phases import Phase
from bnbench.chunked.sums import Sums, merge
from bnbench.problem import Gradients


class InTurn:
    """An engine: a phase is asked of a list of chunks, one after the other.

    Attributes:
        chunks: (X, y, W, unit) each; W and unit may be None.
        labels: of the units, sorted; None without.
    """

    def __init__(self, chunks: Sequence[tuple]) -> None:
        """Take chunks (X, y[, W[, units]]) as they are; the labels in units get numbers."""
        if not chunks:
            raise ValueError("there are no chunks; allowed is a list of (X, y), (X, y, W) or (X, y, W, units)")
        held = [(*chunk, None, None)[:4] for chunk in chunks]
        units = [chunk[3] for chunk in held]
        self.labels = None
        numbers: list[Any] = [None] * len(held)
        if any(part is not None for part in units):
            rows = [0, *np.cumsum([len(chunk[0]) for chunk in held])]
            flat = [label for part in units for label in (part.tolist() if hasattr(part, "tolist") else part)]
            self.labels, codes = arguments.labels_of(flat, int(rows[-1]))
            numbers = [codes[first:end] for first, end in itertools.pairwise(rows)]
        self.chunks = [(*chunk[:3], unit) for chunk, unit in zip(held, numbers, strict=True) if len(chunk[0])]

    def __call__(self, phase: Phase) -> Sums:
        """The sums over all rows."""
        return merge(map(phase, self.chunks))


def prepare(chunks: Sequence[tuple], p2: Any, *, regime: str = "fixed", **keywords: Any) -> Chunked:
    """As `bnbench.prepare`, of chunks (X, y[, W[, units]]): to the bit what it gives of the same chunks on Dask."""
    engine = InTurn(chunks)
    X, y, W, _ = engine.chunks[0]
    read = {"X": arrays.read("X", X), "y": arrays.read("y", y)}
    dtype = arguments.common_dtype(read, keywords.pop("dtype", None))
    linear = 0 if W is None else np.shape(W)[1]
    return Chunked(
        engine, read["X"].shape[1], p2, linear=linear, labels=engine.labels, dtype=dtype, regime=regime, **keywords
    )


def gradients(
    chunks: Sequence[tuple], G1: Any, gamma: Any, beta: Any, G2: Any, *, delta: Any = None, **keywords: Any
) -> Gradients:
    """As `bnbench.gradients`, likewise."""
    p2 = [arguments.width(G) for G in G1] if arguments.is_deep(G1) else arguments.width(G1)
    return prepare(chunks, p2, regime="fresh", **keywords).gradients(G1, gamma, beta, G2, delta)
