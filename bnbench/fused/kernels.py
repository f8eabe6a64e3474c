"""The compiled passes of the fused step, and the two algorithms made of them.

Letters are MATH.md's. A pass takes one block of rows: X_b as tiles P (see `gemm`), and Z, A or T = ε̂ ⊙ a'(B) as rows
of ld numbers, of which `cols`, whole vectors, are computed. S = -(2/N) T diag(Γ2): what belongs to a column is applied
to sums. Sums over a block are in the arrays' dtype, those over blocks in float64; so is G, flushed now and then.

Arrays that several functions share, the first axis being the group's:
    P (groups, tiles), T (groups, rows, ld), D like T for the Gaussian, G (groups, inputs * ld), panel (groups, room)
    block (groups, 3, ld)        sums over a block
    sums (groups, SUMS or more, ld)   sums over a group, float64; then the rows of its flushed G, if it is flushed
    vectors (VECTORS, ld)        what belongs to the hidden nodes, padded with zeros
    theta, dtheta (3, p2)        γ, β and Γ2, and their gradients
"""

import functools
import math

from numba import prange

from bnbench.activations import GAUSSIAN, a, da
from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES
from bnbench.fused.layout import FLUSH_BLOCKS
from bnbench.jit import REASSOCIATE, njit

# Rows of `vectors`: b = (z - MU) WEIGHT + SHIFT, dz = C t - MEAN - (z - MU) SLOPE.
SHIFT, G2_, MU, WEIGHT, C_, MEAN, SLOPE = range(7)
VECTORS = 7
# Rows of `sums`; the last holds the loss and the number of rows.
D_BETA, D_G2, D_GAMMA, CENTRE, SPREAD, OTHERS = range(6)
SUMS = 6
GAMMA, BETA_, GAMMA2 = range(3)  # of theta and dtheta
UNPACKED_ROWS = 24  # up to which Γ1 is not worth copying into panels
CANCELLED = 2.0**-7  # of Σ Γ²C: where s² is less, the one-pass form is left for the stored one
FELL_BACK = -1.0  # returned in place of the loss

# Threads where `prange` says so and nowhere else: whole-array assignments are too small for them.
PRANGE_ALONE = {
    "prange": True, "comprehension": False, "reduction": False, "inplace_binop": False, "setitem": False,
    "numpy": False, "stencil": False, "fusion": False,
}  # fmt: skip


@functools.cache
def forward_stored(code):
    """The forward pass from stored Z for one activation."""

    @njit(fastmath=REASSOCIATE)
    def forward(Z, first, rows, cols, y, vectors, T, e):
        """A into T and ε̂ into e. Returns Σ ε̂²."""
        beta, G2, mu, weight = vectors[SHIFT], vectors[G2_], vectors[MU], vectors[WEIGHT]
        loss = 0.0
        for i in range(rows):
            total = Z.dtype.type(0)
            for j in range(cols):
                v = a(code, (Z[first + i, j] - mu[j]) * weight[j] + beta[j])
                T[i, j] = v
                total += v * G2[j]
            e[first + i] = y[first + i] - total
            loss += e[first + i] * e[first + i]
        return loss

    return forward


@functools.cache
def forward_centred(code):
    """The forward pass from X̂ γ for one activation."""

    @njit(fastmath=REASSOCIATE)
    def forward(T, D, rows, cols, y, first, vectors, e):
        """A in place of X̂ γ in T, a' into D for the Gaussian, ε̂ into e. Returns Σ ε̂²."""
        beta, G2 = vectors[SHIFT], vectors[G2_]
        loss = 0.0
        for i in range(rows):
            total = T.dtype.type(0)
            for j in range(cols):
                b = T[i, j] + beta[j]
                v = a(code, b)
                T[i, j] = v
                if code == GAUSSIAN:
                    D[i, j] = -b * v
                total += v * G2[j]
            e[i] = y[first + i] - total
            loss += e[i] * e[i]
        return loss

    return forward


