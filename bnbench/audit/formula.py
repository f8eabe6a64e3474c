"""A formula in whatever form, asked for its gradients: what it returns, and what it declines."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnbench.problem import Batch, Problem
from bnbench.validation import parts_of
from bnbench.variants import Variant, variants
from bnbench.variants.base import ANY_NETWORK, SIMPLEST
from bnbench.variants.function import FunctionVariant, of_keywords


def as_variant(step: Callable | type[Variant] | str) -> type[Variant]:
    """The Variant class of a function, a class or a name."""
    if isinstance(step, str):
        known = variants()
        if step not in known:
            raise ValueError(f"variant is {step!r}; allowed are {', '.join(known)}")
        return known[step]
    if isinstance(step, type) and issubclass(step, Variant):
        return step
    if not callable(step):
        raise ValueError(f"step is {step!r}; allowed is a function, a Variant class or a variant's name")
    named = of_keywords(step)  # what it takes by name; a loss or layers may be built in
    body = {"family": "matrix", "function": staticmethod(step), "__doc__": step.__doc__ or "A function."}
    body["supports"] = {name: ANY_NETWORK[name] for name in ("losses", "depth")} | named
    return type("Unregistered", (FunctionVariant,), body)


def normalizations_of(cls: type[Variant]) -> tuple[str, ...]:
    """Those to try a formula with that is told none: frozen statistics where it says that it takes them."""
    usual = SIMPLEST["normalizations"]
    return (*usual, *(one for one in cls.supports.get("normalizations", ()) if one not in usual))


def reason_declined(cls: type[Variant], problem: Problem) -> str:
    """Why a variant cannot take a problem; for a function only what it declares: the rest is tried."""
    if issubclass(cls, FunctionVariant):
        return cls.declines(problem)
    return cls.unsupported(problem, "fresh")


def answer_or_none(cls: type[Variant], batch: Batch, problem: Problem) -> dict[str, Any] | None:
    """What the formula returned; None where it takes no such problem, or raised."""
    if reason_declined(cls, problem):
        return None
    try:
        return answer_of(cls, batch, problem)[0]
    except KeyboardInterrupt:
        raise
    except BaseException:  # what it raises is reported when it is judged
        return None


def answer_of(cls: type[Variant], batch: Batch, problem: Problem) -> tuple[dict[str, Any], list[str]]:
    """What the formula returned, a dict as `parts_of` gives it, and remarks on how it was read."""
    variant = cls()
    copies = batch.each(np.copy)
    variant.prepare(copies, problem)
    variant.step()
    answer = parts_of(variant.result())
    for (name, mine), (_, given) in zip(batch.named_arrays(), copies.named_arrays(), strict=True):
        if not np.array_equal(mine, given):
            raise ValueError(f"{name} was overwritten; the arrays that a step is given are read-only")
    if isinstance(answer, str):
        raise TypeError(f"returned {answer}; allowed are loss, dG1, dgamma, dbeta, dG2")
    return answer, list(getattr(variant, "read", ()))
