"""What is wrong with a formula: each of its gradients held against the truth and against every known mistake."""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bnbench.audit import reading
from bnbench.audit.conventions import Conventions, find
from bnbench.audit.mistakes import MISTAKES, VARIANCE, Mistake, combinations, mistaken
from bnbench.problem import ACTIVATIONS, NORMALIZATIONS, Batch, Gradients, Problem, check_conventions
from bnbench.validation import (
    DERIVATION_KINDS,
    DERIVATIONS,
    FLOAT32_OVER_FLOAT64,
    FLOAT32_PRECISION,
    derivation_problem,
    malformed,
    plain,
    raised_text,
)
from bnbench.variants import Variant, variants
from bnbench.variants.base import FunctionVariant

CERTIFIED_WORK = 100_000  # N p1 p2 up to which the truth is certified (about a second); the sweep's reference beyond
ROUNDINGS = 4096  # by which a formula computed otherwise may differ, at up to 1000 rows; above, it grows as √N
MOST_CANCELLED = 64  # a gradient this much smaller than its terms is held to their rounding, not to its own
SHOWN = 3  # alternatives that are named
PLAIN_DDOF, PLAIN_EPS = (0, 1), (1e-5, 0.1)  # of ordinary problems, where nothing else is asked or built in
LEAST_CANCELLATION = 10.0  # (μ/s)² from which on E[z²] - μ² is excused what it loses
LOST_DIGITS = "it loses digits at an offset of Z, as E[z²] - μ² does: Σ(z - μ)²/N keeps them"
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
        reading: where no known mistake reproduces it, the factor by which it or its terms are off; or "".
    """

    name: str
    right: bool
    mistakes: tuple[Mistake, ...]
    text: str
    form: str = ""
    reading: str = ""

    @property
    def explained(self) -> bool:
        """Whether it is right, or said what is wrong with it."""
        return bool(self.right or self.mistakes or self.form or self.reading)


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
        conventions: what was found to be built in.
        remarks: what is no mistake and yet worth saying.
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
    conventions: Conventions = field(default_factory=Conventions)
    remarks: tuple[str, ...] = ()

    @property
    def correct(self) -> bool:
        """Whether every gradient, and the loss, is right."""
        return bool(self.findings) and all(finding.right for finding in self.findings.values())

    @property
    def known(self) -> tuple[Mistake, ...]:
        """The known mistakes that are named, of the formula at once or of its gradients one by one."""
        named = [*self.mistakes, *(mistake for finding in self.findings.values() for mistake in finding.mistakes)]
        return tuple(dict.fromkeys(named))

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The outputs that are wrong and that nothing known explains."""
        return tuple(name for name, finding in self.findings.items() if not finding.explained)

    def lines(self) -> list[str]:
        """What is said of it."""
        if self.unsupported:
            return [f"not tried: {self.unsupported}"]
        if self.raised:
            return [f"raised {self.raised}"]
        remarks = [f"remark: {remark}" for remark in self.remarks]
        if self.correct:
            return ["right: the loss and every gradient", *remarks]
        lines = [self.findings[name].text for name in self.findings]
        if self.alternatives:
            sets = [" + ".join(mistake.label for mistake in other) for other in self.alternatives]
            more = f" and {len(sets) - SHOWN} more" if len(sets) > SHOWN else ""
            lines.append(f"the same numbers here: {'; '.join(sets[:SHOWN])}{more}")
        return lines + remarks


