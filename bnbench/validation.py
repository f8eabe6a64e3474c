"""The verdict on a computed gradient: form first, then each error against its tolerance.

A variant passes in two parts. The *derivation check* is made once for each setting on small float64 problems
on which every known mistake is far above rounding; the *numerical check* is made at every cell in its own size
and dtype. Some mistakes hide below rounding at a large cell (N for N - ddof moves 10⁻⁵ at N = 10⁵), so the first
catches what the second cannot see, and a variant that fails it is invalid everywhere.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnbench.problem import Batch, Gradients, Problem
from bnbench.reference import Reference

TF32_UNIT = 2.0**-11  # of rounding: TF32 keeps 10 bits behind the leading one
MISSING = "missing"
DERIVATION_SIZES = (  # N, p1, p2, ddof, eps, offset of X
    (9, 3, 5, 1, 0.7, 0.0),
    (4, 2, 3, 1, 0.3, 5.0),
    (33, 6, 2, 3, 2.0, 50.0),
    (8, 3, 4, 0, 0.5, 1.0),
)
DERIVATIONS = len(DERIVATION_SIZES)
UNSUPPORTED = "unsupported"  # in place of an answer to a derivation problem


@dataclass(frozen=True)
class Verdict:
    """What validation says of one answer.

    Attributes:
        reason: why it is invalid, a sentence; "" for a valid answer.
        errors: name of a gradient (or loss) to its `error` (relative), `tolerance` (relative) and `ratio`, error
            over tolerance; empty where the form was already wrong.
    """

    reason: str
    errors: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether the answer is right to rounding."""
        return not self.reason

    @property
    def max_error_ratio(self) -> float | None:
        """The largest error over its tolerance; None where nothing could be compared."""
        return max((entry["ratio"] for entry in self.errors.values()), default=None)


def plain(answer: Any) -> dict[str, Any] | str:
    """An answer reduced to what can be sent to another process: name to array, None or a type's name.

    A string stands for an answer that has no parts at all.
    """
    if not isinstance(answer, Gradients):
        if isinstance(answer, tuple | list):
            return f"{len(answer)} values"
        if all(not hasattr(answer, name) for name in Gradients._fields):
            return "None" if answer is None else f"a {type(answer).__name__}"
    parts = {}
    for name in Gradients._fields:
        value = getattr(answer, name, MISSING)
        if isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "fiubc":
            value = np.asarray(value)
        elif value is not None and not (isinstance(value, str) and value == MISSING):
            value = f"a {type(value).__name__}"
        parts[name] = value
    return parts


def judge(answer: dict[str, Any] | str, reference: Reference, problem: Problem) -> Verdict:
    """The verdict on an answer (as `plain` gives it) to a problem with this reference.

    Error and tolerance are ‖g - g*‖₂ and ‖allowed‖₂ over ‖g*‖₂; where that is small against the terms that
    g* is a sum of, tolerance and error are both large, and their ratio keeps its meaning.
    """
    if isinstance(answer, str):
        return Verdict(f"returned {answer}; allowed are loss, dG1, dgamma, dbeta, dG2")
    for name, value in answer.items():
        reason = _malformed(name, value, getattr(reference.high, name), problem)
        if reason:
            return Verdict(reason)
    errors = {}
    for name, value in answer.items():
        if value is None:
            continue
        high, low = getattr(reference.high, name), getattr(reference.low, name)
        size = _norm(high)
        error = _norm((value.astype(np.float64) - high) - low)
        allowed = _norm(getattr(reference.allowed, name))
        scale = size if size > 0 else max(allowed, error)
        errors[name] = {"error": error / scale, "tolerance": allowed / scale, "ratio": error / allowed}
    worst = max(errors, key=lambda name: errors[name]["ratio"])
    if errors[worst]["ratio"] < 1:
        return Verdict("", errors)
    found = errors[worst]
    return Verdict(
        f"{worst} is off by {found['error']:.2g} of its size, {found['ratio']:.2g} times the tolerance",
        errors,
    )


def _norm(values) -> float:
    """‖values‖₂, also where the squares underflow."""
    largest = float(np.max(np.abs(values)))
    if not 0 < largest < np.inf:
        return largest
    return largest * float(np.linalg.norm(values / largest))


def _malformed(name, value, expected, problem):
    if isinstance(value, str):
        return f"{name} is missing" if value == MISSING else f"{name} is {value}; allowed is an array"
    if expected is None:
        return "" if value is None else f'{name} is an array; with normalization="none" allowed is None'
    if value is None:
        return f"{name} is None; allowed is an array"
    shape = np.shape(expected)
    if value.shape != shape:
        return f"{name} has shape {value.shape}; allowed is {shape}"
    if value.dtype.kind != "f":
        return f"{name} is of dtype {value.dtype}; allowed is {problem.dtype}"
    if name != "loss" and value.dtype != problem.dtype:
        return f"{name} is of dtype {value.dtype}; allowed is {problem.dtype}"
    wrong = np.count_nonzero(~np.isfinite(value))
    if wrong:
        return f"{name} is not finite ({wrong} of {value.size} entries are NaN or infinite)"
    return ""


def derivation_problems(activation: str, normalization: str) -> list[tuple[Batch, Problem]]:
    """Small float64 problems on which no known mistake can hide: few rows, ddof = 1, large eps, large offsets.

    N - ddof differs from N by 11 to 25 %, s² from its parts and from s by far more, mean/sd reaches 50, γ stays
    away from 1, and p1 differs from p2.
    """
    problems = []
    for seed, (N, p1, p2, ddof, eps, offset) in enumerate(DERIVATION_SIZES):
        problem = Problem(N, p1, p2, activation, normalization, ddof, eps, seed=1000 + seed)
        batch = problem.sample()
        shift = np.linspace(-1, 1, p1) * (offset if normalization == "batch" else 0.1)
        batch = batch._replace(X=batch.X + shift, G2=batch.G2 + np.sign(batch.G2))
        if normalization == "batch":
            batch = batch._replace(gamma=batch.gamma * np.linspace(1.5, 3.0, p2))
        problems.append((batch, problem))
    return problems
