"""A function as a variant: what `@bnbench.variant` makes of one."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants.base import ANY_NETWORK, SUPPORTS, Variant
from bnbench.variants.registry import register

CONVENTIONS = ("activation", "normalization", "ddof", "eps")
OF_NETWORKS = ("loss", "depth", "statistics", "W", "delta", "units")  # keywords beside those
NEEDED = {  # of those, for what a variant may support
    "losses": ("loss",), "depth": ("depth",), "normalizations": ("normalization", "statistics"),
    "linear": ("W", "delta"), "units": ("units",),
}  # fmt: skip


def variant(name: str, *, family: str, device: str = "cpu", supports: Mapping | None = None) -> Callable[[Any], Any]:
    """Register a function or a `Variant` subclass under a name: `@bnbench.variant("mine", family="matrix")`.

    The function is `step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps)` and returns
    `loss, dG1, dgamma, dbeta, dG2` in the arrays' dtype. A keyword that it lacks is not passed, and nothing that it
    could not know without is asked of it. With a keyword `loss` it is asked for the other losses, with `depth` for
    networks of several layers (G1, gamma and beta are lists then, and so are their gradients), with `statistics` for
    normalization="frozen"; with `W` and `delta` for linear terms, whose gradient follows dG2, and with `units` (the
    unit of each row, from 0) for effects, which follow that.

    Args:
        name: a word.
        family: "loops", "matrix", "fused", "autodiff" or another word.
        device: "cpu", or "cuda" where its steps run there.
        supports: what it is right for, if not everything: any of "activations", "normalizations", "losses", "depth",
            "linear", "units", "ddof" and "eps" to a value or several, as in `supports={"activations": ["relu"],
            "ddof": 0}`. Nothing else is asked of it.

    Raises:
        ValueError: the name is taken or not a word, the function cannot be called so, or supports is not as above.
    """
    supported = _supported(supports)

    def decorate(target: Any) -> Any:
        if isinstance(target, type) and issubclass(target, Variant):
            target.name, target.family, target.device = name, family, device
            target.supports = supported or target.supports
            register(target)
            return target
        if not callable(target):
            raise ValueError(f"variant {name!r} decorates {target!r}; allowed is a function or a Variant")
        if reason := _misfit(target):
            raise ValueError(f"variant {name!r}: {reason}")
        called = getattr(target, "__name__", name)
        body = {
            "supports": MappingProxyType(of_keywords(target) | dict(supported)),
            "name": name,
            "family": family,
            "device": device,
            "function": staticmethod(target),
            "__doc__": target.__doc__ or f"The plug-in function {called}.",
            "__module__": target.__module__,
            "__qualname__": getattr(target, "__qualname__", called),
        }
        type(called, (FunctionVariant,), body)
        return target

    return decorate


class FunctionVariant(Variant):
    """A function as a variant: what `@bnbench.variant` makes of it.

    It is passed the conventions that are among its keywords. Without `activation` or `normalization`, the library's
    default is assumed to be built in, unless `supports` says otherwise; without `ddof` or `eps`, it must be right for
    those that are asked for.
    """

    function: ClassVar[Callable]
    load = Variant.load_in_place

    @classmethod
    def unsupported(cls, problem: Problem, regime: str) -> str:
        """What it says itself, and an activation or normalization that it has no keyword for."""
        taken = keywords(cls.function)
        for name, plural, built_in in (
            ("activation", "activations", Problem.activation),
            ("normalization", "normalizations", Problem.normalization),
        ):
            value = getattr(problem, name)
            if name not in taken and plural not in cls.supports and value != built_in:
                return (
                    f"{name} is {value}; the function has no keyword {name}, so {built_in} is assumed to be built in "
                    f"(declare another with supports={{'{plural}': [...]}})"
                )
        return cls.declines(problem)

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Keep the arrays and the conventions that the function is called with."""
        super().prepare(batch, problem, regime)
        taken = keywords(self.function)
        asked = {name: getattr(problem, name) for name in (*CONVENTIONS, "loss", "depth")} | self.batch.more
        self.conventions = {name: value for name, value in asked.items() if name in taken}
        self.answer, self.read = None, ()

    def step(self) -> None:
        """Call the function."""
        self.answer = self.function(*self.batch, **self.conventions)

    def result(self) -> Any:
        """What the function returned, as Gradients where it has their parts; tensors and rows of numbers are read."""
        head = [name for name, size in (("ddelta", self.problem.linear), ("alpha", self.problem.units)) if size]
        names = (*Gradients._fields, *head)
        if not isinstance(self.answer, tuple | list) or len(self.answer) != len(names):
            return self.answer
        parts, remarks = {}, []
        for name, value in zip(names, self.answer, strict=True):
            if isinstance(value, tuple | list) and name in ("dG1", "dgamma", "dbeta") and self.problem.depth > 1:
                layers = [_read(f"{name}[{place}]", one) for place, one in enumerate(value)]
                parts[name] = [one for one, _ in layers]
                remarks += [remark for _, remark in layers]
            else:
                parts[name], remark = _read(name, value)
                remarks.append(remark)
        self.read = tuple(filter(None, remarks))
        return Gradients(**parts)

    def details(self) -> dict[str, str]:
        """How the answer was read, if that is worth a remark."""
        return {"read": "; ".join(self.read)} if self.read else {}