@dataclass(frozen=True)
class Diagnosis:
    """What is said of a formula, case by case; `str` of it is a report of a few lines.

    Attributes:
        cases: one for each activation and normalization it was tried with.
        unavailable: why the variant cannot run here, so that nothing is ruled; "" where it can.
        own: what it is right for in its own conventions, where it is wrong for those that were asked; or "".
    """

    cases: tuple[Case, ...]
    unavailable: str = ""
    own: str = ""

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

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The outputs that are wrong and that nothing known explains, over all cases."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.unexplained))

    @property
    def conventions(self) -> Conventions:
        """Those of the first case that returned."""
        return next((case.conventions for case in self.answered), Conventions())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is no mistake and yet worth saying, over all cases."""
        return tuple(dict.fromkeys(remark for case in self.answered for remark in case.remarks))

    def plain(self) -> dict:
        """The diagnosis as JSON has it."""
        cases = []
        for case in self.cases:
            findings = {
                name: {
                    "right": finding.right,
                    "mistakes": [m.label for m in finding.mistakes],
                    "reading": finding.reading,
                    "text": finding.text,
                }
                for name, finding in case.findings.items()
            }
            alternatives = [[mistake.label for mistake in other] for other in case.alternatives]
            about = {"activation": case.activation, "normalization": case.normalization, "correct": case.correct}
            about |= {"raised": case.raised, "gradients": findings, "alternatives": alternatives}
            about |= {"conventions": case.conventions.plain(), "unexplained": list(case.unexplained)}
            cases.append(about | {"unsupported": case.unsupported})
        ruling = "holds" if self.correct else "wrong" if self.tried else "not tried"
        return {
            "ruling": ruling,
            "reason": self.headline,
            "correct": self.correct,
            "conventions": self.conventions.plain(),
            "mistakes": list(self.mistakes),
            "unexplained": list(self.unexplained),
            "remarks": list(self.remarks),
            "cases": cases,
        }

    @property
    def tried(self) -> bool:
        """Whether it was called at all, so that there is something to rule on."""
        return any(not case.unsupported for case in self.cases)

    @property
    def headline(self) -> str:
        """One line: right, or wrong by which known mistakes; or why it was not tried."""
        if self.correct:
            said = list(dict.fromkeys(phrase for case in self.answered for phrase in case.conventions.says()))
            return "; ".join(["right: the loss and every gradient", *([", ".join(said)] if said else [])])
        if not self.tried:
            return f"not tried: {self.unavailable or self.cases[0].unsupported}"
        raised = [case.raised for case in self.answered or self.cases if case.raised]
        wrong = [finding for case in self.cases for finding in case.findings.values() if not finding.right]
        texts = list(dict.fromkeys(mistake.text for case in self.cases for mistake in case.known))
        texts += list(dict.fromkeys(finding.reading for finding in wrong if finding.reading))
        if not texts and wrong and all(finding.form for finding in wrong):
            single = all(FLOAT32_PRECISION in finding.form for finding in wrong)
            texts = [f"it is {FLOAT32_PRECISION}" if single else wrong[0].form]
        if texts and (left := self.unexplained):
            names = " and ".join(left)
            texts.append(f"{names} {'is' if len(left) == 1 else 'are'} wrong in a way that no known mistake explains")
        if not texts and raised:
            texts = [f"it raised {raised[0]}"]
        if self.own:
            return f"wrong for what it was held to; {self.own}" + "".join(f"; held to that: {text}" for text in texts)
        return f"wrong: {'; and '.join(texts) or 'no known mistake, or two, reproduces its numbers'}"

    def __str__(self):
        groups = {}
        for case in self.cases:
            same = tuple((name, finding.right, finding.mistakes) for name, finding in case.findings.items())
            key = (case.normalization, same, case.alternatives, case.raised, case.unsupported, case.remarks)
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
    activations: Sequence[str] | None = None,
    normalizations: Sequence[str] | None = None,
    ddof: Sequence[int] | int | None = None,
    eps: Sequence[float] | float | None = None,
    sizes: Sequence[tuple[int, int, int]] | None = None,
    dtypes: Sequence[str] = ("float64",),
) -> Diagnosis:
    """Say of a formula for the gradient whether it is right, and if not, which known mistake it makes.

    Args:
        step: a function as plug-ins have it, `step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof,
            eps)` returning `loss, dG1, dgamma, dbeta, dG2`, where a keyword that it does not take is not given to it;
            or a Variant class; or a variant's name.
        problem: what to try it on, one Problem or several, whose conventions it is held to. By default it is judged
            in its own: what it ignores or refuses (activation, ddof, eps) is found out, and it is tried with and
            without normalization on a few small problems made so that no mistake can hide: large eps and none,
            offsets, zeros, ties, both signs, saturation. A mistake that changes nothing at a given problem (N for
            N-ddof where ddof is 0) is not seen.
        activations, normalizations, ddof, eps: those it is held to, where no problem is given.
        sizes, dtypes: (N, p1, p2) of ordinary problems, in place of those small ones.

    Returns:
        a `Diagnosis`: `.correct`, `.conventions`, `.mistakes` (names), `.cases` with a finding for each gradient, and
        a text. A variant that cannot run here is not ruled on: `.unavailable` says why. Whatever the function raises
        is a finding, SystemExit too; only KeyboardInterrupt passes.

    Raises:
        ValueError: step is no function, Variant or variant's name, or a convention is none.
    """
    cls = as_variant(step)
    unavailable = cls.unavailable()
    if unavailable:
        return Diagnosis((), unavailable)
    bound = {"ddof": _several(ddof), "eps": _several(eps)}
    if problem is None:
        cases = _own_cases(cls, activations, normalizations, bound, sizes, dtypes)
    else:
        given = [problem] if isinstance(problem, Problem) else list(problem)
        cases = []
        for setting in dict.fromkeys((one.activation, one.normalization) for one in given):
            mine = [_trial(one) for one in given if (one.activation, one.normalization) == setting]
            cases.append(_case(cls, *setting, mine))
    found = Diagnosis(tuple(cases))
    if found.correct or not found.answered or (problem is None and not any(bound.values())):
        return found
    first = next(case for case in found.answered)
    own = find(functools.partial(_quietly, cls), (first.activation, *ACTIVATIONS), first.normalization)
    if not own.says():
        return found
    held = diagnose(cls, activations=[own.activation or first.activation], normalizations=[first.normalization])
    return replace(found, own=f"in its own conventions it is {held.headline}" if held.correct else "")


def _several(value):
    return () if value is None else tuple(value) if isinstance(value, Sequence) else (value,)


def _own_cases(cls, activations, normalizations, bound, sizes, dtypes) -> list[Case]:
    """The cases of a formula in its own conventions, where it is not held to others."""
    cases = []
    for normalization in normalizations or NORMALIZATIONS:
        names = tuple(activations or ACTIVATIONS)
        for name in names:
            check_conventions(name, normalization, *(max(values, default=0) for values in bound.values()))
        asked = functools.partial(_quietly, cls)
        own = find(asked, tuple(dict.fromkeys((*names, *ACTIVATIONS))), normalization)
        for name in names:
            if own.activation not in ("", name) and not activations:
                reason = f"the activation is ignored: {own.activation} is built in"
                cases.append(Case(name, normalization, (), {}, unsupported=reason))
                continue
            kinds = list(_kinds(own, bound, sizes, dtypes))
            trials = [_hard_trial(*kind, name, normalization, own.eps_place) for kind in kinds] if not sizes else [
                _trial(Problem(*size, name, normalization, ddof, eps, dtype), own.eps_place)
                for size, ddof, eps, dtype in kinds
            ]  # fmt: skip
            cases.append(_case(cls, name, normalization, trials, own))
    return cases


def _kinds(own, bound, sizes, dtypes):
    """What it is tried on: (place, ddof, eps) of the derivation problems, or (size, ddof, eps, dtype)."""

    def allowed(name, built_in, only):
        return bound[name] or (() if built_in is None else (built_in,)) or only

    ddofs, every_eps = allowed("ddof", own.ddof, own.only_ddof), allowed("eps", own.eps, own.only_eps)
    if sizes:
        yield from itertools.product(sizes, ddofs or PLAIN_DDOF, every_eps or PLAIN_EPS, dtypes)
        return
    for place in range(DERIVATIONS):
        _, ddof, eps, *_ = DERIVATION_KINDS[place]
        yield (
            place,
            ddof if not ddofs or ddof in ddofs else ddofs[place % len(ddofs)],
            eps if not every_eps or eps in every_eps else every_eps[place % len(every_eps)],
        )


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


class _Trial:
    """A problem, its batch, the true gradients, and those of sets of known mistakes, computed when asked for."""

    def __init__(self, batch: Batch, problem: Problem, place: str):
        self.batch, self.problem, self.place = batch, problem, place
        self.truth = _truth(batch, problem) if place == VARIANCE else mistaken(batch, problem, frozenset(), place)
        self.made = {(frozenset(), place): self.truth}

    def known(self, made: frozenset[Mistake], place: str) -> Gradients:
        """The gradients with these mistakes."""
        if (made, place) not in self.made:
            self.made[made, place] = mistaken(self.batch, self.problem, made, place)
        return self.made[made, place]

    @functools.cached_property
    def letters(self) -> dict:
        """N, γ, s and the terms of ∂R/∂Γ1."""
        return reading.letters(self.batch, self.problem, self.place)

    def same(self, name, answer, right, wider=1.0) -> bool:
        """Whether an answer's part is this one, to rounding."""
        return _same(answer[name], right, self.problem, wider, self.terms if name == "dG1" else 0.0)

    @functools.cached_property
    def terms(self) -> float:
        """The size of what is added up in ∂R/∂Γ1: with eps = 0 and one input, say, it cancels to nothing."""
        return max((np.linalg.norm(term) for term in self.letters.get("terms", ())), default=0.0)

    @functools.cached_property
    def cancels(self) -> float:
        """By how much E[z²] - μ² loses more digits than Σ(z - μ)² does: the largest (μ/s)² of a node."""
        if self.problem.normalization != "batch":
            return 0.0
        means = (self.batch.X @ self.batch.G1).mean(axis=0)
        return float(np.max((means / np.asarray(self.letters["s"])) ** 2, initial=0.0))


