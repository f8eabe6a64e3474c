"""The passes of the fused step over one block of rows, and the sums over blocks and groups.

Letters are those of `bnbench docs gradient`. A pass takes one block of rows: X_b as tiles P (see `gemm`), and Z, A or
T = r ⊙ a'(B) as rows of ld numbers, of which `cols`, whole vectors, are computed. S = T diag(Γ2): what belongs to a
column is applied to sums. Sums over a block are in the arrays' dtype, those over blocks in float64; so is G,
flushed now and then.
"""

import functools
from collections.abc import Callable

import numpy as np

from bnbench.activations import NEEDS_B
from bnbench.elementary import compiled, compiled_loss
from bnbench.fused.gemm import FOUR, lesser
from bnbench.fused.layout import FLUSH_BLOCKS
from bnbench.fused.scratch import (
    C_,
    CENTRE,
    D_BETA,
    D_G2,
    D_GAMMA,
    DONE,
    G2_,
    MEAN,
    MU,
    OTHERS,
    SHIFT,
    SLOPE,
    SPREAD,
    SUMS,
    WEIGHT,
    At,
    call_all,
    cube,
    group_function,
    matrix,
    number,
    small,
    vector,
)
from bnbench.jit import REASSOCIATE, njit


@functools.cache
def forward_stored(code: int, of: str) -> Callable:
    """The forward pass from stored Z for one activation and loss."""
    (a, _), (value, slope) = compiled(code), compiled_loss(of)

    @njit(fastmath=REASSOCIATE, inner=True)
    def forward(Z, first, rows, cols, y, vectors, T, r, over_N):
        """A into T and r = ∂R/∂η into r. Returns Σ ℓ."""
        beta, G2, mu, weight = vectors[SHIFT], vectors[G2_], vectors[MU], vectors[WEIGHT]
        loss = 0.0
        for i in range(rows):
            total = Z.dtype.type(0)
            for j in range(cols):
                v = a((Z[first + i, j] - mu[j]) * weight[j] + beta[j])
                T[i, j] = v
                total += v * G2[j]
            r[first + i] = slope(y[first + i], total) * over_N
            loss += value(y[first + i], total)
        return loss

    return forward


@functools.cache
def forward_centred(code: int, of: str) -> Callable:
    """The forward pass from X̂ γ for one activation and loss."""
    (a, da), needs_b, (value, slope) = compiled(code), code in NEEDS_B, compiled_loss(of)

    @njit(fastmath=REASSOCIATE, inner=True)
    def forward(T, D, rows, cols, y, first, vectors, r, over_N):
        """A in place of X̂ γ in T, a' into D where it needs b, r = ∂R/∂η into r. Returns Σ ℓ."""
        beta, G2 = vectors[SHIFT], vectors[G2_]
        loss = 0.0
        for i in range(rows):
            total = T.dtype.type(0)
            for j in range(cols):
                b = T[i, j] + beta[j]
                v = a(b)
                T[i, j] = v
                if needs_b:
                    D[i, j] = da(b, v)
                total += v * G2[j]
            r[i] = slope(y[first + i], total) * over_N
            loss += value(y[first + i], total)
        return loss

    return forward


@functools.cache
def backward_centred(code: int) -> Callable:
    """T and the sums over a block for one activation."""
    (_, da), needs_b = compiled(code), code in NEEDS_B

    @njit(fastmath=REASSOCIATE, inner=True)
    def backward(T, D, rows, cols, r, block):
        """T = r ⊙ a' in place of A, for a multiple of four rows; adds 1ᵀT and Aᵀr to the block's sums."""
        d_beta, d_G2 = block[D_BETA], block[D_G2]
        for i in range(0, rows, FOUR):
            r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
            for j in range(cols):
                v0, v1, v2, v3 = T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j]
                d_G2[j] += (v0 * r0 + v1 * r1) + (v2 * r2 + v3 * r3)
                if needs_b:
                    t0, t1, t2, t3 = D[i, j] * r0, D[i + 1, j] * r1, D[i + 2, j] * r2, D[i + 3, j] * r3
                else:
                    t0, t1 = da(v0, v0) * r0, da(v1, v1) * r1
                    t2, t3 = da(v2, v2) * r2, da(v3, v3) * r3
                T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j] = t0, t1, t2, t3
                d_beta[j] += (t0 + t1) + (t2 + t3)

    return backward


