"""A formula under one activation and normalization: each gradient held against the truth and every known mistake."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bnbench.audit import reading
from bnbench.audit.conventions import Conventions
from bnbench.audit.edits import VARIANCE
from bnbench.audit.findings import FROZEN, Case, Finding
from bnbench.audit.formula import answer_of, answer_or_none, reason_declined
from bnbench.audit.mistakes import ORDER, Mistake, combinations, terms_of
from bnbench.audit.trial import Trial, layer_of, same, tolerance
from bnbench.problem import Problem
from bnbench.validation import FLOAT32_OVER_FLOAT64, FLOAT32_PRECISION, MISSING, malformed, raised_text
from bnbench.variants import Variant

Answer = dict[str, Any]  # of a formula, by name; as `parts_of` gives it
Made = frozenset[Mistake]

LEAST_CANCELLATION = 10.0  # (μ/s)² from which E[z²] - μ² may lose digits
LOST_DIGITS = "it loses digits where Z has an offset, as E[z²] - μ² does: Σ(z - μ)²/N keeps them"
LEAST_FLOAT32_ERROR = 2.0**-28  # relative: nothing that float32 rounds is nearer than this in all its entries


def case_of(
    cls: type[Variant],
    activation: str,
    normalization: str,
    trials: Sequence[Trial],
    own: Conventions | None = None,
) -> Case:
    """The findings on a formula in these trials, in its own conventions if they are known."""
    own = own or Conventions()
    network = {name: getattr(trials[0].problem, name) for name in ("loss", "depth", "linear", "units")}
    reasons = [reason_declined(cls, trial.problem) for trial in trials]
    if all(reasons):
        return Case(activation, normalization, (), {}, unsupported=reasons[0], **network)
    remarks = [f"it was not tried where {reason}" for reason in dict.fromkeys(filter(None, reasons))]
    asked = [trial for trial, reason in zip(trials, reasons, strict=True) if not reason]
    answered: list[Trial] = []
    answers: list[Answer] = []
    raised: list[tuple[Problem, BaseException]] = []
    for trial in asked:
        try:
            answer, read = answer_of(cls, trial.batch, trial.problem)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a user's formula raises is a finding, sys.exit too
            raised.append((trial.problem, error))
        else:
            answers.append(answer)
            answered.append(trial)
            remarks += read
    problems = tuple(trial.problem for trial in asked)
    refused = all(isinstance(error, NotImplementedError) for _, error in raised)
    if raised and not answers:
        at, first = raised[0]
        if refused:
            return Case(activation, normalization, (), {}, unsupported=raised_text(first, at), **network)
        return Case(activation, normalization, problems, {}, raised=raised_text(first, at), conventions=own, **network)
    stopped = ""
    if raised and refused:
        remarks += [f"it was not tried at {_place_of(at)}: {raised_text(first, at)}" for at, first in raised[:1]]
    elif raised:
        at, first = raised[0]
        where = f" (at {_place_of(at)}; it returned on {len(answers)} of {len(asked)} problems)"
        stopped = raised_text(first, at, where)
    names = _names(answered[0])
    for answer in answers:
        answer.update({name: MISSING for name in names if name not in answer})
    fits, whole = _explanations(names, answered, answers, own.eps_place)
    best, *others = [made for made in whole if len(made) == len(whole[0])] or [frozenset()]
    findings = {}
    for name in names:
        of_best = [made for made in fits[name] if made <= best]
        alone = [made for made in fits[name] if not any(mistake.whole for mistake in made)]
        finding = _finding(name, of_best or alone, answered, answers)
        if not finding.explained and (said := _reading(cls, name, own, answered, answers)):
            finding = replace(finding, reading=said, text=f"{name}: wrong: {said}")
        findings[name] = finding
    if any(_lost(name, answered, answers) for name in names if findings[name].right):
        remarks.append(LOST_DIGITS)
    if [(one.name, len(one.layers)) for one in best] == [("mu-and-s-constant", trials[0].problem.depth)]:
        remarks.append(FROZEN)
    return Case(
        activation,
        normalization,
        problems,
        findings,
        _ordered(best),
        tuple(_ordered(made) for made in others),
        raised=stopped,
        answered=len(answers),
        conventions=own,
        remarks=tuple(dict.fromkeys(remarks)),
        **network,
    )


def _names(trial: Trial) -> list[str]:
    """The parts of an answer; of several layers from the head down, as they are computed."""
    names = [name for name, part in trial.truth.items() if part is not None]
    if trial.problem.depth == 1:
        return names
    return sorted(names, key=lambda name: layer_of(name) if "[" in name else trial.problem.depth, reverse=True)


def _explanations(
    names: list[str], trials: Sequence[Trial], answers: Sequence[Answer], place: str
) -> tuple[dict[str, list[Made]], list[Made]]:
    """By name, the sets of mistakes that reproduce it, and the sets that reproduce all but the loss; fewest first.

    Pairs are looked for only where one mistake does not do.
    """
    fits: dict[str, list[Made]] = {name: [] for name in names}
    whole: list[Made] = []

    def reproduced(made: Made, at: str) -> list[str]:
        left = names
        for trial, answer in zip(trials, answers, strict=True):
            known = trial.known(made, at)
            wider = 1 + trial.cancels if made and trial.cancels >= LEAST_CANCELLATION else 1.0
            left = [name for name in left if name in known and trial.same(name, answer, known[name], wider)]
            if not left:
                break
        return left

    problem = trials[0].problem
    candidates = combinations(problem.normalization, problem.loss, problem.depth, terms_of(problem))
    for size, sets in itertools.groupby(candidates, len):
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
                if not made and len(left) == len(names):
                    return fits, whole  # it is right
    return fits, whole


def _lost(name: str, trials: Sequence[Trial], answers: Sequence[Answer]) -> bool:
    """Whether it is right up to the digits that E[z²] - μ² loses at an offset, and not beyond."""
    strict = True
    for trial, answer in zip(trials, answers, strict=True):
        right = trial.truth[name]
        if trial.same(name, answer, right):
            continue
        strict = False
        if trial.cancels < LEAST_CANCELLATION or not trial.same(name, answer, right, 1 + trial.cancels):
            return False
    return not strict


def _reading(
    cls: type[Variant], name: str, own: Conventions, trials: Sequence[Trial], answers: Sequence[Answer]
) -> str:
    """The factor by which a gradient, or a term of ∂R/∂Γ1, is off; "" where there is none."""
    layer = layer_of(name)
    if name != "dG1":
        pairs = [(t, a[name]) for t, a in zip(trials, answers, strict=True) if isinstance(a[name], np.ndarray)]
        factor = reading.of_vector([(value, trial.truth[name], trial.letters[layer]) for trial, value in pairs])
        return f"{name} is {factor} times what it should be" if factor else ""
    problem = trials[0].problem
    if problem.normalization != "batch":
        return ""
    triples = []
    for batch, fitted in reading.fit_problems(problem):
        answer = answer_or_none(cls, batch, fitted)
        if answer is None:
            return ""
        triples.append((answer[name], reading.letters(batch, fitted, own.eps_place)[0]))
    return reading.of_terms(triples) or reading.of_eps(triples) or reading.of_other_s(triples)


def _float32(triples: Sequence[tuple[Any, Any, Problem]]) -> bool:
    """Whether answers to float64 problems are right to float32's precision, and to no more."""
    if any(p.dtype != "float64" or not same(mine, right, p, FLOAT32_OVER_FLOAT64) for mine, right, p in triples):
        return False
    return any(
        np.linalg.norm(answer - right) > LEAST_FLOAT32_ERROR * np.linalg.norm(right) for answer, right, _ in triples
    )