@functools.cache
def backward_centred(code):
    """T and the sums over a block for one activation."""

    @njit(fastmath=REASSOCIATE)
    def backward(T, D, rows, cols, e, block):
        """T = ε̂ ⊙ a' in place of A, for a multiple of four rows; adds 1ᵀT and Aᵀε̂ to the block's sums."""
        d_beta, d_G2 = block[D_BETA], block[D_G2]
        for i in range(0, rows, FOUR):
            e0, e1, e2, e3 = e[i], e[i + 1], e[i + 2], e[i + 3]
            for j in range(cols):
                v0, v1, v2, v3 = T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j]
                d_G2[j] += (v0 * e0 + v1 * e1) + (v2 * e2 + v3 * e3)
                if code == GAUSSIAN:
                    t0, t1, t2, t3 = D[i, j] * e0, D[i + 1, j] * e1, D[i + 2, j] * e2, D[i + 3, j] * e3
                else:
                    t0, t1 = da(code, v0, v0) * e0, da(code, v1, v1) * e1
                    t2, t3 = da(code, v2, v2) * e2, da(code, v3, v3) * e3
                T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j] = t0, t1, t2, t3
                d_beta[j] += (t0 + t1) + (t2 + t3)

    return backward


@functools.cache
def backward_stored(code):
    """The sums over a block, from stored Z and A in T, for one activation."""

    @njit(fastmath=REASSOCIATE)
    def backward(Z, T, first, rows, cols, e, vectors, block):
        """Adds 1ᵀT, Aᵀε̂ and 1ᵀ(T ⊙ (Z - μ)) to the block's sums, for a multiple of four rows; ε̂ is 0 in the padding."""
        beta, mu, weight = vectors[SHIFT], vectors[MU], vectors[WEIGHT]
        d_beta, d_G2, d_gamma = block[D_BETA], block[D_G2], block[D_GAMMA]
        for i in range(0, rows, FOUR):
            row = first + i
            e0, e1, e2, e3 = e[row], e[row + 1], e[row + 2], e[row + 3]
            for j in range(cols):
                v0, v1, v2, v3 = T[i, j], T[i + 1, j], T[i + 2, j], T[i + 3, j]
                z0, z1, z2, z3 = Z[row, j] - mu[j], Z[row + 1, j] - mu[j], Z[row + 2, j] - mu[j], Z[row + 3, j] - mu[j]
                w, c = weight[j], beta[j]
                t0, t1 = da(code, z0 * w + c, v0) * e0, da(code, z1 * w + c, v1) * e1
                t2, t3 = da(code, z2 * w + c, v2) * e2, da(code, z3 * w + c, v3) * e3
                d_beta[j] += (t0 + t1) + (t2 + t3)
                d_G2[j] += (v0 * e0 + v1 * e1) + (v2 * e2 + v3 * e3)
                d_gamma[j] += (t0 * z0 + t1 * z1) + (t2 * z2 + t3 * z3)

    return backward


@functools.cache
def pre_activation_gradient(code):
    """dZ of a block from stored Z, for one activation."""

    @njit(fastmath=REASSOCIATE)
    def compute(Z, first, rows, cols, e, vectors, T):
        """dZ into T."""
        beta, mu, weight = vectors[SHIFT], vectors[MU], vectors[WEIGHT]
        c, mean, slopes = vectors[C_], vectors[MEAN], vectors[SLOPE]
        for i in range(rows):
            ei = e[first + i]
            for j in range(cols):
                z = Z[first + i, j] - mu[j]
                b = z * weight[j] + beta[j]
                T[i, j] = (c[j] * ei) * da(code, b, a(code, b)) - mean[j] - z * slopes[j]

    return compute


@njit(fastmath=REASSOCIATE)
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


@njit(fastmath=REASSOCIATE)
def take(block, count, cols, sums):
    """Add the first rows of a block's sums to those of its group, and make them 0."""
    for row in range(count):
        for j in range(cols):
            sums[row, j] += block[row, j]
            block[row, j] = 0


@njit(fastmath=REASSOCIATE)
def flush_now(start, first, R, G, sums):
    """Where it is time, add a group's G to its float64 one; whether it was, and G begins anew."""
    ld = sums.shape[1]
    if sums.shape[0] == SUMS or (start - first) // R % FLUSH_BLOCKS != FLUSH_BLOCKS - 1:
        return False
    for k in range(sums.shape[0] - SUMS):
        for j in range(ld):
            sums[SUMS + k, j] += G[k * ld + j]
            G[k * ld + j] = 0
    return True


