"""A layer's gradient by differences of its forward, where nothing else says what it is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bnbench.audit.layer.answers import Answers, Parts
from bnbench.audit.layer.calls import Layer
from bnbench.audit.layer.layouts import Trial
from bnbench.audit.layer.words import first_entry

STEPS = {False: (2e-3, 5e-4), True: (0.06, 0.03)}  # of the numerical derivative, in units of the spread; in float32
WEIGHTS = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))  # of the central difference of order 6


def slope(layer: Layer, trial: Trial, moved: Callable[[Trial, float], Trial]) -> tuple[float, float]:
    """dout · d out/dk along moved(trial, k), and by how much two steps disagree, as they do at a kink."""
    first, second = (
        sum(
            w / h * (trial.dout * (layer.out(moved(trial, k * h)) - layer.out(moved(trial, -k * h)))).sum()
            for k, w in WEIGHTS
        )
        for h in STEPS[layer.single]
    )
    return second, abs(first - second)


def truth_of(layer: Layer, trial: Trial) -> tuple[Parts, Parts]:
    """The gradients of a layer's own forward at a trial, and by how much each entry may be off."""
    width = layer.manner.width
    truth = {"dx": np.empty_like(trial.x), "dgamma": np.zeros(width), "dbeta": np.zeros(width)}
    doubt = {name: np.empty_like(value) for name, value in truth.items()}
    for name, field, scale in (("dx", "x", trial.x.std(0)), ("dgamma", "gamma", 1.0), ("dbeta", "beta", 1.0)):
        start = getattr(trial, field)
        for index in np.ndindex(start.shape):
            step = np.zeros_like(start)
            step[index] = np.broadcast_to(scale, start.shape)[index]

            def moved(trial: Trial, k: float, field: str = field, step: np.ndarray = step) -> Trial:
                return replace(trial, **{field: getattr(trial, field) + k * step})

            change, off = slope(layer, trial, moved)
            truth[name][index], doubt[name][index] = change / step[index], off / step[index]
    return truth, doubt


def on_gradient(answers: Answers, name: str, mine: list[np.ndarray]) -> str:
    """The finding on one gradient: "right", or what is wrong with it."""
    seen, entries, first = 0, 0, ""
    for answer, truth, doubt, trial in zip(mine, answers.truths, answers.doubts, answers.trials, strict=True):
        right = truth[name]
        size = np.abs(right).max(0) if name == "dx" else np.abs(trial.dout).sum(0)
        allowed = answers.tolerance * np.maximum(size, 1e-3 * np.abs(right).max()) + 10 * doubt[name]
        wrong = ~(np.abs(answer - right) <= allowed)
        certain = 10 * doubt[name] <= 1e-2 * np.maximum(size, 1e-300)
        seen, entries = seen + certain.sum(), entries + certain.size
        if wrong.any() and not first:
            first = first_entry(name, answer, right, tuple(int(i) for i in np.argwhere(wrong)[0]), len(trial.x))
    if first:
        return f"is not the gradient of this forward; {first}"
    if seen < 0.5 * entries:
        return "cannot be judged: differences of the forward do not settle (it has kinks, or it is not smooth)"
    return "right"
