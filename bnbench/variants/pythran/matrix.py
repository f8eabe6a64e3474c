"""The step in matrix form for Pythran, in NumPy's words; sums over rows in float64.

X is (N,p1), G1 and dG1 (p1,p2), y (N,), Xhat and D (N,p2).
"""

import numpy as np


# pythran export step(int, float64[:,:] order(C), float64[:], float64[:,:] order(C), float64[:], float64[:],
# float64[:], bool, int, float, float64[:,:] order(C), float64[:,:] order(C), float64[:,:] order(C), float64[:],
# float64[:], float64[:])
# pythran export step(int, float32[:,:] order(C), float32[:], float32[:,:] order(C), float32[:], float32[:],
# float32[:], bool, int, float, float32[:,:] order(C), float32[:,:] order(C), float32[:,:] order(C), float32[:],
# float32[:], float32[:])
def step(code, X, y, G1, gamma, beta, G2, normalize, ddof, eps, Xhat, D, dG1, dgamma, dbeta, dG2):
    """The gradients, in place; returns the loss."""
    N = X.shape[0]
    Z = np.dot(X, G1)
    s = np.ones_like(gamma)
    if normalize:
        mu = (column_sums(Z) / N).astype(Z.dtype)
        Xhat[:] = Z - mu
        s[:] = np.sqrt(column_products(Xhat, Xhat) / (N - ddof) + eps)
        Xhat /= s
        Z[:] = gamma * Xhat + beta
    activate(code, Z, D)
    e = y - np.dot(Z, G2)
    dG2[:] = -2 / N * np.dot(Z.T, e)
    D *= (-2 / N * e)[:, np.newaxis] * G2
    if normalize:
        dbeta[:] = column_sums(D)
        dgamma[:] = column_products(D, Xhat)
        D -= Xhat * (dgamma / (N - ddof))
        mean = (column_sums(D) / N).astype(D.dtype)  # as a mean, so that a column adds up to 0
        D[:] = (gamma / s) * (D - mean)
    dG1[:] = np.dot(X.T, D)
    return np.dot(e, e) / N


def column_sums(M):
    """1ᵀ M."""
    total = np.zeros(M.shape[1])
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            total[j] += M[i, j]
    return total


def column_products(M, other):
    """1ᵀ (M ⊙ other)."""
    total = np.zeros(M.shape[1])
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            total[j] += np.float64(M[i, j]) * other[i, j]
    return total


def activate(code, B, D):
    """a(B) in place of B, and a'(B) into D, rows shared out to threads; codes are those of activations.CODES."""
    N, p2 = B.shape
    if code == 0:
        # omp parallel for if(N * p2 > 20000)
        for i in range(N):
            for j in range(p2):
                B[i, j] = 0 if B[i, j] < 0 else B[i, j]
                D[i, j] = 1 if B[i, j] > 0 else 0
    elif code == 1:
        # omp parallel for if(N * p2 > 20000)
        for i in range(N):
            for j in range(p2):
                B[i, j] = 1 / (1 + np.exp(-B[i, j]))
                D[i, j] = B[i, j] * (1 - B[i, j])
    elif code == 2:
        # omp parallel for if(N * p2 > 20000)
        for i in range(N):
            for j in range(p2):
                B[i, j] = np.tanh(B[i, j])
                D[i, j] = 1 - B[i, j] * B[i, j]
    elif code == 3:
        # omp parallel for if(N * p2 > 20000)
        for i in range(N):
            for j in range(p2):
                D[i, j] = -B[i, j]
                B[i, j] = np.exp(-(B[i, j] * B[i, j]) / 2)
                D[i, j] *= B[i, j]
    elif code == 4:
        D[:] = 1
    elif code == 5:
        # omp parallel for if(N * p2 > 20000)
        for i in range(N):
            for j in range(p2):
                D[i, j] = 1 / (1 + np.exp(-B[i, j]))
                B[i, j] = (0 if B[i, j] < 0 else B[i, j]) + np.log1p(np.exp(-abs(B[i, j])))
    else:
        # omp parallel for if(N * p2 > 20000)
        for i in range(N):
            for j in range(p2):
                D[i, j] = 1 if B[i, j] > 0 else 0.01
                B[i, j] *= D[i, j]