@njit(fastmath=REASSOCIATE)
def total_row(k, n, G, sums, total):
    """Row k of G, the groups added up in their order."""
    ld = sums.shape[2]
    for j in range(n):
        total[k, j] = G[0, k * ld + j]
    for g in range(1, G.shape[0]):
        for j in range(n):
            total[k, j] += G[g, k * ld + j]
    if sums.shape[1] > SUMS:
        for g in range(G.shape[0]):
            for j in range(n):
                total[k, j] += sums[g, SUMS + k, j]


@njit(fastmath=REASSOCIATE, parallel=PRANGE_ALONE)
def total_G(rows, n, G, sums, total):
    """G, the groups added up in their order, for so many rows and columns."""
    if G.shape[0] == 1:
        for k in range(rows):
            total_row(k, n, G, sums, total)
    else:
        for k in prange(rows):
            total_row(k, n, G, sums, total)


@njit(fastmath=REASSOCIATE)
def total_sums(sums, cols):
    """Add the groups' sums, in their order, to those of the first."""
    for g in range(1, sums.shape[0]):
        sums[0, OTHERS, 0] += sums[g, OTHERS, 0]
        for row in range(CENTRE):
            for j in range(cols):
                sums[0, row, j] += sums[g, row, j]


@njit(fastmath=REASSOCIATE)
def leading_mean(X, first, shift):
    """The mean of a few rows of X from `first` on: a value near which sums do not cancel."""
    rows = min(X.shape[0] - first, ROWS)
    for k in range(X.shape[1]):
        shift[k] = 0
    for i in range(rows):
        for k in range(X.shape[1]):
            shift[k] += X[first + i, k]
    for k in range(X.shape[1]):
        shift[k] /= rows


@njit()
def up(number, multiple):
    """The next multiple at or above a number."""
    return (number + multiple - 1) // multiple * multiple