@functools.lru_cache(maxsize=32)
def _trial(problem, place=VARIANCE) -> _Trial:
    return _Trial(problem.sample(), problem, place)


@functools.lru_cache(maxsize=128)
def _hard_trial(kind, ddof, eps, activation, normalization, place) -> _Trial:
    return _Trial(*derivation_problem(kind, activation, normalization, ddof, eps), place)


def _declines(cls, problem) -> str:
    """Why a variant cannot take a problem; of a function's only what it says itself: the rest is found out."""
    if issubclass(cls, FunctionVariant):
        return cls.declines(problem)
    return cls.unsupported(problem, "fresh")


def _quietly(cls, batch, problem):
    """What the formula returned; None where it takes no such problem, or raised."""
    if _declines(cls, problem):
        return None
    try:
        return _answer(cls, batch, problem)[0]
    except KeyboardInterrupt:
        raise
    except BaseException:  # whatever it raises is said when it is judged
        return None


def _case(cls, activation, normalization, trials, own=None) -> Case:
    own = own or Conventions()
    reasons = [_declines(cls, trial.problem) for trial in trials]
    if all(reasons):
        return Case(activation, normalization, (), {}, unsupported=reasons[0])
    remarks = [f"it was not tried where {reason}" for reason in dict.fromkeys(filter(None, reasons))]
    asked = [trial for trial, reason in zip(trials, reasons, strict=True) if not reason]
    trials, answers, raised = [], [], []
    for trial in asked:
        try:
            answer, read = _answer(cls, trial.batch, trial.problem)
            answers.append(answer)
            trials.append(trial)
            remarks += read
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a user's formula raises is a finding, sys.exit too
            raised.append((trial.problem, error))
    problems = tuple(trial.problem for trial in asked)
    refused = all(isinstance(error, NotImplementedError) for _, error in raised)
    if raised and not (answers and refused):
        at, error = raised[0]
        where = f" (at {_where(at)}; it returned on {len(answers)} of {len(asked)} problems)" if answers else ""
        text = raised_text(error, at, where)
        if refused:
            return Case(activation, normalization, (), {}, unsupported=text)
        return Case(activation, normalization, problems, {}, raised=text, answered=len(answers), conventions=own)
    if raised:
        remarks += [f"it was not tried at {_where(at)}: {raised_text(error, at)}" for at, error in raised[:1]]
    names = [name for name in Gradients._fields if getattr(trials[0].truth, name) is not None]
    fits, whole = _explanations(names, trials, answers, normalization, own.eps_place)
    best, *others = [made for made in whole if len(made) == len(whole[0])] or [frozenset()]
    findings = {}
    for name in names:
        of_best = [made for made in fits[name] if made <= best]
        alone = [made for made in fits[name] if not any(mistake.whole for mistake in made)]
        findings[name] = _finding(name, of_best or alone, trials, answers)
    wrong = [name for name in names if not findings[name].explained]
    for name in wrong:
        if said := _reading(cls, name, own, trials, answers):
            text = f"{name}: wrong: {said}"
            findings[name] = replace(findings[name], reading=said, text=text)
    if any(_lost(name, trials, answers) for name in names if findings[name].right):
        remarks.append(LOST_DIGITS)
    others = tuple(_ordered(made) for made in others)
    return Case(activation, normalization, problems, findings, _ordered(best), others, answered=len(answers),
                conventions=own, remarks=tuple(dict.fromkeys(remarks)))  # fmt: skip


