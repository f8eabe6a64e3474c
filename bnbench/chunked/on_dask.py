"""Row-chunked `dask.array`s: an engine that asks the phases where the chunks are, by whichever scheduler is in force.

A step's graph has a task a chunk, which takes the phase and answers with `Sums`, and those that merge eight of them.
The phase, with the parameters, is one node of it: a worker gets it once. Chunks that were persisted stay where they
are; others are loaded, asked and dropped. Nothing is kept on a worker, so that one that dies costs its chunks' tasks.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping
from typing import Any

import dask
import dask.array as da
import numpy as np

from bnbench import arguments, arrays
from bnbench.chunked.network import Chunked
from bnbench.chunked.phases import Phase
from bnbench.chunked.sums import BRANCHES, Sums, merged
from bnbench.problem import Gradients, Statistics


def rows_of(name: str, value: Any, chunks: tuple[int, ...] | None = None) -> Any:
    """A dask array in chunks of whole rows, those of X where they are given; of a data frame or an array in memory too.

    Raises:
        ValueError: chunks of unknown sizes, other dimensions or another number of rows than X.
    """
    if hasattr(value, "to_dask_array"):
        value = value.to_dask_array(lengths=True)
    axes = 1 if name in ("y", "units") else 2
    if not isinstance(value, da.Array):
        value = np.asarray(value) if name == "units" else arrays.read(name, value)
        value = da.from_array(value, chunks=-1)
    if value.ndim != axes:
        allowed = {"X": "N, p1", "W": "N, q"}.get(name, "N,")
        raise ValueError(f"{name} has shape {value.shape}; allowed is ({allowed})")
    if any(np.isnan(size) for size in value.chunks[0]):
        raise ValueError(f"{name} has chunks of unknown sizes; allowed are known ones: {name}.compute_chunk_sizes()")
    if chunks is not None and sum(chunks) != value.shape[0]:
        raise ValueError(f"{name} has {value.shape[0]} rows; with X of {sum(chunks)} allowed are as many")
    if not value.size:
        raise ValueError(f"{name} has shape {value.shape}; allowed is at least one row and column")
    of_rows = {0: chunks or value.chunks[0]}
    return value.rechunk(of_rows if axes == 1 else of_rows | {1: -1})


def answer(phase: Phase, *chunk: Any) -> Sums:
    """What a chunk answers; a task."""
    return phase(chunk)


class OnDask:
    """The engine.

    Attributes:
        blocks: of every chunk its X, y, W and units as delayed arrays, or None.
        labels: of the units, sorted; None without.
    """

    def __init__(self, X: Any, y: Any, W: Any, units: Any) -> None:
        parts = [part for part in (X, y, W) if part is not None]
        (held,) = dask.optimize(parts) if parts else ([],)
        rest = iter(held)
        columns = [None if part is None else next(rest).to_delayed().ravel().tolist() for part in (X, y, W)]
        self.labels, codes = numbered(units)
        sizes = X.chunks[0]
        columns = [[None] * len(sizes) if column is None else column for column in (*columns, codes)]
        self.blocks = [block for block, rows in zip(zip(*columns, strict=True), sizes, strict=True) if rows]

    def __call__(self, phase: Phase) -> Sums:
        """The sums over all rows."""
        sent = dask.delayed(phase, name=f"phase-{uuid.uuid4().hex}", traverse=False)
        ask, join = (dask.delayed(function, pure=False, traverse=False) for function in (answer, merged))
        level = [ask(sent, *block) for block in self.blocks]
        while len(level) > 1:
            level = [join(level[start : start + BRANCHES]) for start in range(0, len(level), BRANCHES)]
        (found,) = dask.compute(*level)
        return found


def labels_in(units: Any) -> list:
    """The labels in a chunk, sorted; a task."""
    return arguments.labels_of(units, len(units))[0] or []


def numbers_of(units: Any, labels: list) -> np.ndarray:
    """The place of every row's label among all; a task."""
    own, codes = arguments.labels_of(units, len(units))
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[label] for label in own or []], np.intp)[codes]


def numbered(units: Any) -> tuple[list | None, Any]:
    """The sorted labels of all units, and for every chunk the numbers of its rows, which are computed once and held."""
    if units is None:
        return None, None
    blocks = [block if rows else None for block, rows in zip(units.to_delayed(), units.chunks[0], strict=True)]
    found = dask.compute(*(dask.delayed(labels_in)(block) for block in blocks if block is not None))
    try:
        labels = sorted(set().union(*found))
    except TypeError as error:
        raise ValueError(f"units cannot be sorted ({error}); allowed are hashable labels of one kind") from None
    sent = dask.delayed(labels, traverse=False)
    numbers = [None if block is None else dask.delayed(numbers_of)(block, sent) for block in blocks]
    return labels, list(dask.persist(*numbers))


