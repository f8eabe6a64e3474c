"""Sentences on a layer's terms: what stands where what belongs, and what usually causes it."""

from collections.abc import Sequence

import numpy as np

from bnbench.audit.layer.conventions import Conventions, number
from bnbench.audit.layer.layouts import Trial
from bnbench.audit.layer.terms import Factor

Wrong = dict[str, tuple[Factor, Factor]]  # a term to the factor that it has, and the one that belongs there


def grouped(wrong: Wrong) -> str:
    """What stands where what belongs, as in "b = c = 0 where 1 belongs": terms with one factor stand together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, (mine, right) in wrong.items():
        groups.setdefault((str(mine), str(right)), []).append(name)
    return "; ".join(f"{' = '.join(names)} = {mine} where {right} belongs" for (mine, right), names in groups.items())


def scale_sentence(other: str, conventions: Conventions) -> str:
    """What s' is."""
    return f"with s' = {other} in the backward and s = {conventions.formula} in the forward"


def causes(wrong: Wrong, terms: dict[str, Factor], conventions: Conventions, other: str) -> str:
    """A sentence on what usually causes it, or ""."""
    texts = {name: str(factor) for name, (factor, _) in wrong.items()}
    batch = conventions.statistics == "batch"
    if other and batch:
        parts = [_of_scale(other, conventions)]
        one = f"({conventions.rows}-1)"
        if "c" in wrong and not wrong["c"][0].zero and (one in dict(wrong["c"][0].powers)) != (conventions.ddof == 1):
            where = ("the s-term", "the variance") if conventions.ddof == 0 else ("the variance", "the s-term")
            parts.append(f"{where[0]} divides by {one[1:-1]}, and {where[1]} by {conventions.rows}")
        return "; ".join(filter(None, parts))
    if not batch and {"b", "c"} & set(wrong):
        return "the forward uses statistics that are given, the backward is the one for the batch's own"
    if set(wrong) == {"b", "c"} and all(wrong[name][0].zero for name in wrong):
        return "μ and s are held constant: what flows through them is missing"
    if set(wrong) == {"b"} and wrong["b"][0].zero:
        return "the term through μ is missing"
    if set(wrong) == {"c"} and wrong["c"][0].zero:
        return "the term through s is missing"
    parts = []
    powers = {name: dict(factor.powers) for name, (factor, _) in wrong.items()}
    if texts.get("a") == "s/γ" and texts.get("b") == texts.get("c") == "0":
        return "dx is dout: neither γ nor 1/s is there, and nothing flows through μ and s"
    if any(p.get("sd", 0) == -p.get("s", 0) != 0 for name, p in powers.items() if name != "c"):
        return "eps is forgotten in the backward"
    if len(wrong) == 3 and all(p.get("γ") == -1 for p in powers.values()):
        parts.append("γ is missing from dx: dout is not multiplied by it")
    elif any(p.get("γ") == -1 for p in powers.values()):
        lacking = [name for name, p in powers.items() if p.get("γ") == -1]
        parts.append(f"{' and '.join(lacking)} lack{'s' * (len(lacking) == 1)} γ")
    if any(p.get("γ", 0) > 0 for p in powers.values()):
        parts.append("a stray γ: it is multiplied in twice")
    if any(p.get("s", 0) != 0 for p in powers.values()):
        n = max((float(p.get("s", 0)) for p in powers.values()), key=abs)
        if len(wrong) == 3 and all(
            f.constant == 1 and p == {"γ": -1, "s": 1}
            for (f, _), p in zip(wrong.values(), powers.values(), strict=True)
        ):
            return "neither γ nor 1/s is there"
        parts.append(
            "a power of s too few: the division by s is missing"
            if n == 1
            else "s multiplies where it is to divide"
            if n == 2
            else "a power of s is off"
        )
    if texts.get("a") == "0" and texts.get("b") in ("1-N",):
        return "N Σ dout stands where N dout belongs"
    if {name for name, text in texts.items() if text in ("1/N", "1/(N·H·W)", "1/N·H·W")} == {"b", "c"}:
        parts.append("means are taken of means: the sums are divided by N twice")
    elif texts.get("a") in ("1/N", "1/N·H·W") and set(wrong) == {"a"}:
        parts.append("the first term is divided by N too, which only the sums are")
    elif set(wrong) == {"a", "b", "c"} and len(set(texts.values())) == 1 and texts["a"] in ("1/N", "N"):
        parts.append("all of dx is off by N")
    elif any(text in ("N", "N·H·W") for name, text in texts.items() if name != "a"):
        parts.append("a sum stands where its mean belongs, as in a + b/N for (a + b)/N")
    if any("H·W" in p for p in powers.values()) or any(p.get("N", 0) and "N·H·W" in p for p in powers.values()):
        parts.append("N stands where N·H·W belongs: the mean runs over the pixels too")
    if "c" in wrong:
        factor, right = wrong["c"]
        if (not factor.powers and not right.powers and factor.constant == -right.constant) or str(
            factor
        ) == f"-{right}":
            parts.append("the sign of the s-term is reversed, as +0.5 for -0.5 in d(var+eps)^(-1/2)")
        elif conventions.ddof == 1 and str(factor) == "1":
            parts.append("the forward's variance divides by N-1, and the backward's by N")
        elif conventions.ddof == 0 and str(factor) == "N/(N-1)":
            parts.append("the backward's variance divides by N-1, and the forward's by N")
        elif not factor.powers and factor.constant in (2, 0.5, 4, 0.25):
            parts.append("the 2 of (x-μ)², or the 1/2 of the root, is lost or taken twice")
    rows = [f for f, _ in wrong.values() if dict(f.powers).get("N") == 1 and 0 < f.constant < 1 and not f.plus]
    if rows and abs(1 / rows[0].constant - round(1 / rows[0].constant)) < 1e-9:
        parts.append(f"N = {round(1 / rows[0].constant)} is built in")
    if "b" in wrong and not wrong["b"][0].powers and wrong["b"][0].constant == -1:
        parts.append("the sign of the term through μ is reversed")
    if "a" in wrong and wrong["a"][0].zero and texts.get("b") != "1-N":
        parts.append("dout itself is missing")
    if len(wrong) == 3 and all(str(f) == "-1" or str(f) == f"-{r}" for f, r in wrong.values()):
        return "the sign of all of dx is reversed"
    return "; ".join(dict.fromkeys(parts))


