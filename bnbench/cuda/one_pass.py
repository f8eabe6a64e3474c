"""CUDA kernels of the one-pass form: one sweep over X, statistics from XᵀX, Z only ever in shared memory.

With U upper triangular and UᵀU = C = (X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ), s² = ‖U Γ1_j‖²/(N - ddof) + eps: a sum of squares, which
loses half as many digits as Γ1_jᵀCΓ1_j where a variance is small. For p1 and p2 up to 64, which a block's shared memory
holds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bnbench.cuda.kernels import BETA, GAMMA, GAMMA2, activation
from bnbench.cuda.products import MICRO
from bnbench.cuda.runtime import cuda
from bnbench.fused.layout import CANCELLED

SHARED_BYTES = 48 * 1024  # of a block, without asking for more
# Rows of `nodes` (NODES, p2): what is added to X̂γ, Γ2, s, and γ.
ADD, GAMMA2_, S = range(3)
NODES = 3


@dataclass(frozen=True)
class Sizes:
    """The padded sizes that a sweep is compiled for: inputs, hidden nodes, rows of a tile, threads and blocks."""

    inputs: int
    nodes: int
    rows: int
    threads: int = 256
    grid: int = 264

    def shared_bytes(self, itemsize: int) -> int:
        """Bytes of shared memory of a block."""
        numbers = (
            self.rows * self.inputs + self.inputs * self.nodes + self.rows * self.nodes + self.rows + 2 * self.nodes
        )
        return itemsize * (numbers + 3 * self.threads)

    @property
    def units(self) -> int:
        """4 × 4 shares of G."""
        return self.inputs * self.nodes // MICRO**2

    @property
    def splits(self) -> int:
        """Into how many parts the rows of a tile are shared out for G."""
        return max(1, self.threads // self.units)


def sizes(
    p1: int, p2: int, itemsize: int, threads: int = 256, grid: int = 264, steps: tuple[int, ...] = (16, 32, 64)
) -> Sizes | None:
    """The least sizes that hold a problem; None where shared memory does not."""
    inputs = next((size for size in steps if size >= p1), 0)
    nodes = next((size for size in steps if size >= p2), 0)
    if not inputs or not nodes:
        return None
    rows = min(threads, MICRO**2 * threads // nodes)  # each thread has one 4 × 4 share of T
    while rows >= MICRO:
        candidate = Sizes(inputs, nodes, rows, threads, grid)
        if candidate.shared_bytes(itemsize) <= SHARED_BYTES and candidate.units <= threads:
            return candidate
        rows //= 2
    return None


def weights(real: type, threads: int) -> Callable:
    """`(U, diagonal, rest, G1, per_node, N, ddof, eps, W, V, nodes, fell)`: s, W = Γ1 γ/s and V = C Γ1, a block a node.

    diagonal is that of C; x̄ = shift + rest. Where s² cancels, fell[0] becomes 1.
    """
    zero, cancelled = real(0), real(CANCELLED)

    def kernel(U, diagonal, rest, G1, per_node, N, ddof, eps, W, V, nodes, fell):
        partial = cuda.shared.array((3, threads), real)
        t, j = cuda.threadIdx.x, cuda.blockIdx.x
        p1 = U.shape[0]
        squares, terms = zero, zero
        for q in range(t, p1, threads):
            u = zero
            for k in range(q, p1):
                u += U[q, k] * G1[k, j]
            squares += u * u
            terms += G1[q, j] * G1[q, j] * diagonal[q]
            W[q, j] = u  # for a while
        partial[0, t] = squares
        partial[1, t] = terms
        cuda.syncthreads()
        squares, terms = zero, zero
        for k in range(threads):
            squares += partial[0, k]
            terms += partial[1, k]
        s = math.sqrt(squares / real(N - ddof) + eps)
        weight = per_node[GAMMA, j] / s
        for k in range(t, p1, threads):
            v = zero
            for q in range(k + 1):
                v += U[q, k] * W[q, j]
            V[k, j] = v
        cuda.syncthreads()
        add = zero
        for k in range(t, p1, threads):
            w = G1[k, j] * weight
            W[k, j] = w
            add += rest[k] * w
        partial[2, t] = add
        cuda.syncthreads()
        if t == 0:
            add = per_node[BETA, j]
            for k in range(threads):
                add -= partial[2, k]
            nodes[ADD, j] = add
            nodes[GAMMA2_, j] = per_node[GAMMA2, j]
            nodes[S, j] = s
            if not cancelled * terms <= squares < math.inf:
                fell[0] = 1

    return kernel


def sweep(code: int, real: type, sizes: Sizes) -> Callable:
    """`(X, y, shift, W, nodes, parts, G_parts, losses)`: ε̂, 1ᵀT, Aᵀε̂ and (X - shift)ᵀT over a block's tiles of rows.

    parts (grid, 2, p2); G_parts (grid * splits, p1, p2).
    """
    P1, P2, R, THREADS = sizes.inputs, sizes.nodes, sizes.rows, sizes.threads
    UNITS, SPLITS, ACROSS = sizes.units, sizes.splits, P2 // MICRO
    T_UNITS, LANES, STRIPES = R * P2 // MICRO**2, THREADS // R, THREADS // P2
    zero = real(0)
    a, da = activation(code, real)

    def kernel(X, y, shift, W, nodes, parts, G_parts, losses):
        rows_of_X = cuda.shared.array((R, P1), real)
        weights = cuda.shared.array((P1, P2), real)
        B = cuda.shared.array((R, P2), real)
        e = cuda.shared.array(R, real)
        add = cuda.shared.array(P2, real)
        gamma2 = cuda.shared.array(P2, real)
        partial = cuda.shared.array((3, THREADS), real)
        sums = cuda.local.array((MICRO, MICRO), real)
        G = cuda.local.array((MICRO, MICRO), real)
        own = cuda.threadIdx.x
        N, p1 = X.shape
        p2 = W.shape[1]
        for place in range(own, P1 * P2, THREADS):
            k, j = place // P2, place % P2
            weights[k, j] = W[k, j] if k < p1 and j < p2 else zero
        if own < P2:
            add[own] = nodes[ADD, own] if own < p2 else zero
            gamma2[own] = nodes[GAMMA2_, own] if own < p2 else zero
        unit, split = own % UNITS, own // UNITS
        m0, n0 = unit // ACROSS, unit % ACROSS
        for m in range(MICRO):
            for n in range(MICRO):
                G[m, n] = zero
        column, stripe = own % P2, own // P2
        source = own % P1
        middle = shift[source] if source < p1 else zero
        loss, sum_t, sum_ae = zero, zero, zero
        first = cuda.blockIdx.x * R
        while first < N:
            count = min(R, N - first)
            cuda.syncthreads()
            for i in range(own // P1, count, THREADS // P1):
                rows_of_X[i, source] = X[first + i, source] - middle if source < p1 else zero
            cuda.syncthreads()
            for share in range(own, T_UNITS, THREADS):
                i0, j0 = share // ACROSS, share % ACROSS
                for m in range(MICRO):
                    for n in range(MICRO):
                        sums[m, n] = zero
                for k in range(P1):
                    for m in range(MICRO):
                        value = rows_of_X[i0 * MICRO + m, k]
                        for n in range(MICRO):
                            sums[m, n] += value * weights[k, j0 + n * ACROSS]
                for m in range(MICRO):
                    for n in range(MICRO):
                        j = j0 + n * ACROSS
                        B[i0 * MICRO + m, j] = sums[m, n] + add[j]
            cuda.syncthreads()
            i, lane = own // LANES, own % LANES
            total = zero
            if i < count:  # rows beyond hold whatever lay there
                for j in range(lane, p2, LANES):
                    total += a(B[i, j]) * gamma2[j]
            partial[0, own] = total
            cuda.syncthreads()
            if lane == 0 and i < R:
                for k in range(1, LANES):
                    total += partial[0, own + k]
                residual = y[first + i] - total if first + i < N else zero
                e[i] = residual
                loss += residual * residual
            cuda.syncthreads()
            if column < p2 and stripe < STRIPES:
                for i in range(stripe, count, STRIPES):
                    b = B[i, column]
                    v = a(b)
                    t = e[i] * da(b, v)
                    B[i, column] = t
                    sum_t += t
                    sum_ae += v * e[i]
            cuda.syncthreads()
            if split < SPLITS:
                for i in range(split, count, SPLITS):
                    for m in range(MICRO):
                        value = rows_of_X[i, m0 * MICRO + m]
                        for n in range(MICRO):
                            G[m, n] += value * B[i, n0 + n * ACROSS]
            first += cuda.gridDim.x * R
        if split < SPLITS:
            for m in range(MICRO):
                for n in range(MICRO):
                    k, j = m0 * MICRO + m, n0 + n * ACROSS
                    if k < p1 and j < p2:
                        G_parts[cuda.blockIdx.x * SPLITS + split, k, j] = G[m, n]
        partial[0, own] = sum_t
        partial[1, own] = sum_ae
        partial[2, own] = loss
        cuda.syncthreads()
        if own < p2:
            for k in range(1, STRIPES):
                sum_t += partial[0, own + k * P2]
                sum_ae += partial[1, own + k * P2]
            parts[cuda.blockIdx.x, 0, own] = sum_t
            parts[cuda.blockIdx.x, 1, own] = sum_ae
        if own == 0:
            for k in range(1, THREADS):
                loss += partial[2, k]
            losses[cuda.blockIdx.x] = loss

    return kernel


def finish(real: type, threads: int) -> Callable:
    """`(parts, G_parts, losses, rest, G1, V, nodes, N, ddof, per_node, dG1, d_per_node, loss)`: the gradients.

    A block of threads for each hidden node.
    """
    zero, two = real(0), real(2)

    def kernel(parts, G_parts, losses, rest, G1, V, nodes, N, ddof, per_node, dG1, d_per_node, loss):
        partial = cuda.shared.array((3, threads), real)
        t, j = cuda.threadIdx.x, cuda.blockIdx.x
        p1, used = G1.shape[0], losses.shape[0]
        sum_t, sum_ae = zero, zero
        for b in range(t, used, threads):
            sum_t += parts[b, 0, j]
            sum_ae += parts[b, 1, j]
        partial[0, t] = sum_t
        partial[1, t] = sum_ae
        cuda.syncthreads()
        sum_t, sum_ae = zero, zero
        for k in range(threads):
            sum_t += partial[0, k]
            sum_ae += partial[1, k]
        inner = zero
        for k in range(t, p1, threads):
            total = zero
            for b in range(G_parts.shape[0]):
                total += G_parts[b, k, j]
            total -= rest[k] * sum_t
            dG1[k, j] = total
            inner += G1[k, j] * total
        partial[2, t] = inner
        cuda.syncthreads()
        inner = zero
        for k in range(threads):
            inner += partial[2, k]
        n, s = real(N), nodes[S, j]
        c = -two / n * nodes[GAMMA2_, j]
        dgamma = c * inner / s
        slope = dgamma / (s * real(N - ddof))
        weight = per_node[GAMMA, j] / s
        for k in range(t, p1, threads):
            dG1[k, j] = weight * (c * dG1[k, j] - V[k, j] * slope)
        if t == 0:
            d_per_node[GAMMA, j] = dgamma
            d_per_node[BETA, j] = c * sum_t
            d_per_node[GAMMA2, j] = -two / n * sum_ae
            if j == 0:
                total = zero
                for b in range(used):
                    total += losses[b]
                loss[0] = total / n

    return kernel