@functools.cache
def backward_stored(code: int) -> Callable:
    """The sums over a block, from stored Z and A in T, for one activation."""
    _, da = compiled(code)

    @njit(fastmath=REASSOCIATE, inner=True)
    def backward(Z, T, first, rows, cols, r, vectors, block):
        """Adds 1ᵀT, Aᵀr and 1ᵀ(T ⊙ (Z - μ)) to the block's sums, for a multiple of four rows; r is 0 in the padding."""
        beta, mu, weight = vectors[SHIFT], vectors[MU], vectors[WEIGHT]
        d_beta, d_G2, d_gamma = block[D_BETA], block[D_G2], block[D_GAMMA]
        for i in range(0, rows, FOUR):
            row = first + i
            r0, r1, r2, r3 = r[row], r[row + 1], r[row + 2], r[row + 3]
            for j in range(cols):
                v0, v1, v2, v3 = T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j]
                z0, z1, z2, z3 = Z[row, j] - mu[j], Z[row + 1, j] - mu[j], Z[row + 2, j] - mu[j], Z[row + 3, j] - mu[j]
                w, c = weight[j], beta[j]
                t0, t1 = da(z0 * w + c, v0) * r0, da(z1 * w + c, v1) * r1
                t2, t3 = da(z2 * w + c, v2) * r2, da(z3 * w + c, v3) * r3
                d_beta[j] += (t0 + t1) + (t2 + t3)
                d_G2[j] += (v0 * r0 + v1 * r1) + (v2 * r2 + v3 * r3)
                d_gamma[j] += (t0 * z0 + t1 * z1) + (t2 * z2 + t3 * z3)

    return backward


@functools.cache
def pre_activation_gradient(code: int) -> Callable:
    """dZ of a block from stored Z, for one activation."""
    a, da = compiled(code)

    @njit(fastmath=REASSOCIATE, inner=True)
    def compute(Z, first, rows, cols, r, vectors, T):
        """dZ into T."""
        beta, mu, weight = vectors[SHIFT], vectors[MU], vectors[WEIGHT]
        c, mean, slopes = vectors[C_], vectors[MEAN], vectors[SLOPE]
        for i in range(rows):
            ri = r[first + i]
            for j in range(cols):
                z = Z[first + i, j] - mu[j]
                b = z * weight[j] + beta[j]
                T[i, j] = (c[j] * ri) * da(b, a(b)) - mean[j] - z * slopes[j]

    return compute