def _of_scale(other: str, conventions: Conventions) -> str:
    if other.startswith("sqrt(1/s"):
        return "the saved 1/s is taken for the variance"
    if other.startswith("sqrt(sqrt(") or other.startswith("sqrt(s"):
        return "the saved s is taken for the variance, or the root is taken twice"
    e = conventions.eps
    if other.startswith("Σ"):
        return "the variance stands where its root belongs"
    if " + " not in other:
        return "eps is forgotten in the backward" if e or conventions.eps_argument else ""
    mine = other.rsplit(" + ", 1)[1].rstrip(")")
    inside = other.endswith(")")
    place = "variance" if inside else "sd"
    if conventions.eps_argument and mine != "eps":
        return f"eps={mine} is built into the backward, while the forward is given it: right for that eps alone"
    if conventions.eps_place in ("variance", "sd") and place != conventions.eps_place:
        where = {"variance": "inside", "sd": "outside"}
        return f"eps is {where[conventions.eps_place]} the root in the forward, and {where[place]} in the backward"
    if mine == "eps":
        return "s is taken with another divisor or of another batch in the backward"
    return f"eps is {mine} in the backward and {number(e or 0.0)} in the forward"


def first_difference(
    name: str, mine: Sequence[np.ndarray], truth: Sequence[np.ndarray], tolerance: float, trials: Sequence[Trial]
) -> str:
    """The first entry that differs, with as many digits as show it."""
    for answer, right, trial in zip(mine, truth, trials, strict=True):
        if np.shape(answer) != np.shape(right):
            continue
        size = np.abs(right).max()
        far = ~(np.abs(answer - right) <= 10 * tolerance * size)
        if not far.any():
            far = ~(np.abs(answer - right) <= tolerance * np.abs(right))
        if far.any():
            return first_entry(name, answer, right, tuple(int(i) for i in np.argwhere(far)[0]), len(trial.x))
    return f"{name} differs"


def first_entry(name: str, answer: np.ndarray, right: np.ndarray, index: tuple[int, ...], rows: int) -> str:
    """One entry that differs, with as many digits as show it."""
    value, true, digits = float(answer[index]), float(right[index]), 6
    while f"{value:.{digits}g}" == f"{true:.{digits}g}" and digits < 17:
        digits += 1
    digits = min(digits + (digits > 6), 17)
    place = ", ".join(map(str, index))
    return f"first differing entry {name}[{place}] is {value:.{digits}g}, true {true:.{digits}g} (N={rows})"
