"""CUDA kernels of the node-by-node form: a block of threads for each hidden node, and one pass over the rows between.

Z, A (p2, N)      nodes (2, p2) = 1/s and γ/s      per_node, d_per_node (3, p2), as in `kernels`
"""

import math
from collections.abc import Callable

from bnbench.cuda.kernels import BETA, GAMMA, GAMMA2, activation
from bnbench.cuda.runtime import cuda


def forward(code: int, normalize: bool, real: type, threads: int) -> Callable:
    """`(X, G1, per_node, ddof, eps, Z, A, nodes)`: Z - μ and A of a hidden node by its own block, μ by a first pass.

    Z and A are (p2, N); nodes (2, p2) gets 1/s and γ/s.
    """
    zero, one = real(0), real(1)
    a, _ = activation(code, real)

    def kernel(X, G1, per_node, ddof, eps, Z, A, nodes):
        partial = cuda.shared.array(threads, real)
        t, j = cuda.threadIdx.x, cuda.blockIdx.x
        N, p1 = X.shape
        total = zero
        for i in range(t, N, threads):
            z = zero
            for k in range(p1):
                z += X[i, k] * G1[k, j]
            Z[j, i] = z
            total += z
        weight, shift, inverse = one, zero, one
        if normalize:
            partial[t] = total
            cuda.syncthreads()
            mean = zero
            for k in range(threads):
                mean += partial[k]
            mean /= real(N)
            cuda.syncthreads()
            total = zero
            for i in range(t, N, threads):
                total += Z[j, i] - mean
            partial[t] = total
            cuda.syncthreads()
            rest = zero
            for k in range(threads):
                rest += partial[k]
            mean += rest / real(N)
            cuda.syncthreads()
            total = zero
            for i in range(t, N, threads):
                z = Z[j, i] - mean
                Z[j, i] = z
                total += z * z
            partial[t] = total
            cuda.syncthreads()
            spread = zero
            for k in range(threads):
                spread += partial[k]
            inverse = one / math.sqrt(spread / real(N - ddof) + eps)
            weight, shift = per_node[GAMMA, j] * inverse, per_node[BETA, j]
        for i in range(t, N, threads):
            A[j, i] = a(Z[j, i] * weight + shift)
        if t == 0:
            nodes[0, j] = inverse
            nodes[1, j] = weight

    return kernel


def rows(real: type, threads: int) -> Callable:
    """`(A, per_node, y, e, losses)`: ε̂, a thread a row, and Σ ε̂² of each block."""
    zero = real(0)

    def kernel(A, per_node, y, e, losses):
        partial = cuda.shared.array(threads, real)
        t = cuda.threadIdx.x
        loss = zero
        for i in range(cuda.blockIdx.x * threads + t, y.shape[0], cuda.gridDim.x * threads):
            total = zero
            for j in range(A.shape[0]):
                total += A[j, i] * per_node[GAMMA2, j]
            e[i] = y[i] - total
            loss += e[i] * e[i]
        partial[t] = loss
        cuda.syncthreads()
        if t == 0:
            for k in range(1, threads):
                loss += partial[k]
            losses[cuda.blockIdx.x] = loss

    return kernel


def backward(code: int, normalize: bool, real: type, threads: int) -> Callable:
    """`(X, per_node, ddof, Z, A, nodes, e, losses, dG1, d_per_node, loss)`: a hidden node's gradients, a block each."""
    zero, two = real(0), real(2)
    _, da = activation(code, real)

    def kernel(X, per_node, ddof, Z, A, nodes, e, losses, dG1, d_per_node, loss):
        partial = cuda.shared.array((4, threads), real)
        t, j = cuda.threadIdx.x, cuda.blockIdx.x
        N, p1 = X.shape
        n, inverse, weight = real(N), nodes[0, j], nodes[1, j]
        shift = per_node[BETA, j] if normalize else zero
        sum_t, sum_tz, sum_ae, sum_z = zero, zero, zero, zero
        for i in range(t, N, threads):
            z, v = Z[j, i], A[j, i]
            own = e[i] * da(z * weight + shift, v)
            sum_t += own
            sum_tz += own * z
            sum_ae += v * e[i]
            sum_z += z
        partial[0, t] = sum_t
        partial[1, t] = sum_tz
        partial[2, t] = sum_ae
        partial[3, t] = sum_z
        cuda.syncthreads()
        sum_t, sum_tz, sum_ae, sum_z = zero, zero, zero, zero
        for k in range(threads):
            sum_t += partial[0, k]
            sum_tz += partial[1, k]
            sum_ae += partial[2, k]
            sum_z += partial[3, k]
        c = -two / n * per_node[GAMMA2, j]
        dbeta, dgamma = c * sum_t, c * sum_tz * inverse
        mean, slope = zero, zero
        if normalize:
            slope = weight * dgamma * inverse / real(N - ddof)
            mean = weight * dbeta / n - slope * (sum_z / n)  # z is less a rounded μ; X may have an offset
        for i in range(t, N, threads):
            z = Z[j, i]
            Z[j, i] = weight * c * (e[i] * da(z * weight + shift, A[j, i])) - mean - z * slope
        cuda.syncthreads()
        for k in range(p1):
            total = zero
            for i in range(t, N, threads):
                total += X[i, k] * Z[j, i]
            partial[0, t] = total
            cuda.syncthreads()
            if t == 0:
                for other in range(1, threads):
                    total += partial[0, other]
                dG1[k, j] = total
            cuda.syncthreads()
        if t == 0:
            d_per_node[GAMMA, j] = dgamma
            d_per_node[BETA, j] = dbeta
            d_per_node[GAMMA2, j] = -two / n * sum_ae
            if j == 0:
                total = zero
                for b in range(losses.shape[0]):
                    total += losses[b]
                loss[0] = total / n

    return kernel
