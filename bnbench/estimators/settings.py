"""The constructor's arguments of an estimator, checked when it is fitted."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from bnbench.arrays import quoted
from bnbench.problem import ACTIVATIONS
from bnbench.running import CONVENTIONS

NORMALIZATIONS, SOLVERS, REGRESSION = ("batch", "none"), ("lbfgs", "adam"), ("squared", "poisson")


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _real(holds: Callable[[Any], Any]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Real) and not isinstance(value, bool) and bool(holds(value))


def _one_of(names: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in names, ", ".join(names)


def _or_none(rule: tuple[Callable[[Any], bool], str]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value is None or rule[0](value), f"{rule[1]}, or None"


NOT_NEGATIVE = _real(lambda value: 0 <= value < float("inf")), "numbers of at least 0"
POSITIVE = _real(lambda value: 0 < value < float("inf")), "numbers above 0"
SHARE = _real(lambda value: 0 <= value < 1), "numbers from 0 to below 1"
INSIDE = _real(lambda value: 0 < value < 1), "numbers between 0 and 1"
COUNT = _whole(1), "whole numbers of at least 1"
SWITCH = lambda value: isinstance(value, bool), "True and False"

RULES = {
    "loss": _one_of(REGRESSION),
    "activation": _one_of(ACTIVATIONS),
    "normalization": _one_of(NORMALIZATIONS),
    "ddof": (_whole(0), "whole numbers of at least 0"),
    "eps": NOT_NEGATIVE,
    "fit_intercept": SWITCH,
    "hidden_penalty": NOT_NEGATIVE,
    "output_penalty": NOT_NEGATIVE,
    "linear_penalty": NOT_NEGATIVE,
    "solver": _one_of(SOLVERS),
    "batch_size": _or_none((_whole(2), "whole numbers of at least 2")),
    "learning_rate": POSITIVE,
    "beta_1": SHARE,
    "beta_2": SHARE,
    "epsilon": POSITIVE,
    "max_iter": COUNT,
    "tol": NOT_NEGATIVE,
    "n_iter_no_change": COUNT,
    "early_stopping": SWITCH,
    "validation_fraction": INSIDE,
    "convention": _one_of(tuple(CONVENTIONS)),
    "momentum": _or_none((_real(lambda value: 0 <= value <= 1), "numbers from 0 to 1")),
    "verbose": (lambda value: isinstance(value, bool | int), "True and False"),
}


def check(chosen: Any) -> tuple[int, ...]:
    """The widths of the hidden layers of an estimator whose settings are all allowed.

    Raises:
        ValueError: it names the setting, what it was and what is allowed.
    """
    for name, (holds, allowed) in RULES.items():
        value = getattr(chosen, name, None)
        if hasattr(chosen, name) and not holds(value):
            raise ValueError(f"{name} is {quoted(value)}; allowed are {allowed}")
    hidden = chosen.hidden
    widths = (hidden,) if isinstance(hidden, Integral) else hidden
    if not isinstance(widths, tuple | list) or not widths or not all(map(COUNT[0], widths)):
        raise ValueError(
            f"hidden is {quoted(hidden)}; allowed are tuples of whole numbers of at least 1, the nodes of each hidden "
            "layer"
        )
    if chosen.convention != "population" and (chosen.solver, chosen.normalization) != ("adam", "batch"):
        raise ValueError(
            f"convention is {quoted(chosen.convention)} with solver={chosen.solver!r} and normalization="
            f"{chosen.normalization!r}; running statistics are averages over minibatches that were normalised: "
            "allowed is 'population', or solver='adam' with normalization='batch'"
        )
    return tuple(int(width) for width in widths)
