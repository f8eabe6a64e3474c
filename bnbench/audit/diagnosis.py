"""What is wrong with a formula: each gradient compared with the truth and with every known mistake."""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bnbench.audit.case import case_of
from bnbench.audit.conventions import Conventions, conventions_of
from bnbench.audit.findings import Case, Diagnosis
from bnbench.audit.formula import answer_or_none, as_variant, normalizations_of
from bnbench.audit.trial import Trial, hard_trial, ordinary_trial
from bnbench.problem import ACTIVATIONS, Problem, check_conventions
from bnbench.validation import DERIVATION_KINDS, FEW_LINEAR, FEW_UNITS
from bnbench.variants import Variant
from bnbench.variants.function import FunctionVariant

USUAL_DDOF, USUAL_EPS = (0, 1), (1e-5, 0.1)  # of ordinary problems, where nothing else is asked or built in


def diagnose(
    step: Callable | type[Variant] | str,
    problem: Problem | Sequence[Problem] | None = None,
    *,
    activations: Sequence[str] | None = None,
    normalizations: Sequence[str] | None = None,
    ddof: Sequence[int] | int | None = None,
    eps: Sequence[float] | float | None = None,
    sizes: Sequence[tuple[int, int, int]] | None = None,
    dtypes: Sequence[str] = ("float64",),
    loss: str | Sequence[str] = "squared",
    depth: int | Sequence[int] = 1,
    linear: int | None = None,
    units: int | None = None,
) -> Diagnosis:
    """Say whether a formula for the gradient is right and, if not, which known mistake it makes.

    Args:
        step: a function as plug-ins have it, `step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof,
            eps)` returning `loss, dG1, dgamma, dbeta, dG2`, where a keyword that it lacks is not passed;
            or a Variant class; or a variant's name. Of several layers G1, gamma and beta are lists, and so are their
            gradients. By the keywords `loss`, `statistics`, `W`, `delta` and `units` it is given what there is of them;
            the gradient of δ follows dG2, and then the units' effects.
        problem: what to try it on, one Problem or several, in whose conventions it must be right. By default it is
            judged in its own: what it ignores or refuses (activation, ddof, eps) is detected, and it is tried with and
            without normalization on a few small problems made so that no mistake can hide: large eps and none,
            offsets, zeros, ties, both signs, saturation. A mistake that changes nothing at a given problem (N for
            N-ddof where ddof is 0) is not seen.
        activations, normalizations, ddof, eps: those it must be right for, if no problem is given.
        sizes, dtypes: of ordinary problems to try it on, (N, p1, p2) each, instead of those small ones.
        loss, depth: of the network, as in `Problem`, one or several, if no problem is given. In a network of several
            layers every mistake is looked for in each layer and in all of them, but no pairs.
        linear, units: linear terms and units of its head, as in `Problem`. By default none, and a function that has
            the keywords `W` and `delta`, or `units`, is tried with a few as well (or with these alone, if it has no
            defaults for them).

    Returns:
        A `Diagnosis`: `.correct`, `.conventions`, `.mistakes` (names), `.cases` with a finding for each gradient, and
        a text. A variant that cannot run here is not ruled on: `.unavailable` says why. Whatever the function raises
        is a finding, SystemExit too; only KeyboardInterrupt passes.

    Raises:
        ValueError: step is no function, Variant or variant's name, or a convention is not one of the allowed.
    """
    cls = as_variant(step)
    unavailable = cls.unavailable()
    if unavailable:
        return Diagnosis((), unavailable)
    bound = {"ddof": _several(ddof), "eps": _several(eps)}
    losses = (loss,) if isinstance(loss, str) else tuple(loss)
    networks = [
        {"loss": loss, "depth": depth} | head
        for head, loss, depth in itertools.product(_heads(cls, linear, units), losses, _several(depth))
    ]
    for network in networks:
        Problem(2**31, 1, 1, **network)
    if problem is None:
        cases = []
        for network in networks:
            cases += _own_cases(cls, activations, normalizations, bound, sizes, dtypes, network)
    else:
        given = [problem] if isinstance(problem, Problem) else list(problem)
        cases = []
        for setting in dict.fromkeys(map(_setting, given)):
            mine = [ordinary_trial(one) for one in given if _setting(one) == setting]
            activation, normalization, *_ = setting
            cases.append(case_of(cls, activation, normalization, mine))
    diagnosis = Diagnosis(tuple(cases))
    if diagnosis.correct or not diagnosis.answered or (problem is None and not any(bound.values())):
        return diagnosis
    first = diagnosis.answered[0]
    network = {name: getattr(first, name) for name in ("loss", "depth", "linear", "units")}
    names, asked = (first.activation, *ACTIVATIONS), functools.partial(answer_or_none, cls)
    own = conventions_of(asked, names, first.normalization, network)
    if not own.says():
        return diagnosis
    held = diagnose(
        cls, activations=[own.activation or first.activation], normalizations=[first.normalization], **network
    )
    return replace(diagnosis, own=f"in its own conventions it is {held.headline}" if held.correct else "")


