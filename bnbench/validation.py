"""The verdict on a computed gradient: form first, then each error against its tolerance.

A variant passes in two parts. The *derivation check* is made once for each setting on small float64 problems
on which every known mistake is far above rounding; the *numerical check* is made at every cell in its own size
and dtype. Some mistakes hide below rounding at a large cell (N for N - ddof moves 10⁻⁵ at N = 10⁵), so the first
catches what the second cannot see, and a variant that fails it is invalid everywhere.
"""

from __future__ import annotations

import itertools
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnbench import formula, notebook
from bnbench.problem import Batch, Gradients, Layer, Problem

if TYPE_CHECKING:  # its kernels are compiled code
    from bnbench.reference import Reference

PACKAGE, STANDARD_LIBRARY = Path(__file__).parent, sysconfig.get_path("stdlib")
TF32_UNIT = 2.0**-11  # of rounding: TF32 keeps 10 bits behind the leading one
MISSING = "missing"
IN_LISTS, OF_THE_HEAD = ("dG1", "dgamma", "dbeta"), ("ddelta", "alpha")  # parts of an answer
FLOAT32_OVER_FLOAT64 = 2.0**29  # their rounding units' ratio
FLOAT32_PRECISION = (
    "right to float32's precision only; compute in the arrays' own dtype throughout, constants and buffers included"
)
UNSUPPORTED = "unsupported"  # in place of an answer to a derivation problem
OWN_SIZES = "own sizes"  # in place of the conventions of one
MOST_OWN_WORK = 10**8  # N p1 p2
FEW_LINEAR, FEW_UNITS = 2, 3  # of a derivation problem, at most
MOST_ETA = 8.0  # of the head's output under losses that take its exponential