def _explanations(names, trials, answers, normalization, place):
    """By name, the sets of mistakes that reproduce it, and the sets that reproduce all but the loss; fewest first.

    Pairs are looked for only where one mistake does not do.
    """
    fits, whole = {name: [] for name in names}, []

    def reproduced(made, at):
        left = names
        for trial, answer in zip(trials, answers, strict=True):
            known = trial.known(made, at)
            wider = 1 + trial.cancels if made and trial.cancels >= LEAST_CANCELLATION else 1.0
            left = [name for name in left if trial.same(name, answer, getattr(known, name), wider)]
            if not left:
                break
        return left

    for size, sets in itertools.groupby(combinations(normalization), len):
        if size > 1 and whole:
            break
        for made in sets:
            for at in dict.fromkeys((place, VARIANCE)):
                if at != place and not made:
                    continue
                left = reproduced(made, at)
                if not made:
                    left += [name for name in names if name not in left and _lost(name, trials, answers)]
                for name in left:
                    if made not in fits[name]:
                        fits[name].append(made)
                if all(name in left for name in names if name != "loss") and made not in whole:
                    whole.append(made)
    return fits, whole


def _lost(name, trials, answers) -> bool:
    """Whether it is right up to the digits that E[z²] - μ² loses at an offset, and not beyond."""
    strict = True
    for trial, answer in zip(trials, answers, strict=True):
        right = getattr(trial.truth, name)
        if trial.same(name, answer, right):
            continue
        strict = False
        if trial.cancels < LEAST_CANCELLATION or not trial.same(name, answer, right, 1 + trial.cancels):
            return False
    return not strict


