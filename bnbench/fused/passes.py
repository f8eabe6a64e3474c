"""The passes of the fused step over one block of rows, and the sums over blocks and groups.

Letters are those of `bnbench docs gradient`. A pass takes one block of rows: X_b as tiles P (see `gemm`), and Z, A or
T = r ⊙ a'(B) as rows of ld numbers, of which `cols`, whole vectors, are computed. S = T diag(Γ2): what belongs to a
column is applied to sums. Sums over a block are in the arrays' dtype, those over blocks in float64; so is G,
flushed now and then.
"""

import functools
from collections.abc import Callable

from bnbench.activations import NEEDS_B
from bnbench.elementary import compiled, compiled_loss
from bnbench.fused.gemm import FOUR, lesser
from bnbench.fused.layout import FLUSH_BLOCKS
from bnbench.fused.scratch import DONE, At, arrays, call_all, group, group_function, small, word
from bnbench.jit import REASSOCIATE, njit


@functools.cache
def forward_stored(code: int, loss: str) -> Callable:
    """The forward pass from stored Z for one activation and loss; without one it ends at η."""
    (a, _), (value, slope), head = compiled(code), compiled_loss(loss or "squared"), not loss

    @njit(fastmath=REASSOCIATE, inner=True)
    def forward(of, first, rows, cols, over_N):
        """A into T and r = ∂R/∂η into r; or η, to what r has, unless r is known. Returns Σ ℓ."""
        Z, y, T, r = of.Z, of.y, of.T, of.r
        bias, out, mu, weight = of.bias, of.out, of.mu, of.weight
        loss = 0.0
        for i in range(rows):
            eta = r[first + i] if head else Z.dtype.type(0)
            for j in range(cols):
                v = a((Z[first + i, j] - mu[j]) * weight[j] + bias[j])
                T[i, j] = v
                eta += v * out[j]
            if not head:
                r[first + i] = slope(y[first + i], eta) * over_N
                loss += value(y[first + i], eta)
            elif of.gathers == 0:
                r[first + i] = eta
        return loss

    return forward


@functools.cache
def forward_centred(code: int, loss: str) -> Callable:
    """The forward pass from X̂ γ for one activation and loss; without one it ends at η."""
    (a, da), needs_b, (value, slope) = compiled(code), code in NEEDS_B, compiled_loss(loss or "squared")
    head = not loss

    @njit(fastmath=REASSOCIATE, inner=True)
    def forward(T, D, r, y, bias, out, first, rows, cols, over_N):
        """A in place of X̂ γ in T, a' into D where it needs B, r = ∂R/∂η into r; or η, to what r has. Returns Σ ℓ."""
        loss = 0.0
        for i in range(rows):
            eta = r[i] if head else T.dtype.type(0)
            for j in range(cols):
                b = T[i, j] + bias[j]
                v = a(b)
                T[i, j] = v
                if needs_b:
                    D[i, j] = da(b, v)
                eta += v * out[j]
            if head:
                r[i] = eta
            else:
                r[i] = slope(y[first + i], eta) * over_N
                loss += value(y[first + i], eta)
        return loss

    return forward


@functools.cache
def backward_centred(code: int) -> Callable:
    """T and the sums over a block for one activation."""
    (_, da), needs_b = compiled(code), code in NEEDS_B

    @njit(fastmath=REASSOCIATE, inner=True)
    def backward(T, D, r, sum_T, sum_Ar, rows, cols):
        """T = r ⊙ a' in place of A, for a multiple of four rows; adds 1ᵀT and Aᵀr to the block's sums."""
        for i in range(0, rows, FOUR):
            r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
            for j in range(cols):
                v0, v1, v2, v3 = T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j]
                sum_Ar[j] += (v0 * r0 + v1 * r1) + (v2 * r2 + v3 * r3)
                if needs_b:
                    t0, t1, t2, t3 = D[i, j] * r0, D[i + 1, j] * r1, D[i + 2, j] * r2, D[i + 3, j] * r3
                else:
                    t0, t1 = da(v0, v0) * r0, da(v1, v1) * r1
                    t2, t3 = da(v2, v2) * r2, da(v3, v3) * r3
                T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j] = t0, t1, t2, t3
                sum_T[j] += (t0 + t1) + (t2 + t3)

    return backward


@functools.cache
def backward_stored(code: int) -> Callable:
    """The sums over a block, from stored Z and A in T, for one activation."""
    _, da = compiled(code)

    @njit(fastmath=REASSOCIATE, inner=True)
    def backward(of, first, rows, cols):
        """Adds 1ᵀT, Aᵀr and 1ᵀ(T ⊙ (Z - μ)) to the block's sums, for a multiple of four rows; r is 0 in the padding."""
        Z, A, r, bias, mu, weight = of.Z, of.T, of.r, of.bias, of.mu, of.weight
        sum_T, sum_Ar, sum_TZ = of.block_T, of.block_Ar, of.block_TZ
        for i in range(0, rows, FOUR):
            row = first + i
            r0, r1, r2, r3 = r[row], r[row + 1], r[row + 2], r[row + 3]
            for j in range(cols):
                v0, v1, v2, v3 = A[i, j], A[i + 1, j], A[i + 2, j], A[i + 3, j]
                z0, z1, z2, z3 = Z[row, j] - mu[j], Z[row + 1, j] - mu[j], Z[row + 2, j] - mu[j], Z[row + 3, j] - mu[j]
                w, c = weight[j], bias[j]
                t0, t1 = da(z0 * w + c, v0) * r0, da(z1 * w + c, v1) * r1
                t2, t3 = da(z2 * w + c, v2) * r2, da(z3 * w + c, v3) * r3
                sum_T[j] += (t0 + t1) + (t2 + t3)
                sum_Ar[j] += (v0 * r0 + v1 * r1) + (v2 * r2 + v3 * r3)
                sum_TZ[j] += (t0 * z0 + t1 * z1) + (t2 * z2 + t3 * z3)

    return backward