def _read(name: str, value: Any) -> tuple[Any, str]:
    """A part of an answer as a NumPy array, converted from another library's or from a single row; and a remark."""
    remark = ""
    if value is not None and not isinstance(value, np.ndarray | np.generic | int | float | str):
        library = type(value).__module__.split(".")[0]
        kind = type(value).__name__ if library == "builtins" else f"{library}.{type(value).__name__}"
        array = value
        try:
            if hasattr(value, "detach"):  # PyTorch's, from whatever device and graph
                array = value.detach().cpu()
            array = np.asarray(array)
        except Exception:  # of whatever library it is: the verdict says what it is not
            return value, ""
        if array.dtype.kind != "f":
            return value, ""
        value = array
        remark = f"{name} came back as a {kind}, and was read as an array"
    single = isinstance(value, np.ndarray) and value.ndim and (value.size == 1 if name == "loss" else 1 in value.shape)
    if single and (name == "loss" or (not name.startswith("dG1") and value.ndim == 2)):
        remark = f"{name} has shape {value.shape}, and was read as {'a number' if name == 'loss' else 'a vector'}"
        value = value.reshape(() if name == "loss" else -1)
    return value, remark


def keywords(function: Callable) -> frozenset[str]:
    """The conventions that a function takes by name, all where its signature does not tell; and what networks have."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset(CONVENTIONS)
    named = {one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        named.update(CONVENTIONS)
    return frozenset(named.intersection((*CONVENTIONS, *OF_NETWORKS)))


def of_keywords(function: Callable) -> dict[str, Any]:
    """What a function's keywords say that it supports, beyond `SIMPLEST`."""
    taken = keywords(function)
    return {name: ANY_NETWORK[name] for name, needed in NEEDED.items() if taken.issuperset(needed)}


def _misfit(function: Callable) -> str:
    """Why a function cannot be called as a step, if its signature tells; for a layer's function, what to run."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    names = [name for name, one in signature.parameters.items() if one.kind is not one.KEYWORD_ONLY]
    conventions = dict.fromkeys(keywords(function))
    if not names:
        return ""
    try:
        signature.bind(*Batch._fields, **conventions)
    except TypeError:
        pass
    else:
        return ""
    told = f"{getattr(function, '__name__', 'it')}({', '.join(signature.parameters)})"
    if len(names) <= 4:
        return (
            f"{told} is a layer's function, not a step; remove the decorator and run: "
            "python -m bnbench audit --layer FILE.py"
        )
    return f"{told} cannot be called as step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps)"


def _supported(supports: Mapping | None) -> Mapping[str, tuple]:
    """What a variant says it supports, checked: name to tuple of values."""
    made = {}
    for name, values in dict(supports or {}).items():
        if name not in SUPPORTS:
            raise ValueError(f"supports has {name!r}; allowed are {', '.join(SUPPORTS)}")
        values = tuple(values) if isinstance(values, tuple | list | set | frozenset | range) else (values,)
        for value in values:
            Problem(2**31, 1, 1, **{SUPPORTS[name]: value})
        if not values:
            raise ValueError(f"supports has no {name}; allowed is at least one")
        made[name] = values
    return MappingProxyType(made)