def _heads(cls: type[Variant], linear: int | None, units: int | None) -> list[dict[str, int]]:
    """The numbers of linear terms and units to try: as asked, else none, and a few where a function takes them."""
    heads: list[dict[str, int]] = [{}, {}]  # the least there may be, and what it takes
    for name, asked, keyword, few in (("linear", linear, "W", FEW_LINEAR), ("units", units, "units", FEW_UNITS)):
        most, needed = asked or 0, False
        if asked is None and issubclass(cls, FunctionVariant) and few in cls.supports.get(name, ()):
            most = few
            needed = inspect.signature(cls.function).parameters[keyword].default is inspect.Parameter.empty
        heads[0][name] = most if asked is not None or needed else 0
        heads[1][name] = most
    return heads if heads[0] != heads[1] else heads[:1]


def _setting(problem: Problem) -> tuple:
    """What a case is of."""
    return (
        problem.activation, problem.normalization, problem.loss, problem.depth, problem.linear > 0, problem.units > 0,
    )  # fmt: skip


def _several(value: Sequence | float | None) -> tuple:
    return () if value is None else tuple(value) if isinstance(value, Sequence) else (value,)


def _own_cases(
    cls: type[Variant],
    activations: Sequence[str] | None,
    normalizations: Sequence[str] | None,
    bound: dict[str, tuple],
    sizes: Sequence[tuple[int, int, int]] | None,
    dtypes: Sequence[str],
    network: dict[str, Any],
) -> list[Case]:
    """The cases of a formula in its own conventions, unless bound to others."""
    cases = []
    for normalization in normalizations or normalizations_of(cls):
        names = tuple(activations or ACTIVATIONS)
        for name in names:
            check_conventions(name, normalization, *(max(values, default=0) for values in bound.values()))
        asked = functools.partial(answer_or_none, cls)
        own = conventions_of(asked, tuple(dict.fromkeys((*names, *ACTIVATIONS))), normalization, network)
        for name in names:
            if own.activation not in ("", name) and not activations:
                reason = f"the activation is ignored: {own.activation} is built in"
                cases.append(Case(name, normalization, (), {}, unsupported=reason, **network))
                continue
            trials = list(_trials(own, name, normalization, bound, sizes, dtypes, network))
            cases.append(case_of(cls, name, normalization, trials, own))
    return cases


def _trials(
    own: Conventions,
    activation: str,
    normalization: str,
    bound: dict[str, tuple],
    sizes: Sequence[tuple[int, int, int]] | None,
    dtypes: Sequence[str],
    network: dict[str, Any],
) -> Iterator[Trial]:
    """The trials: problems of those sizes, or the derivation problems."""

    def allowed(name: str, built_in: float | None, only: tuple) -> tuple:
        return bound[name] or (() if built_in is None else (built_in,)) or only

    ddofs, every_eps = allowed("ddof", own.ddof, own.only_ddof), allowed("eps", own.eps, own.only_eps)
    if sizes:
        for size, ddof, eps, dtype in itertools.product(sizes, ddofs or USUAL_DDOF, every_eps or USUAL_EPS, dtypes):
            yield ordinary_trial(Problem(*size, activation, normalization, ddof, eps, dtype, **network), own.eps_place)
        return
    for number, (_, ddof, eps, *_) in enumerate(DERIVATION_KINDS):
        ddof = ddof if not ddofs or ddof in ddofs else ddofs[number % len(ddofs)]
        eps = eps if not every_eps or eps in every_eps else every_eps[number % len(every_eps)]
        yield hard_trial(number, ddof, eps, activation, normalization, own.eps_place, **network)
