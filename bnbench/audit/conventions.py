"""What a formula has built in, by how it answers and by the loss that it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from bnbench.audit.edits import PLACES, SD, VARIANCE
from bnbench.audit.mistakes import BUILT_IN_EPS, FORWARD, IN_S, MISTAKES, Mistake, mistaken, terms_of
from bnbench.problem import ACTIVATIONS, Batch, Gradients, Problem

Answer = dict[str, Any]  # of a formula, by name; as `parts_of` gives it
Asked = Callable[[Batch, Problem], Answer | None]
Key = tuple[str, int, float]  # activation, ddof, eps
Place = tuple  # the same, and what eps is added to; then a set of mistakes, if any

NO_NETWORK: Mapping = MappingProxyType({})
DDOFS = (0, 1, 2, 3)
TRIED_EPS = (1e-5, 1e-3, 0.1, 0.01, 1e-4, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 2e-5, 1e-15, 0.0)  # first to be asked
SAME = 1e-9  # relative: answers that count as one
READ = 1e-6  # relative: how near a loss must be for its conventions to be read off
FACTORS = ("1", "N", "1/2", "N/2")  # of the loss: others than the mean of squares are known by it as well
FORWARD_MISTAKES = tuple(
    mistake
    for mistake in MISTAKES
    if (mistake.where == FORWARD and mistake.name != "eps-outside-root") or (mistake.name, mistake.where) in
    (("no-axis", "in μ"), ("no-axis", IN_S)) or {"linear", "alpha"} & set(mistake.edits)
)  # fmt: skip


@dataclass(frozen=True)
class Conventions:
    """What a formula is right for, if it is right at all.

    Attributes:
        activation: the one that is built in; "" where it takes the argument.
        ddof, eps: those that are built in; None if it takes the argument, or if it is unknown.
        eps_place: what eps is added to, "variance", "sd" or "floor" (the variance is not below it).
        only_ddof, only_eps: those that it answers, of all that were tried; empty if it takes any.
    """

    activation: str = ""
    ddof: int | None = None
    eps: float | None = None
    eps_place: str = VARIANCE
    only_ddof: tuple[int, ...] = ()
    only_eps: tuple[float, ...] = ()

    def says(self) -> list[str]:
        """What qualifies "right", a phrase each; nothing if it takes every argument."""
        told = []
        if self.ddof is not None:
            told.append(f"ddof={self.ddof} is built in")
        elif self.only_ddof:
            told.append(f"ddof={_listed(self.only_ddof)} only")
        if self.eps is not None:
            told.append(f"eps={self.eps:g} is built in" if self.eps else "there is no eps")
        elif self.only_eps:
            told.append(f"eps={_listed(self.only_eps)} only")
        if self.eps_place == SD:
            told.append("eps is added to the standard deviation, outside the root")
        elif self.eps_place != VARIANCE:
            told.append("eps is the least variance and is not added")
        if self.activation:
            told.append(f"{self.activation} is built in")
        return told

    def plain(self) -> dict:
        """As JSON has it: a value, or "argument"."""
        return {
            "activation": self.activation or "argument",
            "ddof": self.only_ddof[0] if len(self.only_ddof) == 1 else "argument" if self.ddof is None else self.ddof,
            "eps": self.only_eps[0] if len(self.only_eps) == 1 else "argument" if self.eps is None else self.eps,
            "eps_place": self.eps_place,
        }


def _listed(values: Sequence) -> str:
    return ", ".join(f"{value:g}" for value in values)


def conventions_of(
    answer: Asked, activations: Sequence[str], normalization: str, network: Mapping[str, Any] = NO_NETWORK
) -> Conventions:
    """The conventions of a formula.

    Args:
        answer: gives its answer to a problem, name to array; None if it declines or raises.
        activations: those to ask it for.
        normalization: "batch", or "none" or "frozen" where it takes no other.
        network: loss, depth, linear and units.

    Returns:
        `Conventions`; if it never answers, those of a formula that takes every argument.
    """
    asked = _Asked(answer, normalization, network)
    first = next(
        (
            (name, ddof, eps)
            for name in activations
            for eps in TRIED_EPS
            for ddof in DDOFS[:3]
            if asked(name, ddof, eps) is not None
        ),
        None,
    )
    if first is None:
        return Conventions()
    name, ddof, eps = first
    if normalization == "none":
        own = _built_in(asked, ACTIVATIONS, lambda other: (other, ddof, eps))
        return Conventions(_read_activation(asked, first) if own else "")
    fixed_activation = len(activations) > 1 and _built_in(asked, activations, lambda other: (other, ddof, eps))
    ddofs, only_ddof = _answered(lambda other: asked(name, other, eps), (ddof, 1, 3), DDOFS)
    every_eps, only_eps = _answered(lambda other: asked(name, ddof, other), (eps, 0.1, 0.0), TRIED_EPS)
    fixed_ddof = normalization == "batch" and _built_in(asked, ddofs, lambda other: (name, other, eps))
    fixed_eps = _built_in(asked, every_eps, lambda other: (name, ddof, other))
    limits = Conventions(only_ddof=only_ddof, only_eps=only_eps)
    return _read(asked, (name, ddof, max(every_eps)), fixed_activation, fixed_ddof, fixed_eps, limits)


def _answered(asked: Callable[[Any], object], few: tuple, all_of_them: tuple) -> tuple[list, tuple]:
    """The values that it answers: the few if it answers all of those, else those of all; and if not all, which."""
    answered = [value for value in dict.fromkeys(few) if asked(value) is not None]
    if len(answered) == len(set(few)):
        return answered, ()
    answered = [value for value in all_of_them if asked(value) is not None]
    return answered, tuple(sorted(answered))


class _Asked:
    """A formula's answers to one batch under several conventions, each asked for once."""

    def __init__(self, answer: Asked, normalization: str, network: Mapping[str, Any]) -> None:
        self.answer, self.normalization = answer, normalization
        self.known: dict[Key, Answer | None] = {}
        problem = Problem(13, 4, 8, normalization=normalization, seed=1000, **network)
        batch, spread = problem.sample(), np.logspace(-6, 1, 8)
        if normalization != "none":
            theta = batch.theta
            layers = tuple(layer._replace(G=layer.G * spread) for layer in theta.layers)
            batch = batch.with_theta(theta._replace(layers=layers))
            given = [(mean * spread, variance * spread**2) for mean, variance in batch.data.statistics]
            batch = batch._replace(statistics=(given if problem.depth > 1 else given[0]) if given else None)
        self.problem, self.batch = problem, batch._replace(X=batch.X + 0.5)

    def of(self, activation: str, ddof: int, eps: float) -> Problem:
        return replace(self.problem, activation=activation, ddof=ddof, eps=eps)

    def __call__(self, activation: str, ddof: int, eps: float) -> Answer | None:
        key = activation, ddof, eps
        if key not in self.known:
            self.known[key] = self.answer(self.batch, self.of(*key))
        return self.known[key]


