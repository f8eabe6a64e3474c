"""The head beyond η = A Γ_out: linear terms Wδ, and the units' effects α.

An effect is of a *run*: of rows of one unit, one after the other. Rows in the order of units are runs as they lie, so
that a block that ends where units end needs nothing of other blocks; all others are gathered into runs by `outcome`,
once η of all rows is known. One kernel serves linear terms and units for every loss, which it calls; a step that has
neither has kernels of its own, with the loss within.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from bnbench.elementary import compiled_loss, exp, sigmoid, tanh
from bnbench.fused.gemm import FOUR
from bnbench.fused.scratch import DONE, arrays, group, group_function
from bnbench.jit import REASSOCIATE, njit
from bnbench.operations import LONGEST_STEP, NEWTON_STEPS


@njit(fastmath=REASSOCIATE, inner=True)
def linear_part(of, first, rows, part, at):
    """Wδ of some rows, into part from `at` on; 0 without linear terms."""
    W, delta = of.linear, of.delta
    for i in range(rows):
        total = part.dtype.type(0)
        for k in range(delta.shape[0]):
            total += W[first + i, k] * delta[k]
        part[at + i] = total


@njit(fastmath=REASSOCIATE, inner=True)
def add_linear(of, first, rows, r, at):
    """Add Wᵀr of some rows, r of them from `at` on, to their group's."""
    W, total = of.linear, of.sum_Wr
    q, fours = total.shape[0], rows // FOUR * FOUR
    for i in range(0, fours, FOUR):
        row = first + i
        r0, r1, r2, r3 = r[at + i], r[at + i + 1], r[at + i + 2], r[at + i + 3]
        for k in range(q):
            total[k] += (W[row, k] * r0 + W[row + 1, k] * r1) + (W[row + 2, k] * r2 + W[row + 3, k] * r3)
    for i in range(fours, rows):
        for k in range(q):
            total[k] += W[first + i, k] * r[at + i]


@njit(inner=True)
def total_linear(of):
    """Add the groups' Wᵀr, in their order, to that of the first."""
    total = of.sum_Wr
    for g in range(1, of.groups):
        part = group(of, g).sum_Wr
        for k in range(total.shape[0]):
            total[k] += part[k]


@functools.cache
def effect(loss: str, real: type) -> Callable:
    """The effect of a run for one loss, as `losses` has it, and in float64."""
    settled = 2 * float(np.finfo(real).eps)

    @njit(fastmath=REASSOCIATE, inner=True)
    def squared(y, first, eta, at, count):
        """The mean of y - η."""
        total = 0.0
        for i in range(count):
            total += y[first + i] - eta[at + i]
        return total / count

    @njit(fastmath=REASSOCIATE, inner=True)
    def poisson(y, first, eta, at, count):
        """log(Σy / Σexp(η))."""
        total = rates = 0.0
        for i in range(count):
            total += y[first + i]
            rates += exp(eta[at + i])
        return math.log(total / rates)

    @njit(fastmath=REASSOCIATE, inner=True)
    def logistic(y, first, eta, at, count):
        """The root of Σ(σ(η + α) - y), by Newton's method with bounded steps."""
        total = middle = 0.0
        for i in range(count):
            total += y[first + i]
            middle += eta[at + i]
        alpha = math.log(total / (count - total)) - middle / count
        for _ in range(NEWTON_STEPS):
            F, slope = -total, 0.0
            for i in range(count):
                p = sigmoid(np.float64(eta[at + i]) + alpha)
                F += p
                slope += p * (1.0 - p)
            step = LONGEST_STEP * tanh(F / (LONGEST_STEP * slope))
            alpha -= step
            if not abs(step) > settled * (1.0 + abs(alpha)):
                break
        return alpha

    return {"squared": squared, "poisson": poisson, "logistic": logistic}[loss]


@functools.cache
def risk(loss: str, real: type) -> Callable:
    """What r and Σ ℓ of some rows are, for one loss."""
    value, slope = compiled_loss(loss)

    @njit(fastmath=REASSOCIATE, inner=True)
    def compute(y, first, r, at, count, alpha, over_N):
        """r in place of η less α, from `at` on; y begins at `first`. Returns Σ ℓ."""
        total = 0.0
        for i in range(count):
            eta = r[at + i] + alpha
            total += value(y[first + i], eta)
            r[at + i] = slope(y[first + i], eta) * over_N
        return total

    return compute


@functools.cache
def run(loss: str, real: type) -> Callable:
    """What a run's effect and r are, for one loss."""
    alpha_of, of_rows = effect(loss, real), risk(loss, real)

    @njit(fastmath=REASSOCIATE, inner=True)
    def compute(y, first, r, at, count, over_N):
        """r in place of η, from `at` on; y begins at `first`. Returns α and Σ ℓ."""
        alpha = alpha_of(y, first, r, at, count)
        return alpha, of_rows(y, first, r, at, count, real(alpha), over_N)

    return compute


@functools.cache
def block_outcome(loss: str, stored: bool, real: type) -> Callable:
    """α, Σ ℓ and r of a group's block of whole units, or of any rows without units, for one loss."""
    of_run, of_rows = run(loss, real), risk(loss, real)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        y, unit, starts, alpha, N = of.y, of.unit, of.starts, of.alpha, of.N
        first, rows, over_N, loss = of.at[0], of.at[1], real(1 / N), 0.0
        r = of.r if stored else of.r_block
        at = first if stored else 0
        if of.units == 0:
            of.loss[0] += of_rows(y, first, r, at, rows, real(0), over_N)
            return DONE
        i = 0
        while i < rows:
            u = unit[first + i]
            count = starts[u + 1] - starts[u]
            alpha[u], more = of_run(y, first + i, r, at + i, count, over_N)
            loss += more
            i += count
        of.loss[0] += loss
        return DONE

    return compute


@njit(inner=True)
def unit_end(of, row):
    """The first row at or after this one with which a unit begins, or N."""
    if row >= of.N:
        return of.N
    unit, starts = of.unit, of.starts
    begun = starts[unit[row]]
    return row if begun == row else starts[unit[row] + 1]


@njit(inner=True)
def whole_units(of, first, rows):
    """The rows of a block of whole units that has at most so many; no unit is longer."""
    if first + rows >= of.N:
        return of.N - first
    unit, starts = of.unit, of.starts
    return starts[unit[first + rows]] - first


@functools.cache
def outcome(loss: str, real: type) -> Callable:
    """α, Σ ℓ and r of a share of the units, from η of all rows, for one loss."""
    of_run = run(loss, real)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        r, y, order, starts, alpha, gathered = of.r, of.y_by_unit, of.order, of.starts, of.alpha, of.eta_by_unit
        over_N, units, groups, loss = real(1 / of.N), of.units, of.groups, 0.0
        for u in range(g * units // groups, (g + 1) * units // groups):
            first, end = starts[u], starts[u + 1]
            for i in range(first, end):
                gathered[i] = r[order[i]]
            alpha[u], more = of_run(y, first, gathered, first, end - first, over_N)
            loss += more
            for i in range(first, end):
                r[order[i]] = gathered[i]
        of.unit_loss[0] = loss
        return DONE

    return compute


@njit(inner=True)
def total_loss(of):
    """Σ ℓ over all units."""
    total = 0.0
    for g in range(of.groups):
        total += group(of, g).unit_loss[0]
    return total