def _reading(cls, name, own, trials, answers) -> str:
    """The factor by which a gradient, or a term of ∂R/∂Γ1, is off; "" where there is no such."""
    if name != "dG1":
        triples = [(a[name], getattr(t.truth, name), t.letters) for t, a in zip(trials, answers, strict=True)
                   if isinstance(a[name], np.ndarray)]  # fmt: skip
        factor = reading.of_vector(triples)
        return f"{name} is {factor} times what it should be" if factor else ""
    problem = trials[0].problem
    if problem.normalization != "batch":
        return ""
    triples = []
    for batch, fitted in reading.fit_problems(problem.activation, problem.ddof, problem.eps):
        answer = _quietly(cls, batch, fitted)
        if answer is None:
            return ""
        triples.append((answer[name], reading.letters(batch, fitted, own.eps_place)))
    return reading.of_terms(triples) or reading.of_eps(triples) or reading.of_other_s(triples)


def _answer(cls, batch, problem):
    """What the formula returned, a dict as `plain` gives it, and remarks on how it was read."""
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
    return answer, list(getattr(variant, "read", ()))


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


def _same(answer, right, problem, wider=1.0, terms=0.0):
    """Whether two computations of one formula agree; `terms` is the size of what cancels in it."""
    if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
        return False
    if np.ndim(right) == 0 and answer.ndim == 1:  # a sum without its axis, handed out once for each node
        right = np.full(answer.shape, right)
    if answer.shape != np.shape(right):
        return False
    difference, size = np.linalg.norm(answer - right), np.linalg.norm(right)
    size, allowed = max(size, terms / MOST_CANCELLED), wider * tolerance(problem)
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
    pairs = zip(trials, answers, strict=True)
    at = next(n for n, (trial, mine) in enumerate(pairs) if not trial.same(name, mine, getattr(trial.truth, name)))
    answer, truth, problem = triples[at]
    truth = np.asarray(truth)
    near = np.abs(answer - truth) <= tolerance(problem) * np.linalg.norm(truth) / truth.size**0.5
    index = tuple(int(i) for i in np.argwhere(~near)[0])  # also where it is NaN
    value, right = float(answer[index]), float(truth[index])
    entry = name + (f"[{', '.join(map(str, index))}]" if index else "")
    ratio = f", ratio {_apart(value / right, 1.0)[0]}" if right else ""
    value, right = _apart(value, right)
    text = f"none known; first differing entry {entry} is {value}, true {right}{ratio} ({_where(problem)})"
    return Finding(name, False, (), f"{name}: wrong: {text}")


def _apart(value: float, other: float) -> tuple[str, str]:
    """Two numbers with as many digits as show that they differ, six at least."""
    return next(
        (pair for digits in range(6, 17) if (pair := (f"{value:.{digits}g}", f"{other:.{digits}g}"))[0] != pair[1]
         and float(pair[0]) != float(pair[1])),
        (repr(value), repr(other)),
    )  # fmt: skip


def _where(problem):
    return f"N={problem.N}, p1={problem.p1}, p2={problem.p2}, ddof={problem.ddof}, eps={problem.eps:g}"


def _ordered(made) -> tuple[Mistake, ...]:
    return tuple(mistake for mistake in MISTAKES if mistake in made)
