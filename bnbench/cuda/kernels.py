"""CUDA kernels between the two products: statistics, residuals, sums over columns, dZ.

A kernel is made for one activation, dtype and shape of a block, as a plain function, so that it can be compiled for a
device, for the simulator or without either. Every sum is in a fixed order, by blocks that depend on the problem alone:
two runs give the same bits, on any device. No floating-point atomics; reductions go through shared memory, since the
simulator has no shuffles. In float32 no operation is in float64: literals are of the arrays' dtype.

    Z, dZ (N, p2)      e (N,) = ε̂        vectors (VECTORS, p2)     what belongs to a hidden node
    per_node, d_per_node (3, p2)                γ, β and Γ2, and their gradients
    parts (GRID, 4, p2)                  what each block of the grid found; losses (GRID,) likewise
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from bnbench.activations import GAUSSIAN, RELU, SIGMOID, TANH
from bnbench.cuda.runtime import cuda

# Rows of `vectors`: b = (z - MU) WEIGHT + SHIFT, dz = C t - MEAN - (z - MU) SLOPE.
MU, INVERSE, WEIGHT, SHIFT, G2_, C_, MEAN, SLOPE = range(8)
VECTORS = 8
GAMMA, BETA, GAMMA2 = range(3)


@dataclass(frozen=True)
class Shape:
    """The shape of a block: lanes along columns times rows, rows of Z in a tile, and blocks of a grid along rows."""

    lanes: int = 32
    rows: int = 8
    tile: int = 128
    grid: int = 256


HARDWARE, SIMULATED = Shape(), Shape(4, 2, 16, 3)  # the simulator takes milliseconds a thread


@functools.cache
def activation(code: int, real: type) -> tuple[Callable, Callable]:
    """a(b) and a'(b) from b and v = a(b), as device functions of one dtype."""
    zero, half, one = real(0), real(0.5), real(1)
    device = cuda.jit(device=True, inline="always")  # or else compiling needs a device, to know its architecture

    @device
    def a(b):
        if code == RELU:
            return b if not b <= zero else zero
        if code == SIGMOID:
            return one / (one + math.exp(-b))
        if code == TANH:
            return math.tanh(b)
        if code == GAUSSIAN:
            return math.exp(-half * b * b)
        return b

    @device
    def da(b, v):
        if code == RELU:
            return one if v > zero else zero
        if code == SIGMOID:
            return v * (one - v)
        if code == TANH:
            return one - v * v
        if code == GAUSSIAN:
            return -b * v
        return one

    return a, da


def column_statistics(real: type, shape: Shape) -> Callable:
    """`(Z, parts)`: mean, Σ(z - mean)² and count of a block's tiles, two passes a tile, merged by Chan's rule."""
    LANES, ROWS, TILE = shape.lanes, shape.rows, shape.tile
    zero = real(0)

    def kernel(Z, parts):
        totals = cuda.shared.array((ROWS, LANES), real)
        rests = cuda.shared.array((ROWS, LANES), real)
        x, r = cuda.threadIdx.x, cuda.threadIdx.y
        N, p2 = Z.shape
        j = cuda.blockIdx.y * LANES + x
        mean, spread, count = zero, zero, zero
        first = cuda.blockIdx.x * TILE
        while first < N:
            last = min(first + TILE, N)
            size = real(last - first)
            total = zero
            if j < p2:
                for i in range(first + r, last, ROWS):
                    total += Z[i, j]
            totals[r, x] = total
            cuda.syncthreads()
            middle = zero
            for k in range(ROWS):
                middle += totals[k, x]
            middle /= size
            cuda.syncthreads()
            total = zero
            rest = zero
            if j < p2:
                for i in range(first + r, last, ROWS):
                    d = Z[i, j] - middle
                    total += d * d
                    rest += d  # the mean is rounded; this is what mends it
            totals[r, x] = total
            rests[r, x] = rest
            cuda.syncthreads()
            total = zero
            rest = zero
            for k in range(ROWS):
                total += totals[k, x]
                rest += rests[k, x]
            cuda.syncthreads()
            more = rest / size
            step = middle + more - mean
            both = count + size
            mean += step * (size / both)
            spread += total - rest * more + step * step * (count * (size / both))
            count = both
            first += cuda.gridDim.x * TILE
        if r == 0 and j < p2:
            parts[cuda.blockIdx.x, 0, j] = mean
            parts[cuda.blockIdx.x, 1, j] = spread
            parts[cuda.blockIdx.x, 2, j] = count

    return kernel


