"""The finding on a layer's dgamma and dbeta: right, another sum, a wrong factor or a wrong shape."""

from collections.abc import Iterator

import numpy as np

from bnbench.audit.layer import differences
from bnbench.audit.layer.answers import IN_FLOAT32, Answers
from bnbench.audit.layer.layouts import shape_in, to_rows
from bnbench.audit.layer.terms import Factor, Letters
from bnbench.audit.layer.words import scale_sentence

SUMS = {"dgamma": "Σ dout x̂", "dbeta": "Σ dout"}  # what each is


def on_parameter(answers: Answers, name: str) -> tuple[str, dict[str, str]]:
    """The finding on dgamma or dbeta, and its factor as text."""
    layer, width = answers.layer, answers.width
    given, truths = answers.of(name)
    if any(value.size != width for value in given):
        return _misshapen(answers, name, given[0], truths[0]), {}
    others = {value.shape for value in given} - {layer.manner.shape}
    if others and {"gamma", "beta"} & layer.takes:
        shape = next(iter(others))
        layer.remark(f"{name} has the shape {shape}, where {name[1:]} has {layer.manner.shape}: the same numbers")
    mine = [value.ravel() for value in given]
    if not all(np.isfinite(value).all() for value in mine):
        return "has entries that are not finite", {}
    if not answers.batches:
        return differences.on_gradient(answers, name, mine), {}
    sizes = [np.abs(b.S * (b.xhat if name == "dgamma" else 1)).sum(0) for b in answers.batches]  # of a sum's terms
    off = max(float((np.abs(m - t) / np.maximum(s, 1e-300)).max()) for m, t, s in zip(mine, truths, sizes, strict=True))
    letters = answers.letters(answers.batches, answers.loose)
    if off <= max(answers.tolerance, IN_FLOAT32):
        if off > answers.tolerance:
            layer.remark(f"{name} is right to float32's precision and no more")
        return "right", {name: "1"}
    if max(np.abs(m).max() for m in mine) == 0:
        return f"is 0; the output depends on {name[1:]} (0 is right where it is fixed, and then not used)", {name: "0"}
    values = letters.gather_list(mine)
    for words, candidate in _candidates(answers, name):
        base = letters.gather_list(candidate)
        seen = np.abs(base) > 1e-9 * np.abs(base).max()  # not behind a relu that is off
        ratio = np.divide(values, base, out=np.full_like(base, np.nan), where=seen)
        factor = letters.explain(ratio)
        if factor is None and words == SUMS[name] and letters.find_other_scale(ratio):
            factor = letters.explain(ratio)
        if factor is not None and not factor.zero:
            text = "" if str(factor) == "1" else f"({factor}) "
            if words == SUMS[name]:
                return _sentence(answers, name, factor, letters), {name: str(factor)}
            return f"is {text}{words}, where {SUMS[name]} belongs", {}
    return f"is not the gradient; {answers.first_difference(name, mine)}", {}


def _candidates(answers: Answers, name: str) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What it may be a multiple of, its own sum first."""
    batches, trials = answers.batches, answers.trials
    pairs = list(zip(batches, trials, strict=True))
    sums = {
        "Σ dout x̂": [(b.S * b.xhat).sum(0) for b in batches],
        "Σ dout": [b.S.sum(0) for b in batches],
        "Σ dout x": [(b.S * t.x).sum(0) for b, t in pairs],
        "Σ dout out": [
            (b.S * (b.gamma * b.xhat + (t.beta if answers.conventions.beta else 0))).sum(0) for b, t in pairs
        ],
        "the sum of dout x̂ over all entries": [np.full(answers.width, (b.S * b.xhat).sum()) for b in batches],
        "the sum of dout over all entries": [np.full(answers.width, b.S.sum()) for b in batches],
        "Σ x̂²": [(b.xhat**2).sum(0) for b in batches],
        "Σ x": [t.x.sum(0) for t in trials],
    }
    if answers.conventions.activation:
        sums["Σ dout before the activation's slope"] = [np.asarray(t.dout).sum(0) for t in trials]
    own = SUMS[name]
    yield own, sums.pop(own)
    yield from sums.items()


def _sentence(answers: Answers, name: str, factor: Factor, letters: Letters) -> str:
    """The finding on a multiple of the right sum."""
    powers = dict(factor.powers)
    cause = ""
    if powers.get("N") == -1 or powers.get("N·H·W") == -1:
        cause = ": a mean stands where the sum belongs"
    elif powers.get("γ", 0) > 0:
        cause = ": a stray γ"
    elif factor.constant < 0:
        cause = ": the sign is reversed"
    elif "H·W" in powers:
        cause = ": H·W rows of each image are counted otherwise"
    elif letters.other:
        cause = f", {scale_sentence(letters.other, answers.conventions)}"
    elif "s" in powers or "sd" in powers:
        cause = ": x - μ stands where x̂ belongs" if powers == {"s": 1} else ": a stray power of s"
    return f"is {factor} times {SUMS[name]}{cause}"


def _misshapen(answers: Answers, name: str, mine: np.ndarray, right: np.ndarray) -> str:
    """What is wrong with a gradient of another shape."""
    layer, trial = answers.layer, answers.trials[0]
    text = f"has the shape {mine.shape}, where {layer.manner.shape} belongs"
    if mine.shape == shape_in(layer.layout, trial):
        summed = to_rows(layer.layout, mine).sum(0)
        if np.allclose(summed, right, rtol=1e-4 if layer.single else 1e-8, atol=1e-8 * np.abs(right).max()):
            return text + ": its sum over rows is missing"
    if mine.size == 1:
        return text + ": the sum runs over all entries, a sum without its axis"
    if mine.size == len(trial.x):
        return text + ": the sum runs over the nodes where it is to run over rows"
    return text


def swapped(answers: Answers) -> bool:
    """Whether dgamma and dbeta, both given, stand in each other's place."""
    for given, truth in zip(answers.given, answers.truths, strict=True):
        for name, other in (("dgamma", "dbeta"), ("dbeta", "dgamma")):
            if name not in given or given[name].size != answers.width:
                return False
            off = np.abs(given[name].ravel() - truth[other]).max()
            if off > 10 * answers.tolerance * np.abs(truth[other]).max():
                return False
    return True