@functools.cache
def stored(code, parallel):
    """The stored algorithm, for batch normalisation, with one activation."""
    forward, backward, gradient = forward_stored(code), backward_stored(code), pre_activation_gradient(code)

    @njit(fastmath=REASSOCIATE)
    def statistics(X, W, ldw, shift, first, last, cols, P, R, block, sums, Z):
        """Z of a group's rows, and its statistics."""
        p1, ld, lanes = X.shape[1], Z.shape[1], VECTOR_BYTES // X.itemsize
        sums[:] = 0
        for start in range(first, last, R):
            rows = min(R, last - start)
            gemm.pack(X.reshape(-1), p1, start, rows, shift, P, R)
            gemm.product(
                P, 0, R, up(rows, ROWS), up(p1, FOUR), W, ldw, cols // lanes, lanes, Z.reshape(-1), start * ld, ld
            )
            add_statistics(Z, start, rows, cols, block, sums)

    @njit(fastmath=REASSOCIATE)
    def passes(Z, y, first, last, cols, vectors, T, block, sums, e):
        """ε̂ and the sums of a group's rows."""
        block[:] = 0
        for start in range(first, last, T.shape[0]):
            rows = min(T.shape[0], last - start)
            sums[OTHERS, 0] += forward(Z, start, rows, cols, y, vectors, T, e)
            backward(Z, T, start, up(rows, ROWS), cols, e, vectors, block)
            take(block, 3, cols, sums)

    @njit(fastmath=REASSOCIATE)
    def products(X, Z, e, shift, first, last, cols, vectors, P, T, packed, panel, G, sums):
        """G += (X_b - shift)ᵀ dZ over a group's rows; packed says that P holds them already."""
        R, ld, p1, lanes = T.shape[0], T.shape[1], X.shape[1], VECTOR_BYTES // X.itemsize
        begun = first
        for start in range(first, last, R):
            rows = min(R, last - start)
            if not packed:
                gemm.pack(X.reshape(-1), p1, start, rows, shift, P, R)
            gradient(Z, start, rows, cols, e, vectors, T)
            gemm.transposed_product(
                P, R, up(rows, ROWS), p1, T.reshape(-1), ld, cols // lanes, lanes, G, panel, False, start > begun
            )
            if flush_now(start, first, R, G, sums):
                begun = start + R

    @njit(fastmath=REASSOCIATE, parallel=parallel and PRANGE_ALONE)
    def step(
        X, y, G1, theta, ddof, eps, group_rows, dG1, dtheta,
        P, T, G, panel, block, sums, W, vectors, shift, total, Z, e, in_place,
    ):  # fmt: skip
        N, p1, p2, R = X.shape[0], X.shape[1], G1.shape[1], T.shape[1]
        lanes = VECTOR_BYTES // X.itemsize
        cols, groups = up(p2, lanes), P.shape[0]
        packed = N <= R
        gamma, beta, G2 = theta[GAMMA], theta[BETA_], theta[GAMMA2]
        dgamma, dbeta, dG2 = dtheta[GAMMA], dtheta[BETA_], dtheta[GAMMA2]
        leading_mean(X, 0, shift)
        ldw = 0
        if in_place and N <= UNPACKED_ROWS:
            W, ldw = G1.reshape(-1), p2
        else:
            gemm.panels(G1.reshape(-1), 0, p1, p2, W, lanes)
        if not parallel:
            statistics(X, W, ldw, shift, 0, N, cols, P[0], R, block[0], sums[0], Z)
        else:
            for g in prange(groups):
                first, last = g * group_rows, min(N, (g + 1) * group_rows)
                statistics(X, W, ldw, shift, first, last, cols, P[g], R, block[g], sums[g], Z)

        centre, spread = sums[0, CENTRE], sums[0, SPREAD]
        count = sums[0, OTHERS, 1]
        for g in range(1, groups):
            more = sums[g, OTHERS, 1]
            for j in range(cols):
                change = sums[g, CENTRE, j] - centre[j]
                centre[j] += change * more / (count + more)
                spread[j] += sums[g, SPREAD, j] + change * change * count * more / (count + more)
            count += more
        for j in range(p2):
            spread[j] = math.sqrt(spread[j] / (N - ddof) + eps)
            vectors[SHIFT, j], vectors[G2_, j], vectors[MU, j] = beta[j], G2[j], centre[j]
            vectors[WEIGHT, j] = gamma[j] / spread[j]

        if not parallel:
            passes(Z, y, 0, N, cols, vectors, T[0], block[0], sums[0], e)
        else:
            for g in prange(groups):
                first, last = g * group_rows, min(N, (g + 1) * group_rows)
                passes(Z, y, first, last, cols, vectors, T[g], block[g], sums[g], e)
        total_sums(sums, cols)
        for j in range(p2):
            c = -2.0 / N * G2[j]
            db, dg = c * sums[0, D_BETA, j], c * sums[0, D_GAMMA, j] / spread[j]
            dbeta[j], dgamma[j], dG2[j] = db, dg, -2.0 / N * sums[0, D_G2, j]
            weight = gamma[j] / spread[j]
            vectors[C_, j], vectors[MEAN, j] = weight * c, weight * db / N
            vectors[SLOPE, j] = weight * dg / (spread[j] * (N - ddof))

        if not parallel:
            products(X, Z, e, shift, 0, N, cols, vectors, P[0], T[0], packed, panel[0], G[0], sums[0])
        else:
            for g in prange(groups):
                first, last = g * group_rows, min(N, (g + 1) * group_rows)
                products(X, Z, e, shift, first, last, cols, vectors, P[g], T[g], packed, panel[g], G[g], sums[g])
        if not in_place:
            total_G(p1, p2, G, sums, total)
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = total[k, j]
        return sums[0, OTHERS, 0] / N

    return step