@functools.cache
def pre_activation_gradient(code: int) -> Callable:
    """dZ of a block from stored Z, for one activation."""
    a, da = compiled(code)

    @njit(fastmath=REASSOCIATE, inner=True)
    def compute(of, first, rows, cols):
        """dZ from Z and r."""
        Z, r, dZ = of.Z, of.r, of.dZ
        bias, mu, weight = of.bias, of.mu, of.weight
        slope, mean_term, s_term = of.slope, of.mean_term, of.s_term
        for i in range(rows):
            ri = r[first + i]
            for j in range(cols):
                z = Z[first + i, j] - mu[j]
                b = z * weight[j] + bias[j]
                dZ[i, j] = (slope[j] * ri) * da(b, a(b)) - mean_term[j] - z * s_term[j]

    return compute


@njit(fastmath=REASSOCIATE, forceinline=True, inner=True)
def moved(change, count, more):
    """What a mean and Σ(number - mean)² of so many numbers gain when more join them, whose mean is change further.

    The second gains their own Σ(number - mean)² beside (Chan, Golub & LeVeque 1983).
    """
    return change * more / (count + more), change * change * count * more / (count + more)


@njit(fastmath=REASSOCIATE, inner=True)
def add_statistics(of, first, rows, cols):
    """Merge a block's column means and squared deviations, in two passes, into its group's."""
    Z, mean, squares, rest = of.Z, of.block_mean, of.block_squares, of.block_rest
    for j in range(cols):
        mean[j] = squares[j] = rest[j] = 0
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
            squares[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for i in range(fours, first + rows):
        for j in range(cols):
            d0 = Z[i, j] - mean[j]
            rest[j] += d0
            squares[j] += d0 * d0
    of_group, of_squares, count = of.mean, of.squares, of.count[0]
    for j in range(cols):
        more = rest[j] / rows
        of_mean, of_distance = moved(mean[j] + more - of_group[j], count, rows)
        of_group[j] += of_mean
        of_squares[j] += squares[j] - rest[j] * more + of_distance
    of.count[0] = count + rows


@njit(fastmath=REASSOCIATE, inner=True)
def merge_groups(of, cols):
    """Merge the groups' means and squared deviations into those of the first."""
    mean, squares, count = of.mean, of.squares, of.count[0]
    for g in range(1, of.groups):
        its = group(of, g)
        its_mean, its_squares, more = its.mean, its.squares, its.count[0]
        for j in range(cols):
            of_mean, of_distance = moved(its_mean[j] - mean[j], count, more)
            mean[j] += of_mean
            squares[j] += its_squares[j] + of_distance
        count += more


@njit(inner=True)
def take(of, cols):
    """Add a block's sums to those of its group, and make them 0."""
    take_one(of.block_T, of.sum_T, cols)
    take_one(of.block_Ar, of.sum_Ar, cols)
    take_one(of.block_TZ, of.sum_TZ, cols)


@njit(inner=True)
def take_one(part, whole, cols):
    """As `take`, of one sum."""
    for j in range(cols):
        whole[j] += part[j]
        part[j] = 0


@njit(inner=True)
def flush_now(of, start, first):
    """Where it is time, add a group's G to its float64 one; whether it was, and G begins anew."""
    small()
    G, flushed, R = of.G, of.flushed, of.rows
    inputs, ld = flushed.shape
    if inputs == 0 or (start - first) // R % FLUSH_BLOCKS != FLUSH_BLOCKS - 1:
        return False
    for k in range(inputs):
        for j in range(ld):
            flushed[k, j] += G[k * ld + j]
            G[k * ld + j] = 0
    return True


@functools.cache
def total_row(real: type) -> Callable:
    """The sum over groups of a row of G."""

    @group_function
    def compute(table, k):
        """Row k of G, the groups added up in their order."""
        of = arrays(table, real, 0)
        total = of.total
        ld = total.shape[1]
        for j in range(ld):
            total[k, j] = of.G[k * ld + j]
        for g in range(1, of.groups):
            G = group(of, g).G
            for j in range(ld):
                total[k, j] += G[k * ld + j]
        if of.flushed.shape[0] > 0:
            for g in range(of.groups):
                flushed = group(of, g).flushed
                for j in range(ld):
                    total[k, j] += flushed[k, j]
        return DONE

    return compute


@njit(inner=True)
def total_rows(of):
    """The sum of G over groups; whether every call came to its end.

    One group's that is not flushed is copied here: `total_row` need not be compiled for it.
    """
    if word(of.table, At.total_row) != 0:
        return call_all(of, At.total_row)
    G, total = of.G, of.total
    ld = total.shape[1]
    for k in range(of.p1):
        for j in range(ld):
            total[k, j] = G[k * ld + j]
    return True


@njit(inner=True)
def total_sums(of, cols):
    """Add the groups' sums, in their order, to those of the first, and make them 0."""
    small()
    for g in range(1, of.groups):
        its = group(of, g)
        of.loss[0] += its.loss[0]
        take_one(its.sum_T, of.sum_T, cols)
        take_one(its.sum_Ar, of.sum_Ar, cols)
        take_one(its.sum_TZ, of.sum_TZ, cols)


@njit(fastmath=REASSOCIATE, inner=True)
def leading_mean(X, first, last, shift):
    """The mean of a few rows of X from `first` on, before `last`, into shift: near it sums do not cancel.

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