def finish_statistics(real: type, shape: Shape) -> Callable:
    """`(parts, used, N, ddof, eps, per_node, vectors)`: merge what so many blocks found; μ, 1/s, γ/s, β and Γ2."""
    LANES, ROWS = shape.lanes, shape.rows
    zero, one = real(0), real(1)

    def kernel(parts, used, N, ddof, eps, per_node, vectors):
        means = cuda.shared.array((ROWS, LANES), real)
        spreads = cuda.shared.array((ROWS, LANES), real)
        counts = cuda.shared.array((ROWS, LANES), real)
        x, r = cuda.threadIdx.x, cuda.threadIdx.y
        j = cuda.blockIdx.x * LANES + x
        p2 = per_node.shape[1]
        mean, spread, count = zero, zero, zero
        if j < p2:
            for b in range(r, used, ROWS):
                size = parts[b, 2, j]
                both = count + size
                step = parts[b, 0, j] - mean
                mean += step * (size / both)
                spread += parts[b, 1, j] + step * step * (count * (size / both))
                count = both
        means[r, x] = mean
        spreads[r, x] = spread
        counts[r, x] = count
        cuda.syncthreads()
        if r == 0 and j < p2:
            for k in range(1, min(ROWS, used)):
                size = counts[k, x]
                both = count + size
                step = means[k, x] - mean
                mean += step * (size / both)
                spread += spreads[k, x] + step * step * (count * (size / both))
                count = both
            inverse = one / math.sqrt(spread / real(N - ddof) + eps)
            vectors[MU, j] = mean
            vectors[INVERSE, j] = inverse
            vectors[WEIGHT, j] = per_node[GAMMA, j] * inverse
            vectors[SHIFT, j] = per_node[BETA, j]
            vectors[G2_, j] = per_node[GAMMA2, j]

    return kernel


def unnormalized_vectors(real: type, shape: Shape) -> Callable:
    """`(per_node, vectors)`: what `finish_statistics` leaves, without normalisation: b = z."""
    zero, one = real(0), real(1)

    def kernel(per_node, vectors):
        j = cuda.grid(1)
        if j < per_node.shape[1]:
            vectors[MU, j] = zero
            vectors[INVERSE, j] = one
            vectors[WEIGHT, j] = one
            vectors[SHIFT, j] = zero
            vectors[G2_, j] = per_node[GAMMA2, j]

    return kernel


def residuals(code: int, real: type, shape: Shape) -> Callable:
    """`(Z, y, vectors, e, losses)`: ε̂ by rows, and Σ ε̂² of a block's rows."""
    LANES, ROWS = shape.lanes, shape.rows
    zero = real(0)
    a, _ = activation(code, real)

    def kernel(Z, y, vectors, e, losses):
        totals = cuda.shared.array((ROWS, LANES), real)
        squares = cuda.shared.array(ROWS, real)
        x, r = cuda.threadIdx.x, cuda.threadIdx.y
        N, p2 = Z.shape
        loss = zero
        first = cuda.blockIdx.x * ROWS
        while first < N:
            i = first + r
            total = zero
            if i < N:
                for j in range(x, p2, LANES):
                    total += a((Z[i, j] - vectors[MU, j]) * vectors[WEIGHT, j] + vectors[SHIFT, j]) * vectors[G2_, j]
            totals[r, x] = total
            cuda.syncthreads()
            if x == 0 and i < N:
                total = zero
                for k in range(LANES):
                    total += totals[r, k]
                residual = y[i] - total
                e[i] = residual
                loss += residual * residual
            cuda.syncthreads()
            first += cuda.gridDim.x * ROWS
        if x == 0:
            squares[r] = loss
        cuda.syncthreads()
        if x == 0 and r == 0:
            for k in range(1, ROWS):
                loss += squares[k]
            losses[cuda.blockIdx.x] = loss

    return kernel