@functools.cache
def one_pass(code, normalize, parallel):
    """The one-pass algorithm for one activation, with batch normalisation or without."""
    forward, backward = forward_centred(code), backward_centred(code)

    @njit(fastmath=REASSOCIATE)
    def sweep(X, y, W, shift, vectors, first, last, cols, P, T, D, G, panel, block, sums, e):
        """ε̂, T and their sums over a group's rows."""
        R, ld, p1, lanes = T.shape[0], T.shape[1], X.shape[1], VECTOR_BYTES // X.itemsize
        sums[:] = 0
        block[:] = 0
        begun = first
        for start in range(first, last, R):
            rows = min(R, last - start)
            whole = up(rows, ROWS)
            gemm.pack(X.reshape(-1), p1, start, rows, shift, P, R)
            gemm.product(P, 0, R, whole, up(p1, FOUR), W, 0, cols // lanes, lanes, T.reshape(-1), 0, ld)
            sums[OTHERS, 0] += forward(T, D, rows, cols, y, start, vectors, e)
            e[rows:whole] = 0
            backward(T, D, whole, cols, e, block)
            take(block, 2, cols, sums)
            gemm.transposed_product(
                P, R, whole, p1, T.reshape(-1), ld, cols // lanes, lanes, G, panel, False, start > begun
            )
            if flush_now(start, first, R, G, sums):
                begun = start + R

    @njit(fastmath=REASSOCIATE, parallel=parallel and PRANGE_ALONE)
    def step(
        X, y, G1, theta, ddof, eps, group_rows, dG1, dtheta,
        P, T, G, panel, block, sums, D, e, W, vectors, shift, total, C, diagonal, rest, wide, wide_panels, V,
    ):  # fmt: skip
        N, p1, p2 = X.shape[0], X.shape[1], G1.shape[1]
        lanes = VECTOR_BYTES // X.itemsize
        cols, groups = up(p2, lanes), P.shape[0]
        gamma, beta, G2 = theta[GAMMA], theta[BETA_], theta[GAMMA2]
        dgamma, dbeta, dG2 = dtheta[GAMMA], dtheta[BETA_], dtheta[GAMMA2]
        s = sums[0, SPREAD]
        if normalize:
            # V = C Γ1, then s and W = Γ1 diag(γ/s)
            for k in range(p1):
                for j in range(p2):
                    wide[k, j] = G1[k, j]
            gemm.panels(wide.reshape(-1), 0, p1, p2, wide_panels, 4)
            c_rows, ld64 = V.shape
            depth = up(p1, FOUR)
            gemm.product(C, 0, c_rows, c_rows, depth, wide_panels, 0, ld64 // 4, 4, V.reshape(-1), 0, ld64)
            variance, parts = sums[0, D_BETA], sums[0, D_GAMMA]
            for j in range(p2):
                variance[j] = parts[j] = 0
            for k in range(p1):
                for j in range(p2):
                    variance[j] += wide[k, j] * V[k, j]
                    parts[j] += wide[k, j] * wide[k, j] * diagonal[k]
            for j in range(p2):
                if variance[j] < CANCELLED * parts[j]:
                    return FELL_BACK
            weight = sums[0, CENTRE]
            for j in range(p2):
                weight[j] = gamma[j] / math.sqrt(variance[j] / (N - ddof) + eps)
                parts[j] = 0
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = wide[k, j] * weight[j]
                    parts[j] += rest[k] * dG1[k, j]
            gemm.panels(dG1.reshape(-1), 0, p1, p2, W, lanes)
            for j in range(p2):
                vectors[SHIFT, j], vectors[G2_, j] = beta[j] - parts[j], G2[j]
        else:
            gemm.panels(G1.reshape(-1), 0, p1, p2, W, lanes)
            for j in range(p2):
                vectors[G2_, j] = G2[j]

        if not parallel:
            sweep(
                X, y, W, shift, vectors, 0, N, cols,
                P[0], T[0], D[0], G[0], panel[0], block[0], sums[0], e[0],
            )  # fmt: skip
        else:
            for g in prange(groups):
                first, last = g * group_rows, min(N, (g + 1) * group_rows)
                sweep(
                    X, y, W, shift, vectors, first, last, cols,
                    P[g], T[g], D[g], G[g], panel[g], block[g], sums[g], e[g],
                )  # fmt: skip

        total_sums(sums, cols)
        total_G(p1, p2, G, sums, total)
        for j in range(p2):
            dG2[j] = -2.0 / N * sums[0, D_G2, j]
        if normalize:
            d_beta, d_gamma = sums[0, D_BETA], sums[0, D_GAMMA]
            for j in range(p2):
                d_gamma[j] = s[j] = 0
            for k in range(p1):
                for j in range(p2):
                    total[k, j] -= rest[k] * d_beta[j]
                    d_gamma[j] += wide[k, j] * total[k, j]
                    s[j] += wide[k, j] * V[k, j]
            for j in range(p2):
                s[j] = math.sqrt(s[j] / (N - ddof) + eps)
                c = -2.0 / N * G2[j]
                dbeta[j], d_gamma[j] = c * d_beta[j], c * d_gamma[j] / s[j]
                dgamma[j] = d_gamma[j]
            for k in range(p1):
                for j in range(p2):
                    through_s = V[k, j] * (d_gamma[j] / (s[j] * (N - ddof)))
                    dG1[k, j] = gamma[j] / s[j] * (-2.0 / N * G2[j] * total[k, j] - through_s)
        else:
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = -2.0 / N * G2[j] * total[k, j]
        return sums[0, OTHERS, 0] / N

    return step


@functools.cache
def gram(parallel):
    """The means of X and C = (X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ), once for all activations."""

    @njit(fastmath=REASSOCIATE)
    def sweep(X, first, last, P, T, G, panel, sums, near, column_sums):
        """Sums of X - near and of its products over a group's rows; near is the mean of the first of them."""
        R, ld, p1, lanes = T.shape[0], T.shape[1], X.shape[1], VECTOR_BYTES // X.itemsize
        begun = first
        sums[SUMS:] = 0
        column_sums[:] = 0
        leading_mean(X[:last], first, near)
        for start in range(first, last, R):
            rows = min(R, last - start)
            whole = up(rows, ROWS)
            gemm.pack(X.reshape(-1), p1, start, rows, near, P, R)
            for i in range(rows):
                for k in range(p1):
                    T[i, k] = X[start + i, k] - near[k]
                    column_sums[k] += T[i, k]
            gemm.transposed_product(
                P, R, whole, p1, T.reshape(-1), ld, up(p1, lanes) // lanes, lanes, G, panel, True, start > begun
            )
            if flush_now(start, first, R, G, sums):
                begun = start + R

    @njit(fastmath=REASSOCIATE, parallel=parallel and PRANGE_ALONE)
    def compute(X, group_rows, P, T, G, panel, sums, near, means, products, C, diagonal, rest, shift):
        """C in tiles of four columns, its diagonal, and x̄ = shift + rest, shift in X's dtype."""
        N, p1, groups = X.shape[0], X.shape[1], P.shape[0]
        if not parallel:
            sweep(X, 0, N, P[0], T[0], G[0], panel[0], sums[0], near[0], means[0])
        else:
            for g in prange(groups):
                first, last = g * group_rows, min(N, (g + 1) * group_rows)
                sweep(X, first, last, P[g], T[g], G[g], panel[g], sums[g], near[g], means[g])
        for k in range(p1):
            rest[k] = 0
        for g in range(groups):
            count = min(N, (g + 1) * group_rows) - g * group_rows
            for k in range(p1):
                means[g, k] /= count
                rest[k] += (near[g, k] + means[g, k]) * count / N
        total_G(p1, p1, G, sums, products)
        for k in range(p1):
            for g in range(groups):
                count = min(N, (g + 1) * group_rows) - g * group_rows
                within, between = count * means[g, k], count * (near[g, k] + means[g, k] - rest[k])
                for m in range(k, p1):
                    products[k, m] += between * (near[g, m] + means[g, m] - rest[m]) - within * means[g, m]
        stride = FOUR * up(p1, ROWS)
        for k in range(p1):
            diagonal[k] = products[k, k]
            for m in range(p1):
                C[stride * (k // FOUR) + FOUR * m + k % FOUR] = products[min(k, m), max(k, m)]
        for k in range(p1):
            shift[k] = rest[k]
            rest[k] -= shift[k]

    return compute
