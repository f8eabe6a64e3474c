"""The penalised risk of a flat θ, and the two ways to its minimum: L-BFGS over all rows, Adam over minibatches."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from bnbench.estimators.parameters import Places, gradient_slots


class Objective:
    """R + Σ λ θ² at the vector `theta`, which solvers change in place; a call fills `gradient`.

    Args:
        prepared: of `bnbench.prepare`.
        places, theta, free, penalties: of `Places`.
    """

    def __init__(
        self, prepared: Any, places: Places, theta: np.ndarray, free: np.ndarray, penalties: np.ndarray
    ) -> None:
        self.prepared, self.places, self.theta, self.free, self.penalties = prepared, places, theta, free, penalties
        self.arguments = places.parts(theta).arguments()
        self.gradient = np.zeros_like(theta)
        self.slots, self.work = places.parts(self.gradient).slots(), np.empty_like(theta)
        self.penalised, self.held = bool(penalties.any()), not free.all()

    def __call__(self, rows: Any = None) -> float:
        """The objective over all rows, or those of a minibatch."""
        found = self.prepared.gradients(*self.arguments, rows=rows)
        for slot, part in zip(self.slots, gradient_slots(found), strict=True):
            slot[...] = part
        if self.held:
            self.gradient *= self.free
        if not self.penalised:
            return found.loss
        np.multiply(self.penalties, self.theta, out=self.work)
        self.gradient += self.work
        self.gradient += self.work
        return found.loss + float(self.work @ self.theta)


class Monitor:
    """What watches a fit: the curve of losses, the progress bar, and whether to stop.

    With a `held` loss, θ is kept where that was least, and it is what has to improve; else with `patience` the
    training loss has to. An improvement is one by more than tol.
    """

    def __init__(
        self, theta: np.ndarray, most: int, tol: float, patience: float, held: Callable[[], float] | None, verbose: bool
    ) -> None:
        self.theta, self.tol, self.patience, self.held = theta, tol, patience, held
        self.curve: list[float] = []
        self.held_curve: list[float] = []
        self.best, self.waited, self.best_theta = math.inf, 0, theta.copy()
        bar: tuple[Any, Any] = _bar(most) if verbose else (None, None)
        self.bar, self.task = bar

    def watching(self) -> AbstractContextManager:
        """The context in which the progress bar is shown."""
        return self.bar or nullcontext()

    def stops(self, loss: float) -> bool:
        """Take note of an iteration's loss; whether it was the last."""
        self.curve.append(loss)
        watched = loss
        if self.held is not None:
            watched = self.held()
            self.held_curve.append(watched)
        if self.bar is not None:
            told = f"loss {loss:.6g}" + ("" if self.held is None else f", held out {watched:.6g}")
            self.bar.update(self.task, advance=1, told=told)
        self.waited = 0 if watched < self.best - self.tol else self.waited + 1
        if watched < self.best:
            self.best = watched
            if self.held is not None:
                self.best_theta[...] = self.theta
        return self.waited >= self.patience

    def finish(self) -> None:
        """Go back to the best θ on the held-out rows, where there are any."""
        if self.held is not None:
            self.theta[...] = self.best_theta


def _bar(most: int) -> tuple[Any, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn()
    bar = Progress(*columns)
    return bar, bar.add_task("fit", total=most, told="")


def lbfgs(objective: Objective, monitor: Monitor, scales: np.ndarray, unit: float, most: int, tol: float) -> str:
    """Minimise by SciPy's L-BFGS-B in θ/scales and risk/unit, in which X, W and y have a spread of 1.

    Returns:
        Why it did not converge, or "".
    """
    from scipy.optimize import minimize

    scales = scales.astype(np.float64)

    def risk(phi: np.ndarray) -> tuple[float, np.ndarray]:
        objective.theta[...] = phi * scales
        loss = objective()
        return loss / unit, objective.gradient * scales / unit

    def after(intermediate_result: Any) -> None:
        objective.theta[...] = intermediate_result.x * scales
        if monitor.stops(intermediate_result.fun * unit):
            raise StopIteration

    options = {"maxiter": most, "maxfun": 20 * most, "gtol": tol, "ftol": 64 * float(np.finfo(scales.dtype).eps)}
    found = minimize(risk, objective.theta / scales, jac=True, method="L-BFGS-B", callback=after, options=options)
    objective.theta[...] = found.x * scales
    if not monitor.curve:  # the start is a minimum
        monitor.stops(found.fun * unit)
    if found.success or monitor.waited >= monitor.patience:
        return ""
    if found.nit >= most:
        return f"the gradient was still above tol after max_iter={most} iterations"
    kink = "no lower loss was found along the last step, as at a kink of ReLU or where rounding is all that is left"
    return kink if "ABNORMAL" in found.message else found.message


def adam(
    objective: Objective, monitor: Monitor, epochs: Iterator[list], most: int,
    rate: float, beta_1: float, beta_2: float, epsilon: float, record: Callable[[Any], None] | None = None,
) -> str:  # fmt: skip
    """Adam (Kingma & Ba 2015, algorithm 1), as `torch.optim.Adam` computes it, over minibatches.

    Args:
        objective, monitor: what is minimised, and what says when to stop.
        epochs: gives a list of the rows of each minibatch, None for all rows; once an epoch.
        most: epochs.
        rate, beta_1, beta_2, epsilon: of Adam.
        record: called with the rows before each step.

    Returns:
        Why it did not converge, or "".
    """
    theta, gradient, work = objective.theta, objective.gradient, objective.work
    m, v, step = np.zeros_like(theta), np.zeros_like(theta), 0
    for _ in range(most):
        batches = next(epochs)
        total = rows_seen = 0.0
        for rows in batches:
            loss = objective(rows)
            if record is not None:
                record(rows)
            weight = 1 if rows is None else len(rows)
            total, rows_seen, step = total + weight * loss, rows_seen + weight, step + 1
            m *= beta_1
            np.multiply(gradient, 1 - beta_1, out=work)
            m += work
            v *= beta_2
            np.multiply(gradient, gradient, out=work)
            work *= 1 - beta_2
            v += work
            np.sqrt(v, out=work)
            work *= 1 / math.sqrt(1 - beta_2**step)
            work += epsilon
            np.divide(m, work, out=work)
            work *= rate / (1 - beta_1**step)
            theta -= work
        if monitor.stops(total / rows_seen):
            return ""
    return f"the loss still fell after max_iter={most} epochs"


def epochs_of(random: np.random.RandomState, N: int, size: int | None, least: int, unit: Any) -> Iterator[list]:
    """The rows of the minibatches of one epoch after the other: shuffled, of about the same number of rows each.

    With units (a code for every row, from 0) a minibatch is of whole units, for the effects that are profiled out are
    those of its rows. None is of fewer than `least` rows; one of all rows is None.
    """
    count = 1 if size is None else max(1, min(-(-N // size), N // least))
    if count == 1:
        while True:
            yield [None]
    if unit is None:
        while True:
            yield np.array_split(random.permutation(N), count)
    sizes = np.bincount(unit)
    while True:
        order = random.permutation(len(sizes))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        ends = np.cumsum(sizes[order])
        cuts = np.unique(ends[np.searchsorted(ends, np.arange(1, count) * N / count)])
        yield np.split(np.argsort(place[unit], kind="stable"), cuts[cuts <= N - least])