def _built_in(asked: _Asked, values: Sequence, key: Callable[[Any], Key]) -> bool:
    """Whether the answers to all of these are one and the same, so that the argument is ignored."""
    answers = [answer for answer in (asked(*key(value)) for value in values) if answer is not None]
    return len(answers) > 1 and all(_same(answers[0], other) for other in answers[1:])


def _same(one: Answer, other: Answer) -> bool:
    def close(a: Any, b: Any) -> bool:
        if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
            return type(a) is type(b)
        return a.shape == b.shape and np.allclose(a, b, rtol=SAME, atol=0, equal_nan=True)

    return all(close(one[name], other[name]) for name in one)


def _off(answer: Answer | None, known: Gradients, N: int) -> float:
    """How far a loss, and ∂R/∂Γ2's direction, are from those of some conventions; the smaller of both, relative."""
    off: list[float] = [np.inf]
    if answer is None:
        return np.inf
    loss, dG2 = answer["loss"], answer["dG2"]
    if isinstance(loss, np.ndarray) and loss.size == 1 and np.isfinite(loss).all():
        ratio = float(loss.reshape(())) / float(known.loss)
        off += [abs(ratio / factor - 1) for factor in (1, N, 0.5, N / 2)]
    if isinstance(dG2, np.ndarray) and dG2.size == known.dG2.size and np.isfinite(dG2).all() and dG2.any():
        mine, right = dG2.reshape(-1) / np.linalg.norm(dG2), known.dG2 / np.linalg.norm(known.dG2)
        off += [float(np.linalg.norm(mine - right)), float(np.linalg.norm(mine + right))]
    return min(off)