@dataclass(frozen=True)
class Verdict:
    """What validation says of one answer.

    Attributes:
        reason: why it is invalid, a sentence; "" for a valid answer.
        errors: name of a gradient (or loss) to its `error` (relative), `tolerance` (relative) and `ratio`, error
            over tolerance; empty where the form was already wrong. An infinite tolerance says that entries could not
            be judged; error and ratio are then those of the others.
    """

    reason: str
    errors: dict[str, dict[str, float]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """In a notebook: the verdict, and of every part its error beside its tolerance."""
        rows = [(name, one["error"], one["tolerance"], one["ratio"]) for name, one in self.errors.items()]
        heads = ("part", "relative error", "tolerance", "error / tolerance")
        caution = [self.caution] * bool(self.caution)
        return notebook.table(f"invalid: {self.reason}" if self.reason else "valid", heads, rows, caution)

    @property
    def valid(self) -> bool:
        """Whether the answer is right to rounding."""
        return not self.reason

    @property
    def blind(self) -> tuple[str, ...]:
        """The parts on which this verdict says little or nothing: rounding may be as large as they are."""
        return tuple(name for name, entry in self.errors.items() if not entry["tolerance"] < 1)

    @property
    def caution(self) -> str:
        """A caveat on a valid answer, a sentence; "" where all of it was judged."""
        unbounded = [name for name in self.blind if self.errors[name]["tolerance"] == np.inf]
        wide = [name for name in self.blind if name not in unbounded]
        said = [f"rounding may be as large as {', '.join(wide)} itself"] * bool(wide)
        said += [f"entries of {', '.join(unbounded)} cannot be judged: nothing bounds their rounding"] * bool(unbounded)
        return f"ill-conditioned: {'; '.join(said)}" if said else ""

    @property
    def max_error_ratio(self) -> float | None:
        """The largest error over its tolerance; None where nothing could be compared."""
        return max((entry["ratio"] for entry in self.errors.values()), default=None)


def raised_text(error: BaseException, problem: Problem, where: str = "") -> str:
    """What a user's code raised, where, and on which of its lines; for a γ that is None, what to do."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, TypeError | AttributeError) and problem.normalization == "none" and "None" in text:
        kind = type(error).__name__
        return f"{kind}{where}: γ is None here because normalization='none' was tried too; add --normalization batch"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _of_a_library(frame.filename)]
    line = own and own[-1].line and f" in line {own[-1].lineno} of {Path(own[-1].filename).name}: {own[-1].line}"
    return text + where + (line or "")


def _of_a_library(file: str) -> bool:
    """Whether a file is bnbench's, Python's own or an installed package's: its lines tell a user nothing."""
    parts = Path(file).parts
    return file.startswith(("<", str(PACKAGE))) or "site-packages" in parts or file.startswith(STANDARD_LIBRARY)


def parts_of(answer: Any) -> dict[str, Any] | str:
    """An answer reduced to what can be sent to another process: name to array, None or the name of a type.

    A string stands for an answer that has no parts at all.
    """
    if not isinstance(answer, Gradients):
        if isinstance(answer, tuple | list):
            return f"{len(answer)} values"
        if all(not hasattr(answer, name) for name in Gradients._fields):
            return "None" if answer is None else f"a {type(answer).__name__}"
    parts: dict[str, Any] = {}
    for name in Gradients._fields + OF_THE_HEAD:
        value = getattr(answer, name, MISSING if name in Gradients._fields else None)
        if isinstance(value, list | tuple) and name in IN_LISTS and value and not np.isscalar(value[0]):
            parts |= {f"{name}[{place}]": _part(one) for place, one in enumerate(value)}
        elif name in Gradients._fields or value is not None:
            parts[name] = _part(value)
    return parts


def _part(value: Any) -> Any:
    """A part as an array, None, or the name of what it is."""
    if isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "fiubc":
        return np.asarray(value)
    if isinstance(value, np.ndarray | np.generic):
        return f"an array of dtype {value.dtype}"
    if value is None or (isinstance(value, str) and value == MISSING):
        return value
    return f"a {type(value).__name__}"


def judge(answer: dict[str, Any] | str, reference: Reference, problem: Problem) -> Verdict:
    """The verdict on an answer (as `parts_of` gives it) to a problem with this reference.

    Error and tolerance are ‖g - g*‖₂ and ‖allowed‖₂ over ‖g*‖₂; where that is small against the terms that
    g* is a sum of, tolerance and error are both large, and their ratio keeps its meaning. Entries for which no error
    is too large are left out of all three.
    """
    if isinstance(answer, str):
        return Verdict(f"returned {answer}; allowed are loss, dG1, dgamma, dbeta, dG2")
    high, low, allowed = (part.parts() for part in (reference.high, reference.low, reference.allowed))
    if reason := _in_lists(answer, high):
        return Verdict(reason)
    for name, expected in high.items():
        value = answer.get(name, MISSING)
        reason = malformed(name, value, expected, problem) or _infinite(name, value, allowed[name])
        if reason:
            return Verdict(reason)
    errors = {}
    for name, expected in high.items():
        if expected is not None:
            errors[name] = _compare(answer[name], *map(np.asarray, (expected, low[name], allowed[name])))
    worst = max(errors, key=lambda name: errors[name]["ratio"])
    if errors[worst]["ratio"] < 1:
        return Verdict("", errors)
    entry = errors[worst]
    reason = f"{worst} is off by {entry['error']:.2g} of its size, {entry['ratio']:.2g} times the tolerance"
    if problem.dtype == "float64" and entry["ratio"] < FLOAT32_OVER_FLOAT64:
        reason += "; that is within float32's rounding: is something computed in float32?"
    return Verdict(reason, errors)


def _compare(value: Any, high: np.ndarray, low: np.ndarray, allowed: np.ndarray) -> dict[str, float]:
    """Error and tolerance over the size, and their ratio, of the entries whose allowed error is finite."""
    judged = np.isfinite(allowed)
    high, low, allowed = high[judged], low[judged], allowed[judged]
    if not high.size:
        return {"error": 0.0, "tolerance": np.inf, "ratio": 0.0}
    with np.errstate(over="ignore"):
        off = (value.astype(np.float64)[judged] - high) - low
    unit = 2.0 ** np.clip(np.frexp(max(np.abs(high).max(), allowed.max()))[1], -1000, 1000)  # no norm overflows
    size, error, most = (_norm(part / unit) for part in (high, off, allowed))
    scale = size if size > 0 else max(most, error)
    tolerance = most / scale if judged.all() else np.inf
    return {"error": error / scale, "tolerance": tolerance, "ratio": error / most}


def _norm(values: np.ndarray) -> float:
    """‖values‖₂, also where the squares underflow."""
    largest = float(np.max(np.abs(values)))
    if not 0 < largest < np.inf:
        return largest
    return largest * float(np.linalg.norm(values / largest))


def _in_lists(answer: dict[str, Any], expected: dict[str, Any]) -> str:
    """What is wrong with how an answer is divided into layers, or ""."""
    for name in IN_LISTS:
        told, meant = ([one for one in parts if one.split("[")[0] == name] for parts in (answer, expected))
        if told != meant:
            kinds = (
                f"a list of {len(each)}" if each != [name] else "None" if parts[name] is None else "an array"
                for each, parts in ((told, answer), (meant, expected))
            )  # fmt: skip
            return "{} is {}; allowed is {}".format(name, *kinds)
    return ""


def malformed(name: str, value: Any, expected: Any, problem: Problem) -> str:
    """What is wrong with the form of a part of an answer (as `parts_of` gives it) where `expected` belongs; or ""."""
    if isinstance(value, str):
        return (
            f"{name} is missing" if value == MISSING else f"{name} is {value}; allowed is an array of {problem.dtype}"
        )
    if expected is None:
        return "" if value is None else f'{name} is an array; with normalization="none" allowed is None'
    if value is None:
        return f"{name} is None; allowed is an array of {problem.dtype}"
    shape = np.shape(expected)
    if value.shape != shape:
        return f"{name} has shape {value.shape}; allowed is {shape}"
    if value.dtype.kind != "f":
        return f"{name} is of dtype {value.dtype}; allowed is {problem.dtype}"
    if name != "loss" and value.dtype != problem.dtype:
        return f"{name} is of dtype {value.dtype}; allowed is {problem.dtype}"
    return ""


def _infinite(name: str, value: Any, allowed: Any) -> str:
    wrong = np.count_nonzero(~np.isfinite(value) & np.isfinite(allowed)) if value is not None else 0
    return f"{name} is not finite ({wrong} of {value.size} entries are NaN or infinite)" if wrong else ""


def derivation_problems(activation: str, normalization: str, **conventions: Any) -> list[tuple[Batch, Problem]]:
    """Small float64 problems on which no known mistake can hide, nor code that only works on ordinary numbers.

    N - ddof differs from N by 9 to 50 %, s² from its parts and from s by far more, mean/sd reaches 50, and |γ| stays
    away from 1. Beyond that, what most data has and a formula may lean on is missing somewhere: see `DERIVATION_KINDS`.
    Conventions may be given, as to `derivation_problem`.
    """
    return [derivation_problem(place, activation, normalization, **conventions) for place in range(DERIVATIONS)]


def derivation_problem(
    place: int,
    activation: str,
    normalization: str,
    ddof: int | None = None,
    eps: float | None = None,
    dtype: str = "float64",
    rows: int = 1,
    **network: Any,
) -> tuple[Batch, Problem]:
    """One of the derivation problems, with the ddof and eps of its kind or with those that are given.

    It has at least `rows` rows. `network` are loss, depth, linear and units. With another eps, every Γ is scaled so
    that the variances keep their size relative to it: no eps is too small to be seen.
    """
    (N, p1, p2), own_ddof, own_eps, offset, special = DERIVATION_KINDS[place]
    ddof, eps = own_ddof if ddof is None else ddof, own_eps if eps is None else eps
    least = ddof + 1 if eps else ddof + 3  # of two rows with eps = 0 every gradient of Γ1 is 0
    N = max(N, least, rows, network.get("units", 0))
    problem = Problem(N, p1, p2, activation, normalization, ddof, eps, dtype, seed=2000 + place, **network)
    batch, real = problem.sample(), np.dtype(dtype).type
    shift = np.linspace(-1, 1, p1) * (offset if normalization == "batch" else 0.1)
    batch = batch._replace(X=batch.X + shift.astype(dtype), G2=batch.G2 + np.sign(batch.G2))
    if normalization != "none":
        scale = real((eps / own_eps) ** 0.5 if own_eps and eps else 1)
        theta = batch.theta
        layers = [
            Layer(scale * G, gamma * np.linspace(1.5, 3.0, p2).astype(dtype), beta) for G, gamma, beta in theta.layers
        ]
        batch = batch.with_theta(theta._replace(layers=tuple(layers)))
        given = [(scale * mean, scale * scale * var) for mean, var in batch.data.statistics]
        batch = batch._replace(statistics=(given if problem.depth > 1 else given[0]) if given else None)
    if special:
        special(batch, problem)
    return _held(batch, problem), problem


def _held(batch: Batch, problem: Problem) -> Batch:
    """The batch with a smaller Γ2 where the loss takes the exponential of a large η."""
    if problem.loss == "squared":
        return batch
    with np.errstate(all="ignore"):
        eta = formula.network(batch.theta, batch.data._replace(unit=None), problem.spec).head.eta
    return batch._replace(G2=batch.G2 * batch.G2.dtype.type(MOST_ETA / max(MOST_ETA, np.abs(eta).max())))


def conventions_to_draw(problem: Problem, held: Sequence[str]) -> Iterator[dict]:
    """The conventions to try for a derivation problem of a cell, the likeliest to be supported last.

    Each of ddof and eps is that of the problem's kind or the cell's; only the cell's where it was asked for by name. In
    double precision, or in the cell's for a variant without it. Of linear terms and units there are few.
    """
    network = {"loss": problem.loss, "depth": problem.depth}
    network |= {"linear": min(problem.linear, FEW_LINEAR), "units": min(problem.units, FEW_UNITS)}
    own = [
        (None, getattr(problem, name)) if name not in held else (getattr(problem, name),) for name in ("ddof", "eps")
    ]
    for dtype in dict.fromkeys(("float64", problem.dtype)):
        for ddof, eps in itertools.product(*own):
            yield {"ddof": ddof, "eps": eps, "dtype": dtype, "rows": problem.ddof + 1} | network


def own_sizes(problem: Problem) -> tuple[Batch, Problem] | None:
    """A derivation problem of the cell's sizes, for a variant that takes none smaller; None where it would be slow."""
    if problem.work > MOST_OWN_WORK:
        return None
    drawn = replace(problem, seed=problem.seed + 2)
    batch, real = drawn.sample(), np.dtype(problem.dtype).type
    shift = np.linspace(-1, 1, problem.p1).astype(problem.dtype)
    batch = batch._replace(X=batch.X + shift)
    if problem.normalization == "batch" and problem.eps:
        theta = batch.theta
        layers = (layer._replace(G=layer.G * real(problem.eps**0.5)) for layer in theta.layers)
        batch = batch.with_theta(theta._replace(layers=tuple(layers)))
    return _held(batch, drawn), drawn


def _ties_and_zeros(batch: Batch, problem: Problem) -> None:
    """Rows that agree, a constant input, nodes with the same weights in the first layer, and a 0 in every array."""
    X, y, G2 = batch.X, batch.y, batch.G2
    G1, gamma, beta = batch.theta.layers[0]
    X[4], X[:, 3] = X[1], 1.5
    X[2, 0] = G1[2, 3] = G2[0] = 0.0
    y[0] = 0.0 if problem.units == 0 else y[0]  # a unit of that row alone has no effect under some losses
    y[3] = y[2]
    G1[:, 4] = G1[:, 1]
    if gamma is not None:
        gamma[2] = beta[3] = 0.0


def _scales(batch: Batch, problem: Problem) -> None:
    """Hidden nodes of very different spread, and an outcome far from unit size."""
    for G, *_ in batch.theta.layers:
        G[...] *= np.logspace(-4, 2, G.shape[1])
    if problem.loss == "squared":
        batch.y[...] *= 1000.0


def _saturation(batch: Batch, problem: Problem) -> None:
    """Nodes of the last layer far out in the tails of every activation, on both sides, beyond the range of exp."""
    G, gamma, _ = batch.theta.layers[-1]
    if gamma is None:
        G[:, [0, 5]] *= 1000.0
    else:
        gamma[[0, 5]] *= 1000.0


# (N, p1, p2), ddof, eps, offset of X, what is done to the batch. About half have ddof = 0, for those who know no other.
DERIVATION_KINDS = (
    ((9, 3, 5), 1, 0.7, 0.0, None),
    ((33, 6, 2), 3, 2.0, 50.0, None),
    ((2, 7, 3), 1, 0.3, 5.0, None),  # fewer rows than inputs, and than nodes
    ((5, 5, 5), 0, 0.5, 1.0, _ties_and_zeros),  # square: nobody can tell rows from columns by their number
    ((9, 3, 5), 0, 0.0, 0.0, _scales),  # the sizes of the first, for what is kept by size; an eps that is false
    ((1031, 1, 1), 0, 0.4, 1.0, None),  # one input and one node; more rows than a block has, a prime number of them
    ((21, 17, 19), 0, 0.1, 0.0, _saturation),  # more columns than a vector has, and no multiple of them
)
DERIVATIONS = len(DERIVATION_KINDS)