def _finding(name: str, sets: Sequence[Made], trials: Sequence[Trial], answers: Sequence[Answer]) -> Finding:
    """The finding for one gradient, from the sets of mistakes that reproduce it, fewest first."""
    triples = [(a[name], t.truth[name], t.problem) for t, a in zip(trials, answers, strict=True)]
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
    at = next(n for n, (trial, mine) in enumerate(pairs) if not trial.same(name, mine, trial.truth[name]))
    answer, truth, problem = triples[at]
    truth = np.asarray(truth)
    near = np.abs(answer - truth) <= tolerance(problem) * np.linalg.norm(truth) / truth.size**0.5
    index = tuple(int(i) for i in np.argwhere(~near)[0])  # also where it is NaN
    value, right = float(answer[index]), float(truth[index])
    entry = name + (f"[{', '.join(map(str, index))}]" if index else "")
    ratio = f", ratio {_apart(value / right, 1.0)[0]}" if right else ""
    mine, true = _apart(value, right)
    text = f"none known; first differing entry {entry} is {mine}, true {true}{ratio} ({_place_of(problem)})"
    return Finding(name, False, (), f"{name}: wrong: {text}")


def _apart(value: float, other: float) -> tuple[str, str]:
    """Two numbers with as many digits as show that they differ, six at least."""
    return next(
        (pair for digits in range(6, 17) if (pair := (f"{value:.{digits}g}", f"{other:.{digits}g}"))[0] != pair[1]
         and float(pair[0]) != float(pair[1])),
        (repr(value), repr(other)),
    )  # fmt: skip


def _place_of(problem: Problem) -> str:
    return f"N={problem.N}, p1={problem.p1}, p2={problem.p2}, ddof={problem.ddof}, eps={problem.eps:g}"


def _ordered(made: Iterable[Mistake]) -> tuple[Mistake, ...]:
    return tuple(sorted(made, key=lambda mistake: (ORDER[mistake.name, mistake.where], mistake.layers)))