def prepare(
    X: Any, y: Any, p2: Any, *, W: Any = None, units: Any = None, dtype: Any = None, **keywords: Any
) -> Chunked:
    """As `bnbench.prepare`, of row-chunked dask arrays; X says where rows are cut."""
    X = rows_of("X", X)
    rows = X.chunks[0]
    y = rows_of("y", y, rows)
    W, units = (None if part is None else rows_of(name, part, rows) for name, part in (("W", W), ("units", units)))
    held = arguments.common_dtype({"X": X, "y": y}, dtype)
    linear = 0 if W is None else W.shape[1]
    engine = OnDask(X, y, W, units)
    return Chunked(engine, X.shape[1], p2, linear=linear, labels=engine.labels, dtype=held, **keywords)


def gradients(
    X: Any, y: Any, G1: Any, gamma: Any, beta: Any, G2: Any, *, delta: Any = None, inputs: bool = False, **keywords: Any
) -> Gradients:
    """As `bnbench.gradients`, likewise."""
    p2 = [arguments.width(G) for G in G1] if arguments.is_deep(G1) else arguments.width(G1)
    prepared = prepare(X, y, p2, regime="fresh", **keywords)
    return prepared.gradients(G1, gamma, beta, G2, delta, inputs=inputs)


def population(X: Any, G1: Any, gamma: Any, beta: Any, **conventions: Any) -> list[Statistics]:
    """As `bnbench.population`, likewise: a phase a layer, in float64."""
    read, p2 = arguments.read_all(G1=G1, gamma=gamma, beta=beta)
    X = rows_of("X", X)
    dtype = arguments.common_dtype({"X": X, **read})
    wide = OnDask(X.astype(np.float64), None, None, None)
    prepared = Chunked(wide, X.shape[1], p2, regime="fresh", **conventions)

    def widened(part: Any) -> Any:
        if isinstance(part, list | tuple):
            return [widened(one) for one in part]
        return None if part is None else np.asarray(part, np.float64)

    found = prepared.statistics(*map(widened, (G1, gamma, beta)))
    return [Statistics(np.asarray(mean, dtype), np.asarray(var, dtype), count) for mean, var, count in found]


def predict(
    X: Any, G1: Any, gamma: Any, beta: Any, G2: Any,
    *, statistics: Any, W: Any, delta: Any, units: Any, alpha: Any, activation: str, normalization: str, loss: str,
    ddof: int, eps: float,
) -> Any:  # fmt: skip
    """As `bnbench.predict`, likewise: a dask array (N,) in X's chunks, computed when it is asked for.

    Statistics of the rows of X, where they are taken, and the labels of units, where alpha is an array, are found here.
    """
    from bnbench.prediction import predict as of_rows

    X = rows_of("X", X)
    rows = X.chunks[0]
    W, units = (None if part is None else rows_of(name, part, rows) for name, part in (("W", W), ("units", units)))
    if statistics is None and normalization == "batch":
        statistics = population(X, G1, gamma, beta, activation=activation, ddof=ddof, eps=eps)
        normalization = "frozen"
        if not arguments.is_deep(G1):
            (statistics,) = statistics
    if units is not None and alpha is not None and not isinstance(alpha, Mapping):
        labels, _ = numbered(units)
        effects = arrays.read("alpha", alpha)
        if effects.shape != (len(labels or []),):
            raise ValueError(
                f"alpha has shape {effects.shape}; units has {len(labels or [])} labels, allowed are as many"
            )
        alpha = dict(zip(labels or [], effects.tolist(), strict=True))
    call = functools.partial(  # ddof is of statistics, which are known
        of_rows, activation=activation, normalization=normalization, loss=loss, ddof=0, eps=eps
    )
    given = dask.delayed((G1, gamma, beta, G2, statistics, delta, alpha), traverse=False)

    def of_chunk(X: Any, W: Any, units: Any, given: tuple) -> np.ndarray:
        *parameters, statistics, delta, alpha = given
        return call(X, *parameters, statistics=statistics, W=W, delta=delta, units=units, alpha=alpha)

    blocks = [part.to_delayed().ravel().tolist() if part is not None else [None] * len(rows) for part in (X, W, units)]
    dtype = arguments.common_dtype({"X": X, **arguments.read_all(G1=G1)[0]})
    ask = dask.delayed(of_chunk, pure=False)
    parts = [
        da.from_delayed(ask(*block, given), (size,), dtype)
        for block, size in zip(zip(*blocks, strict=True), rows, strict=True)
        if size
    ]
    return da.concatenate(parts)
