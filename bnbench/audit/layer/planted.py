"""Can a check fail? A user's own check of a layer's backward, run on layers with a mistake planted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bnbench import notebook
from bnbench.audit.layer.calls import quiet

OTHER_EPS = 0.5  # that a backward with another eps adds to its own


@dataclass(frozen=True)
class Planted:
    """A mistake that is planted.

    Attributes:
        name: its name.  text: what is done.
        part: what it makes wrong: "dx", "dgamma", "dbeta".
    """

    name: str
    text: str
    part: str = "dx"


MISTAKES = (
    Planted("mu-and-s-constant", "μ and s are held constant"),
    Planted("no-mu-term", "the term through μ is missing"),
    Planted("no-s-term", "the term through s is missing"),
    Planted("s-term-sign", "the sign of the s-term is reversed"),
    Planted("s-term-half", "the 2 of (x-μ)² is lost"),
    Planted("N-1-for-N", "the s-term divides by N-1, the variance by N"),
    Planted("sum-for-mean", "the sum of dout stands where its mean belongs"),
    Planted("mean-of-means", "means are divided by N twice"),
    Planted("first-term-over-N", "dout is divided by N too"),
    Planted("no-gamma", "γ is missing from dx"),
    Planted("gamma-twice", "γ is multiplied in twice"),
    Planted("gamma-missing-once", "γ is missing from the first term"),
    Planted("no-1/s", "the division by s is missing"),
    Planted("times-s", "s multiplies where it is to divide"),
    Planted("variance-for-s", "the variance stands where its root belongs"),
    Planted("1/s-for-variance", "the saved 1/s is taken for the variance"),
    Planted("another-eps", f"the backward adds {OTHER_EPS} more to the variance than the forward"),
    Planted("sum-without-axis", "a sum runs over all entries instead of over rows"),
    Planted("diagonal", "only the diagonal of the Jacobian is there"),
    Planted("wrong-axis", "the mean of dout is taken over the nodes"),
    Planted("dx-sign", "the sign of dx is reversed"),
    Planted("dx-is-dout", "dx is dout"),
    Planted("dx-zero", "dx is 0"),
    Planted("swapped", "dγ and dβ are swapped", "dgamma"),
    Planted("dgamma-mean", "dγ is a mean", "dgamma"),
    Planted("dgamma-stray-gamma", "dγ has a stray γ", "dgamma"),
    Planted("dgamma-of-x-mu", "dγ has x - μ for x̂", "dgamma"),
    Planted("dgamma-zero", "dγ is 0", "dgamma"),
    Planted("dbeta-mean", "dβ is a mean", "dbeta"),
    Planted("dbeta-times-gamma", "dβ has a stray γ", "dbeta"),
)
ADVICE = {  # by the mistake that only such a check lets through
    "s-term-sign": "let the loss be the outputs times random numbers, (out * dout).sum(): with their sum alone, the "
    "gradient in x is 0",
    "no-gamma": "draw γ of both signs and away from 1: with γ = 1 everywhere nobody sees where it is missing",
    "no-1/s": "give the columns of x variances away from 1 (x = [0.5, 2, 5] · noise): with s = 1 no power of s shows",
    "dgamma-zero": "compare dγ and dβ too, as numbers and each with its own",
}
OTHERWISE = "compare dx, entry by entry and on few rows, with a derivative of the forward itself, by differences"
ALL = (
    "compare dx, dγ and dβ with a derivative of the forward itself (by central differences along random directions), "
    "not their shapes alone; and let it raise or return False where they differ"
)


@dataclass(frozen=True)
class CanFail:
    """What a check finds, and what it lets through; `str` of it says what to change.

    Attributes:
        missed: names of the planted mistakes that it lets through; empty where it finds all.
        caught: names of those that it finds.
        refuses_right: what it said of the right layer, where it refused that; "" otherwise.
    """

    missed: tuple[str, ...]
    caught: tuple[str, ...]
    refuses_right: str = ""

    @property
    def able(self) -> bool:
        """Whether it passes the right layer and finds every planted mistake."""
        return not self.missed and not self.refuses_right

    @property
    def advice(self) -> tuple[str, ...]:
        """What to change, the most telling first."""
        if not self.caught:
            return (ALL,)
        told = [words for name, words in ADVICE.items() if name in self.missed]
        if "s-term-sign" in self.missed and "dx-zero" in self.missed:  # nothing else shows until that is mended
            return tuple(told[:1])
        return tuple(told) or ((OTHERWISE,) if self.missed else ())

    def _repr_html_(self) -> str:
        """In a notebook: whether it can fail, the mistakes that it lets through, and what to change."""
        first, *rest = str(self).split("\n")
        missed = [(planted.name, planted.text) for planted in MISTAKES if planted.name in self.missed]
        notes = [line for line in rest if not line.startswith("  ")]  # which the rows are
        return notebook.table(first, ("lets through", "what it is"), missed, notes)

    def __str__(self) -> str:
        total = len(self.missed) + len(self.caught)
        if self.able:
            return f"this check can fail: it passes the right layer and finds all {total} planted mistakes"
        lines = []
        if self.refuses_right:
            lines.append(f"this check refuses the right layer ({self.refuses_right})")
            if self.missed:
                lines.append("what it holds against has these mistakes itself:" if self.caught else "")
        if self.missed:
            lines.append(f"this check lets {len(self.missed)} of {total} planted mistakes through:")
            lines += [f"  {planted.name}: {planted.text}" for planted in MISTAKES if planted.name in self.missed]
            lines += [f"what to change: {words}" for words in self.advice]
        return "\n".join(line for line in lines if line)


def can_fail(check: Callable) -> CanFail:
    """Say which mistakes a check of a layer's backward would let through.

    Args:
        check: `check(forward, backward)`, which passes by returning None or True, and fails by returning False or by
            raising. It is given `forward(x, gamma, beta, eps=1e-5) -> (out, cache)` (ddof 0, eps inside the root; x is
            rows by nodes) and `backward(dout, cache) -> (dx, dgamma, dbeta)`, of NumPy arrays, tensors, or what else
            has their methods: first the right one, then each mistake.

    Returns:
        a `CanFail`: `.missed`, `.caught`, `.able`; its text says what to change.

    Raises:
        ValueError: check is no function, or returns neither True, False nor None.
    """
    if not callable(check):
        raise ValueError(f"check is {check!r}; allowed is a function check(forward, backward)")
    refused = _verdict(check, "")
    refusals = {planted.name: _verdict(check, planted.name) for planted in MISTAKES}
    return CanFail(
        tuple(name for name, text in refusals.items() if not text),
        tuple(n for n, text in refusals.items() if text),
        refused,
    )


def _verdict(check: Callable, mistake: str) -> str:
    """What the check said against the layer with that mistake; "" where it passed."""
    try:
        with quiet():
            answer = check(forward, _backward(mistake))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an assertion, or whatever else it raises, is a check that fails
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if answer is None:
        return ""
    try:
        if answer in (True, False):
            return "" if answer else "False"
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ValueError(
        f"check returned {type(answer).__name__} {answer!r:.60}; allowed are True or None where it passes, False or an "
        "exception where it fails"
    )


def forward(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> tuple[Any, tuple]:
    """γ X̂ + β, and what backward needs; by methods that arrays of every library have."""
    mu = x.mean(0)
    var = ((x - mu) ** 2).mean(0)
    s = (var + eps) ** 0.5
    xhat = (x - mu) / s
    return gamma * xhat + beta, (x, xhat, mu, var, s, gamma, eps)


def _backward(mistake: str) -> Callable:
    """backward with that mistake; the right one for "".

    Written by methods alone, and not as the catalogue's edits of `formula`, whose operations are of one type of array:
    here it is whatever the check computes with. A test holds those that both have to be the same.
    """

    def backward(dout: Any, cache: tuple) -> tuple[Any, Any, Any]:
        x, xhat, mu, var, s, gamma, eps = cache
        N = len(x)
        if mistake == "another-eps":
            s = (var + eps + OTHER_EPS) ** 0.5
            xhat_x = (x - mu) / s
        elif mistake == "1/s-for-variance":
            s = (1 / s + eps) ** 0.5
            xhat_x = (x - mu) / s
        else:
            xhat_x = xhat
        a = b = c = 1.0
        mean, product = dout.mean(0), (dout * xhat_x).mean(0)
        if mistake in ("mu-and-s-constant", "no-mu-term"):
            b = 0.0
        if mistake in ("mu-and-s-constant", "no-s-term"):
            c = 0.0
        c = {"s-term-sign": -1.0, "s-term-half": 0.5, "N-1-for-N": N / (N - 1)}.get(mistake, c)
        b = {"sum-for-mean": N}.get(mistake, b)
        if mistake == "mean-of-means":
            b = c = 1 / N
        if mistake == "first-term-over-N":
            a = 1 / N
        if mistake == "sum-without-axis":
            mean = dout.sum() / N
        w = gamma / s
        w = {
            "no-gamma": 1 / s,
            "gamma-twice": gamma * gamma / s,
            "no-1/s": gamma,
            "times-s": gamma * s,
            "variance-for-s": gamma / s**2,
        }.get(mistake, w)
        dx = w * (a * dout - b * mean - c * xhat_x * product)
        if mistake == "gamma-missing-once":
            dx = dout / s - w * (mean + xhat * product)
        elif mistake == "diagonal":
            dx = w * dout * (1 - 1 / N - xhat**2 / N)
        elif mistake == "wrong-axis":
            dx = w * (dout - dout.mean(1)[:, None] - xhat * product)
        elif mistake == "dx-sign":
            dx = -dx
        elif mistake == "dx-is-dout":
            dx = dout * 1.0
        elif mistake == "dx-zero":
            dx = dx * 0.0
        dgamma, dbeta = (dout * xhat).sum(0), dout.sum(0)
        if mistake == "swapped":
            return dx, dbeta, dgamma
        dgamma = {
            "dgamma-mean": dgamma / N,
            "dgamma-stray-gamma": dgamma * gamma,
            "dgamma-of-x-mu": dgamma * s,
            "dgamma-zero": dgamma * 0.0,
        }.get(mistake, dgamma)
        dbeta = {"dbeta-mean": dbeta / N, "dbeta-times-gamma": dbeta * gamma}.get(mistake, dbeta)
        return dx, dgamma, dbeta

    return backward