def column_sums(code: int, real: type, shape: Shape) -> Callable:
    """`(Z, e, vectors, parts)`: 1ᵀT, 1ᵀ(T ⊙ (Z - μ)), Aᵀε̂ and 1ᵀ(Z - μ) over a block's rows, T = ε̂ ⊙ a'(B)."""
    LANES, ROWS = shape.lanes, shape.rows
    zero = real(0)
    a, da = activation(code, real)

    def kernel(Z, e, vectors, parts):
        partial = cuda.shared.array((4, ROWS, LANES), real)
        x, r = cuda.threadIdx.x, cuda.threadIdx.y
        N, p2 = Z.shape
        j = cuda.blockIdx.y * LANES + x
        sum_t, sum_tz, sum_ae, sum_z = zero, zero, zero, zero
        if j < p2:
            mu, weight, shift = vectors[MU, j], vectors[WEIGHT, j], vectors[SHIFT, j]
            for i in range(cuda.blockIdx.x * ROWS + r, N, cuda.gridDim.x * ROWS):
                z = Z[i, j] - mu
                b = z * weight + shift
                v = a(b)
                t = e[i] * da(b, v)
                sum_t += t
                sum_tz += t * z
                sum_ae += v * e[i]
                sum_z += z
        partial[0, r, x] = sum_t
        partial[1, r, x] = sum_tz
        partial[2, r, x] = sum_ae
        partial[3, r, x] = sum_z
        cuda.syncthreads()
        if r == 0 and j < p2:
            for k in range(1, ROWS):
                sum_t += partial[0, k, x]
                sum_tz += partial[1, k, x]
                sum_ae += partial[2, k, x]
                sum_z += partial[3, k, x]
            parts[cuda.blockIdx.x, 0, j] = sum_t
            parts[cuda.blockIdx.x, 1, j] = sum_tz
            parts[cuda.blockIdx.x, 2, j] = sum_ae
            parts[cuda.blockIdx.x, 3, j] = sum_z

    return kernel


def finish_sums(normalize: bool, real: type, shape: Shape) -> Callable:
    """`(parts, losses, used, N, ddof, vectors, d_per_node, loss)`: the gradients of γ, β, Γ2, the loss, what dZ needs.

    MEAN is that of C t - (z - μ) SLOPE: μ is rounded, 1ᵀ(Z - μ) is not quite 0, and an offset of X multiplies 1ᵀdZ.
    """
    LANES, ROWS = shape.lanes, shape.rows
    zero, two = real(0), real(2)

    def kernel(parts, losses, used, N, ddof, vectors, d_per_node, loss):
        partial = cuda.shared.array((4, ROWS, LANES), real)
        x, r = cuda.threadIdx.x, cuda.threadIdx.y
        j = cuda.blockIdx.x * LANES + x
        p2 = d_per_node.shape[1]
        sum_t, sum_tz, sum_ae, sum_z = zero, zero, zero, zero
        if j < p2:
            for b in range(r, used, ROWS):
                sum_t += parts[b, 0, j]
                sum_tz += parts[b, 1, j]
                sum_ae += parts[b, 2, j]
                sum_z += parts[b, 3, j]
        partial[0, r, x] = sum_t
        partial[1, r, x] = sum_tz
        partial[2, r, x] = sum_ae
        partial[3, r, x] = sum_z
        cuda.syncthreads()
        n = real(N)
        if r == 0 and j < p2:
            for k in range(1, ROWS):
                sum_t += partial[0, k, x]
                sum_tz += partial[1, k, x]
                sum_ae += partial[2, k, x]
                sum_z += partial[3, k, x]
            c = -two / n * vectors[G2_, j]
            inverse, weight = vectors[INVERSE, j], vectors[WEIGHT, j]
            dbeta, dgamma = c * sum_t, c * sum_tz * inverse
            d_per_node[GAMMA, j] = dgamma
            d_per_node[BETA, j] = dbeta
            d_per_node[GAMMA2, j] = -two / n * sum_ae
            vectors[C_, j] = weight * c
            if normalize:
                slope = weight * dgamma * inverse / real(N - ddof)
                vectors[MEAN, j] = weight * dbeta / n - slope * (sum_z / n)
                vectors[SLOPE, j] = slope
            else:
                vectors[MEAN, j] = zero
                vectors[SLOPE, j] = zero
        if j == 0 and r == 0:
            total = zero
            for b in range(used):
                total += losses[b]
            loss[0] = total / n

    return kernel


def pre_activation_gradient(code: int, real: type, shape: Shape) -> Callable:
    """`(Z, e, vectors, dZ)`: dZ, which may be Z itself."""
    LANES, ROWS = shape.lanes, shape.rows
    a, da = activation(code, real)

    def kernel(Z, e, vectors, dZ):
        N, p2 = Z.shape
        j = cuda.blockIdx.y * LANES + cuda.threadIdx.x
        if j < p2:
            mu, weight, shift = vectors[MU, j], vectors[WEIGHT, j], vectors[SHIFT, j]
            c, mean, slope = vectors[C_, j], vectors[MEAN, j], vectors[SLOPE, j]
            for i in range(cuda.blockIdx.x * ROWS + cuda.threadIdx.y, N, cuda.gridDim.x * ROWS):
                z = Z[i, j] - mu
                b = z * weight + shift
                dZ[i, j] = c * (e[i] * da(b, a(b))) - mean - z * slope

    return kernel
