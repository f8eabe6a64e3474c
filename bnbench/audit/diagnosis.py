"""What is wrong with a formula: each of its gradients held against the truth and against every known mistake."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bnbench.audit.mistakes import MISTAKES, Mistake, combinations, mistaken
from bnbench.problem import ACTIVATIONS, NORMALIZATIONS, Batch, Gradients, Problem, check_conventions
from bnbench.validation import FLOAT32_OVER_FLOAT64, FLOAT32_PRECISION, derivation_problems, malformed, plain
from bnbench.variants import Variant, variants
from bnbench.variants.base import FunctionVariant

CERTIFIED_WORK = 100_000  # N p1 p2 up to which the truth is certified (about a second); the sweep's reference beyond
ROUNDINGS = 4096  # by which a formula computed otherwise may differ, at up to 1000 rows; above, it grows as √N
SHOWN = 3  # alternatives that are named
LEAST_FLOAT32_ERROR = 2.0**-28  # relative: nothing that float32 rounds is nearer than this in all its entries


@dataclass(frozen=True)
class Finding:
    """What is said of one gradient.

    Attributes:
        name: "loss", "dG1", "dgamma", "dbeta" or "dG2".
        right: whether it is the gradient, to rounding, on every problem of its case.
        mistakes: the fewest known mistakes that reproduce its numbers on every problem; empty where it is right
            or none do.
        text: one line for the reader.
        form: what is wrong with its form or precision (shape, dtype, float32's accuracy) where that alone is; or "".
    """

    name: str
    right: bool
    mistakes: tuple[Mistake, ...]
    text: str
    form: str = ""


@dataclass(frozen=True)
class Case:
    """A formula under one activation and normalization.

    Attributes:
        activation, normalization: what it was called with.
        problems: those it was tried on.
        findings: name to Finding; empty where it did not return on all of them.
        mistakes: the fewest known mistakes that reproduce all its gradients at once; empty where all are right,
            or where no one or two do.
        alternatives: other sets of as few mistakes that give the same numbers on these problems.
        raised: what the formula raised, where it did; "" otherwise.
        answered: on how many of the problems it returned.
        unsupported: why the variant says that it takes none of them; "" otherwise.
    """

    activation: str
    normalization: str
    problems: tuple[Problem, ...]
    findings: dict[str, Finding]
    mistakes: tuple[Mistake, ...] = ()
    alternatives: tuple[tuple[Mistake, ...], ...] = ()
    raised: str = ""
    answered: int = 0
    unsupported: str = ""

    @property
    def correct(self) -> bool:
        """Whether every gradient, and the loss, is right."""
        return bool(self.findings) and all(finding.right for finding in self.findings.values())

    @property
    def known(self) -> tuple[Mistake, ...]:
        """The known mistakes that are named, of the formula at once or of its gradients one by one."""
        named = [*self.mistakes, *(mistake for finding in self.findings.values() for mistake in finding.mistakes)]
        return tuple(dict.fromkeys(named))

    def lines(self) -> list[str]:
        """What is said of it."""
        if self.unsupported:
            return [f"not tried: {self.unsupported}"]
        if self.raised:
            return [f"raised {self.raised}"]
        if self.correct:
            return ["right: the loss and every gradient"]
        lines = [self.findings[name].text for name in self.findings]
        if self.alternatives:
            sets = [" + ".join(mistake.label for mistake in other) for other in self.alternatives]
            more = f" and {len(sets) - SHOWN} more" if len(sets) > SHOWN else ""
            lines.append(f"the same numbers here: {'; '.join(sets[:SHOWN])}{more}")
        return lines


@dataclass(frozen=True)
class Diagnosis:
    """What is said of a formula, case by case; `str` of it is a report of a few lines.

    Attributes:
        cases: one for each activation and normalization it was tried with.
        unavailable: why the variant cannot run here, so that nothing is ruled; "" where it can.
    """

    cases: tuple[Case, ...]
    unavailable: str = ""

    @property
    def answered(self) -> list[Case]:
        """The cases in which it returned at all: one who raises at every problem does not take that activation."""
        return [case for case in self.cases if case.answered]

    @property
    def correct(self) -> bool:
        """Whether it is right in every case in which it returned, and returned in one at least."""
        return bool(self.answered) and all(case.correct for case in self.answered)

    @property
    def mistakes(self) -> tuple[str, ...]:
        """Names of the known mistakes, over all cases."""
        return tuple(dict.fromkeys(mistake.name for case in self.cases for mistake in case.known))

    def plain(self) -> dict:
        """The diagnosis as JSON has it."""
        cases = []
        for case in self.cases:
            findings = {
                name: {"right": finding.right, "mistakes": [m.label for m in finding.mistakes], "text": finding.text}
                for name, finding in case.findings.items()
            }
            alternatives = [[mistake.label for mistake in other] for other in case.alternatives]
            about = {"activation": case.activation, "normalization": case.normalization, "correct": case.correct}
            about |= {"raised": case.raised, "gradients": findings, "alternatives": alternatives}
            cases.append(about | {"unsupported": case.unsupported})
        ruling = "holds" if self.correct else "wrong" if self.tried else "not tried"
        return {"ruling": ruling, "reason": self.headline, "mistakes": list(self.mistakes), "cases": cases}

    @property
    def tried(self) -> bool:
        """Whether it was called at all, so that there is something to rule on."""
        return any(not case.unsupported for case in self.cases)

    @property
    def headline(self) -> str:
        """One line: right, or wrong by which known mistakes; or why it was not tried."""
        if self.correct:
            return "right: the loss and every gradient"
        if not self.tried:
            return f"not tried: {self.unavailable or self.cases[0].unsupported}"
        raised = [case.raised for case in self.answered or self.cases if case.raised]
        texts = list(dict.fromkeys(mistake.text for case in self.cases for mistake in case.known))
        wrong = [finding for case in self.cases for finding in case.findings.values() if not finding.right]
        if not texts and wrong and all(finding.form for finding in wrong):
            single = all(FLOAT32_PRECISION in finding.form for finding in wrong)
            texts = [f"it is {FLOAT32_PRECISION}" if single else wrong[0].form]
        if not texts and raised:
            texts = [f"it raised {raised[0]}"]
        return f"wrong: {'; and '.join(texts) or 'no known mistake, or two, reproduces its numbers'}"

    def __str__(self):
        groups = {}
        for case in self.cases:
            same = tuple((name, finding.right, finding.mistakes) for name, finding in case.findings.items())
            key = (case.normalization, same, case.alternatives, case.raised, case.unsupported)
            groups.setdefault(key, []).append(case)
        blocks = [self.headline]
        for (normalization, *_), cases in groups.items():
            where = "with batch normalization" if normalization == "batch" else "without normalization"
            names = ", ".join(case.activation for case in cases)
            blocks.append("\n    ".join([f"  {names}, {where}:", *cases[0].lines()]))
        return "\n".join(blocks)


def diagnose(
    step: Callable | type[Variant] | str,
    problem: Problem | Sequence[Problem] | None = None,
    *,
    activations: Sequence[str] = ACTIVATIONS,
    normalizations: Sequence[str] = NORMALIZATIONS,
) -> Diagnosis:
    """Say of a formula for the gradient whether it is right, and if not, which known mistake it makes.

    Args:
        step: a function as plug-ins have it, `step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof,
            eps)` returning `loss, dG1, dgamma, dbeta, dG2`; or a Variant class; or a variant's name.
        problem: what to try it on, one Problem or several. By default every activation with and without
            normalization, each on a few small problems made so that no mistake can hide: large eps and none, offsets,
            zeros, ties, both signs, saturation. A mistake that changes nothing at a given problem (N for N-ddof where
            ddof is 0) is not seen.
        activations, normalizations: which of them, where no problem is given.

    Returns:
        a `Diagnosis`: `.correct`, `.mistakes` (names), `.cases` with a finding for each gradient, and a text. A
        variant that cannot run here is not ruled on: `.unavailable` says why. Whatever the function raises is a
        finding, SystemExit too; only KeyboardInterrupt passes.

    Raises:
        ValueError: step is no function, Variant or variant's name, or an activation or normalization is none.
    """
    cls = as_variant(step)
    unavailable = cls.unavailable()
    if unavailable:
        return Diagnosis((), unavailable)
    if problem is None:
        settings = [(activation, normalization) for normalization in normalizations for activation in activations]
        for setting in settings:
            check_conventions(*setting, ddof=0, eps=0.0)
        return Diagnosis(tuple(_case(cls, *setting, _hard_trials(*setting)) for setting in settings))
    trials = [_trial(one) for one in ([problem] if isinstance(problem, Problem) else problem)]
    settings = dict.fromkeys((one.problem.activation, one.problem.normalization) for one in trials)
    cases = []
    for setting in settings:
        mine = tuple(one for one in trials if (one.problem.activation, one.problem.normalization) == setting)
        cases.append(_case(cls, *setting, mine))
    return Diagnosis(tuple(cases))


def as_variant(step) -> type[Variant]:
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
    body = {"family": "matrix", "function": staticmethod(step), "__doc__": step.__doc__ or "A function."}
    return type("Unregistered", (FunctionVariant,), body)


@dataclass(frozen=True)
class _Trial:
    """A problem, its batch, the true gradients and those of every set of known mistakes."""

    problem: Problem
    batch: Batch
    truth: Gradients
    known: dict[frozenset[Mistake], Gradients]


@functools.lru_cache(maxsize=32)
def _trial(problem) -> _Trial:
    return _make_trial(problem.sample(), problem)


@functools.lru_cache(maxsize=16)
def _hard_trials(activation, normalization) -> tuple[_Trial, ...]:
    return tuple(_make_trial(*pair) for pair in derivation_problems(activation, normalization))


def _make_trial(batch, problem):
    known = {made: mistaken(batch, problem, made) for made in combinations(problem.normalization)}
    truth = _truth(batch, problem)
    return _Trial(problem, batch, truth, known | {frozenset(): truth})


def _case(cls, activation, normalization, trials) -> Case:
    reasons = [cls.unsupported(trial.problem, "fresh") for trial in trials]
    if all(reasons):
        return Case(activation, normalization, (), {}, unsupported=reasons[0])
    trials = [trial for trial, reason in zip(trials, reasons, strict=True) if not reason]
    problems = tuple(trial.problem for trial in trials)
    answers, raised = [], []
    for trial in trials:
        try:
            answers.append(_answer(cls, trial.batch, trial.problem))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a user's formula raises is a finding, sys.exit too
            raised.append((trial.problem, " ".join(f"{type(error).__name__}: {error}".split())))
    if raised:
        at, text = raised[0]
        if answers:
            text += f" (at {_where(at)}; it returned on {len(answers)} of {len(trials)} problems)"
        return Case(activation, normalization, problems, {}, raised=text, answered=len(answers))
    sets = combinations(normalization)
    names = [name for name in Gradients._fields if getattr(trials[0].truth, name) is not None]

    def reproduces(made, name):
        pairs = zip(trials, answers, strict=True)
        return all(_same(answer[name], getattr(trial.known[made], name), trial.problem) for trial, answer in pairs)

    fits = {name: [made for made in sets if reproduces(made, name)] for name in names}
    whole = [made for made in sets if all(made in fits[name] for name in names if name != "loss")]
    best, *others = [made for made in whole if len(made) == len(whole[0])] or [frozenset()]
    findings = {}
    for name in names:
        of_best = [made for made in fits[name] if made <= best]
        findings[name] = _finding(name, of_best or fits[name], trials, answers)
    others = tuple(_ordered(made) for made in others)
    return Case(activation, normalization, problems, findings, _ordered(best), others, answered=len(answers))


def _answer(cls, batch, problem):
    """What the formula returned, a dict as `plain` gives it."""
    variant = cls()
    copies = Batch(*(None if array is None else array.copy() for array in batch))
    variant.prepare(copies, problem)
    variant.step()
    answer = plain(variant.result())
    for name, mine, given in zip(Batch._fields, batch, copies, strict=True):
        if mine is not None and not np.array_equal(mine, given):
            raise ValueError(f"{name} was overwritten; allowed is to read the arrays it is given")
    if isinstance(answer, str):
        raise TypeError(f"returned {answer}; allowed are loss, dG1, dgamma, dbeta, dG2")
    return answer


def _truth(batch, problem) -> Gradients:
    """The gradients to float64's last digit."""
    if problem.work > CERTIFIED_WORK:
        from bnbench.reference import reference

        return reference(batch, problem).high
    from bnbench.reference.certified import certify

    enclosed = certify(batch, problem).gradients
    midpoint = np.vectorize(lambda ball: float(ball.mid()), otypes=[float])
    return Gradients(*(None if part is None else midpoint(part) for part in enclosed))


def tolerance(problem: Problem) -> float:
    """The relative difference, in the 2-norm, up to which two computations of one formula count as the same."""
    return ROUNDINGS * float(np.finfo(problem.dtype).eps) / 2 * max(1.0, (problem.N / 1000) ** 0.5)


def _same(answer, right, problem, wider=1.0):
    if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f" or answer.shape != np.shape(right):
        return False
    difference, size = np.linalg.norm(answer - right), np.linalg.norm(right)
    allowed = wider * tolerance(problem)
    return bool(difference <= allowed * size) if size > 0 else bool(difference < np.finfo(float).tiny)


def _float32(triples):
    """Whether answers to float64 problems are right to float32's precision, and to no more."""
    if any(problem.dtype != "float64" or not _same(*rest, problem, FLOAT32_OVER_FLOAT64) for *rest, problem in triples):
        return False
    return any(
        np.linalg.norm(answer - right) > LEAST_FLOAT32_ERROR * np.linalg.norm(right) for answer, right, _ in triples
    )


def _finding(name, sets, trials, answers) -> Finding:
    """The finding for one gradient, from the sets of mistakes that reproduce it, fewest first."""
    triples = [(a[name], getattr(t.truth, name), t.problem) for t, a in zip(trials, answers, strict=True)]
    forms = [malformed(name, value, right, problem) for value, right, problem in triples]
    form = next(filter(None, forms), "")
    if _float32(triples):
        form = f"{form}; it is {FLOAT32_PRECISION}" if form else f"{name} is {FLOAT32_PRECISION}"
    if sets and not sets[0] and not form:
        return Finding(name, True, (), f"{name}: right")
    if sets and sets[0]:
        mistakes = _ordered(sets[0])
        text = "; and ".join(mistake.text for mistake in mistakes)
        return Finding(name, False, mistakes, f"{name}: wrong: {text} [{' + '.join(m.label for m in mistakes)}]")
    if form:
        return Finding(name, False, (), f"{name}: wrong: it{form.removeprefix(name)}", form)
    answer, truth, problem = next(triple for triple in triples if not _same(*triple))
    truth = np.asarray(truth)
    near = np.abs(answer - truth) <= tolerance(problem) * np.linalg.norm(truth) / truth.size**0.5
    index = tuple(int(i) for i in np.argwhere(~near)[0])  # also where it is NaN
    value, right = float(answer[index]), float(truth[index])
    entry = name + (f"[{', '.join(map(str, index))}]" if index else "")
    ratio = f", ratio {value / right:.6g}" if right else ""
    text = f"none known; first differing entry {entry} is {value:.10g}, true {right:.10g}{ratio} ({_where(problem)})"
    return Finding(name, False, (), f"{name}: wrong: {text}")


def _where(problem):
    return f"N={problem.N}, p1={problem.p1}, p2={problem.p2}, ddof={problem.ddof}, eps={problem.eps:g}"


def _ordered(made) -> tuple[Mistake, ...]:
    return tuple(mistake for mistake in MISTAKES if mistake in made)
