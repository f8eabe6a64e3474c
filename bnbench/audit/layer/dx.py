"""The finding on a layer's dx: right, a wrong factor on one of its three terms, or where else its error lies."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bnbench.audit.layer import differences, places
from bnbench.audit.layer.answers import IN_FLOAT32, Answers
from bnbench.audit.layer.terms import Batch, Factor, Letters
from bnbench.audit.layer.words import causes, grouped, scale_sentence

OUTSIDE = "outside the span: each node's dx is of its own dout, and no sum of dout, its mean and x̂ mean(dout x̂)"

Terms = dict[str, Factor]  # "a", "b", "c", those that have a name


def on_dx(answers: Answers) -> tuple[str, dict[str, str]]:
    """The finding on dx, and the factors of its terms as text."""
    layer, (given, truths) = answers.layer, answers.of("dx")
    finite = all(np.isfinite(mine).all() for mine in given)
    if not answers.batches and finite:
        return differences.on_gradient(answers, "dx", given), {}
    if not finite:
        return "has entries that are not finite", {}
    keeps = [batch.keep for batch in answers.batches]
    off = max(_errors(mine, truth, keep).max() for mine, truth, keep in zip(given, truths, keeps, strict=True))
    if off <= max(answers.tolerance, IN_FLOAT32):
        if off > answers.tolerance:
            layer.remark(f"dx is right to float32's precision ({off:.1g}) and no more")
        if below := _below_floor(answers):
            return below, {}
        letters = answers.letters(answers.batches, 1e-7)
        terms = _named(answers, letters, [batch.right for batch in answers.batches])[0]
        return "right", {name: str(factor) for name, factor in terms.items()}
    sentence, texts, otherwise = _explained(answers)
    if sentence:
        return sentence, texts
    number = min(range(len(given)), key=lambda i: answers.trials[i].x.size)
    trial, batch = answers.trials[number], answers.batches[number]
    text = places.place(layer, trial, batch, given[number], answers.tolerance) or otherwise or OUTSIDE
    return f"{text}; {answers.first_difference('dx')}", {}


def _errors(mine: np.ndarray, truth: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The relative difference of each column that is judged; 0 of others."""
    size = np.maximum(np.linalg.norm(truth, axis=0), 1e-3 * np.linalg.norm(truth) / max(truth.shape[-1], 1) ** 0.5)
    off = np.linalg.norm(mine - truth, axis=0) / np.maximum(size, 1e-300)
    return np.where(keep, np.where(np.isfinite(off), off, np.inf), 0.0)


def _below_floor(answers: Answers) -> str:
    """What is wrong where the variance is below its floor and s constant; an s-term there is a remark alone."""
    c = answers.conventions
    if c.eps_place != "floor":
        return ""
    for batch, given in zip(answers.batches, answers.given, strict=True):
        below = batch.sd**2 < 0.98 * c.scale(batch.SS, batch.M, batch.eps)[0] ** 2
        if _errors(given["dx"], batch.truth(), below).max() <= answers.tolerance:
            continue
        going_on = batch.right.copy()
        going_on[2] = batch.M / (batch.M - (c.ddof or 0))
        other = replace(batch, right=going_on).truth()
        if _errors(given["dx"], other, below).max() > answers.tolerance:
            return "is the gradient where the variance is above its floor, and not where it is below"
        answers.layer.remark(
            "where the variance is below its floor s is constant, and the s-term is 0; this dx has it there too"
        )
    return ""


def _explained(answers: Answers) -> tuple[str, dict[str, str], str]:
    """The sentence on dx where the three terms explain it, the terms, and what is said if nothing is mixed."""
    otherwise = unnamed = ""
    loose = answers.loose
    for batches in _bases(answers):
        fits = [batch.fit(given["dx"], loose) for batch, given in zip(batches, answers.given, strict=True)]
        left = max(left[batch.keep].max(initial=0) for (_, left), batch in zip(fits, batches, strict=True))
        if left > 10 * loose:
            continue
        factors = [factor for factor, _ in fits]
        letters = answers.letters(batches, loose)
        terms, values = _named(answers, letters, factors)
        if len(terms) < 3:
            a, b, c = values.values()
            ratio = letters.gather_list([batch.right[2] for batch in batches])
            if letters.find_other_scale(a, b, c / ratio if (ratio != 0).all() else c, c):
                terms, values = _named(answers, letters, factors)
        if len(terms) == 3:
            right, _ = _named(answers, letters, [batch.right for batch in answers.batches])
            return _sentence(answers, letters, terms, right, values), {k: str(v) for k, v in terms.items()}, ""
        otherwise = otherwise or places.column_constants(factors, batches, loose)
        unnamed = unnamed or _unnamed(values, terms)
    return "", {}, otherwise or unnamed


def _unnamed(values: dict[str, np.ndarray], terms: Terms) -> str:
    """What is said of factors that are no product of known letters: their range."""
    parts = [
        f"{name} = {terms[name]}" if name in terms else f"{name} from {np.nanmin(v):.3g} to {np.nanmax(v):.3g}"
        for name, v in values.items()
    ]
    return f"a sum of the three terms, with {', '.join(parts)}: no power of N, γ and s gives that"


def _bases(answers: Answers) -> Iterator[list[Batch]]:
    """The batches as they are; for given statistics also with x̂ about the batch's own mean."""
    yield answers.batches
    if answers.conventions.statistics == "frozen":
        pairs = zip(answers.batches, answers.trials, strict=True)
        yield [replace(batch, xhat=(trial.x - batch.mu) / batch.s) for batch, trial in pairs]


def _named(answers: Answers, letters: Letters, factors: list[np.ndarray]) -> tuple[Terms, dict[str, np.ndarray]]:
    """The factors a, b, c that have a name, and their numbers."""
    values = {name: letters.gather_list([f[k] for f in factors]) for k, name in enumerate("abc")}
    named = {name: letters.explain(v) for name, v in values.items()}
    if named["c"] is None:  # perhaps it is the right one, times something
        right = letters.gather_list([batch.right[2] for batch in answers.batches])
        if (right != 0).all():
            ratio, true = letters.explain(values["c"] / right), letters.explain(right)
            if ratio is not None and true is not None and not ratio.plus:
                named["c"] = ratio.times(true)
    return {name: factor for name, factor in named.items() if factor is not None}, values


def _sentence(answers: Answers, letters: Letters, terms: Terms, right: Terms, values: dict[str, np.ndarray]) -> str:
    """Which factors are wrong, what belongs there, and what usually causes it."""
    wrong = {}
    for k, name in enumerate("abc"):
        true = letters.gather_list([batch.right[k] for batch in answers.batches])
        hidden = np.abs(true[np.isnan(values[name])]).max(initial=0)
        off = np.nanmax(np.abs(values[name] - true), initial=hidden)
        if off > (1e-3 if answers.layer.single else 1e-6) * max(1, np.abs(true).max()):
            wrong[name] = (terms[name], right.get(name, Factor(1.0)))
    said = grouped(wrong)
    if letters.other:
        said += f", {scale_sentence(letters.other, answers.conventions)}"
    cause = causes(wrong, terms, answers.conventions, letters.other)
    return said + (f": {cause}" if cause else "")