@njit(fastmath=REASSOCIATE, inner=True)
def add_statistics(Z, first, rows, cols, block, sums):
    """Merge a block's column means and squared deviations, in two passes, into its group's (Chan's rule)."""
    mean, spread, rest = block[0], block[1], block[2]
    for j in range(cols):
        mean[j] = spread[j] = rest[j] = 0
    fours = first + rows // FOUR * FOUR
    for i in range(first, fours, FOUR):
        for j in range(cols):
            mean[j] += (Z[i, j] + Z[i + 1, j]) + (Z[i + 2, j] + Z[i + 3, j])
    for i in range(fours, first + rows):
        for j in range(cols):
            mean[j] += Z[i, j]
    for j in range(cols):
        mean[j] /= rows
    for i in range(first, fours, FOUR):
        for j in range(cols):
            d0, d1, d2, d3 = Z[i, j] - mean[j], Z[i + 1, j] - mean[j], Z[i + 2, j] - mean[j], Z[i + 3, j] - mean[j]
            rest[j] += (d0 + d1) + (d2 + d3)  # the mean is rounded; this is what mends it
            spread[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for i in range(fours, first + rows):
        for j in range(cols):
            d0 = Z[i, j] - mean[j]
            rest[j] += d0
            spread[j] += d0 * d0
    before = sums[OTHERS, 1]
    count = before + rows
    for j in range(cols):
        more = rest[j] / rows
        step = mean[j] + more - sums[CENTRE, j]
        sums[CENTRE, j] += step * rows / count
        sums[SPREAD, j] += spread[j] - rest[j] * more + step * step * before * rows / count
    sums[OTHERS, 1] = count


@njit(inner=True)
def take(block, count, cols, sums):
    """Add the first rows of a block's sums to those of its group, and make them 0."""
    for row in range(count):
        for j in range(cols):
            sums[row, j] += block[row, j]
            block[row, j] = 0


@njit(inner=True)
def flush_now(start, first, R, G, sums):
    """Where it is time, add a group's G to its float64 one; whether it was, and G begins anew."""
    small()
    ld = sums.shape[1]
    if sums.shape[0] == SUMS or (start - first) // R % FLUSH_BLOCKS != FLUSH_BLOCKS - 1:
        return False
    for k in range(sums.shape[0] - SUMS):
        for j in range(ld):
            sums[SUMS + k, j] += G[k * ld + j]
            G[k * ld + j] = 0
    return True


@functools.cache
def total_row(real: type) -> Callable:
    """The sum over groups of a row of G."""

    @group_function
    def compute(table, k, group_rows):
        """Row k of G, the groups added up in their order."""
        G, total = matrix(table, At.G, real), matrix(table, At.total, np.float64)
        sums = cube(table, At.sums, np.float64)
        groups, ld = G.shape[0], sums.shape[2]
        for j in range(ld):
            total[k, j] = G[0, k * ld + j]
        for g in range(1, groups):
            for j in range(ld):
                total[k, j] += G[g, k * ld + j]
        if sums.shape[1] > SUMS:
            for g in range(groups):
                for j in range(ld):
                    total[k, j] += sums[g, SUMS + k, j]
        return DONE

    return compute


@njit(inner=True)
def total_rows(table, dtype, group_rows):
    """The sum of G over groups; whether every call came to its end.

    One group's that is not flushed is copied here: `total_row` need not be compiled for it.
    """
    if number(table, At.total_row, 0) != 0:
        return call_all(table, At.total_row, group_rows)
    G, total = vector(table, At.G, dtype), matrix(table, At.total, np.float64)
    ld = total.shape[1]
    for k in range(number(table, At.X, 3)):
        for j in range(ld):
            total[k, j] = G[k * ld + j]
    return True


@njit(inner=True)
def total_sums(sums, cols):
    """Add the groups' sums, in their order, to those of the first."""
    small()
    for g in range(1, sums.shape[0]):
        sums[0, OTHERS, 0] += sums[g, OTHERS, 0]
        for row in range(CENTRE):
            for j in range(cols):
                sums[0, row, j] += sums[g, row, j]


@njit(fastmath=REASSOCIATE, inner=True)
def leading_mean(X, first, last, shift):
    """The mean of a few rows of X from `first` on, before `last`: a value near which sums do not cancel.

    0 for a column that is not far from it beside its spread: X - shift would lose digits that X has. It loses none
    where x lies between shift/2 and 2 shift (Sterbenz 1974).
    """
    rows = lesser(last - first, FOUR)
    for k in range(X.shape[1]):
        shift[k] = 0
    for i in range(rows):
        for k in range(X.shape[1]):
            shift[k] += X[first + i, k]
    for k in range(X.shape[1]):
        shift[k] /= rows
    for i in range(rows):
        for k in range(X.shape[1]):
            middle = shift[k]
            shift[k] = middle if abs(X[first + i, k] - middle) <= abs(middle) / 2 else 0


@njit(inner=True)
def up(number, multiple):
    """The next multiple at or above a number."""
    return (number + multiple - 1) // multiple * multiple