def _read_activation(asked: _Asked, first: Key) -> str:
    """The activation that is built in, of a formula without normalization."""
    answer, N = asked(*first), asked.problem.N
    offs = {name: _off(answer, mistaken(asked.batch, asked.of(name, *first[1:]), frozenset()), N)
            for name in ACTIVATIONS}  # fmt: skip
    best = min(offs, key=offs.__getitem__)
    return best if offs[best] < READ else ""


def _read(
    asked: _Asked, first: Key, fixed_activation: bool, fixed_ddof: bool, fixed_eps: bool, limits: Conventions
) -> Conventions:
    """Read off the loss what is built in, and what eps is added to."""
    name, ddof, eps = first
    answer, N = asked(*first), asked.problem.N
    names = ACTIVATIONS if fixed_activation else (name,)
    ddofs = (0, 1) if fixed_ddof else (ddof,)
    every_eps = BUILT_IN_EPS if fixed_eps else (eps,)

    def off(activation: str, ddof: int, eps: float, place: str, made: frozenset[Mistake] = frozenset()) -> float:
        return _off(answer, mistaken(asked.batch, asked.of(activation, ddof, eps), made, place), N)

    keys: list[Place] = [
        (a, d, e, place) for a in names for d in ddofs for e in every_eps for place in (PLACES if e else PLACES[:1])
    ]
    offs = {key: off(*key) for key in keys}
    best = min(offs, key=offs.__getitem__)
    if offs[best] > READ and fixed_eps:  # an eps that is no round number
        best = min((_between(off, key) for key in _nearest(offs)), key=lambda key: off(*key))
        offs[best] = off(*best)
    if offs[best] > READ:  # the forward pass itself is mistaken
        every_layer, terms = tuple(range(asked.problem.depth)), set(terms_of(asked.problem))
        made = [mistake.within(every_layer, "") for mistake in FORWARD_MISTAKES if terms.issuperset(mistake.needs)]
        keys = [
            (a, d, e, VARIANCE, frozenset([mistake]))
            for mistake in made for a in names for d in ddofs for e in every_eps
        ]  # fmt: skip
        offs = {key: off(*key) for key in keys}
        best = min(offs, key=offs.__getitem__)
        best = best if offs[best] < READ else (names[0], 0, Problem.eps, VARIANCE)
    name, ddof, eps, place, *_ = best
    return replace(
        limits,
        activation=name if fixed_activation else "",
        ddof=ddof if fixed_ddof else None,
        eps=eps if fixed_eps else None,
        eps_place=place,
    )


def _nearest(offs: dict[Place, float]) -> list[Place]:
    """The two nearest keys of each activation, ddof and place."""
    groups: dict[tuple, list[Place]] = {}
    for key in sorted(offs, key=offs.__getitem__):
        groups.setdefault((key[0], key[1], key[3]), []).append(key)
    return [key for keys in groups.values() for key in keys[:2]]


def _between(off: Callable[..., float], key: Place) -> Place:
    """The key with the eps near its own for which a formula is least off: a grid, then golden section, in logs."""
    activation, ddof, eps, place = key
    grid = np.log(max(eps, 1e-16)) + np.linspace(-1.1, 1.1, 89)
    tried = [off(activation, ddof, float(np.exp(point)), place) for point in grid[1:-1]]
    near = int(np.argmin(tried)) + 1
    low, high = grid[near - 1], grid[near + 1]
    step = (5**0.5 - 1) / 2
    for _ in range(80):
        left, right = high - step * (high - low), low + step * (high - low)
        if off(activation, ddof, float(np.exp(left)), place) < off(activation, ddof, float(np.exp(right)), place):
            high = right
        else:
            low = left
    eps = float(np.exp((low + high) / 2))
    rounded = float(f"{eps:.5g}")
    return activation, ddof, rounded if off(activation, ddof, rounded, place) < READ else eps, place
