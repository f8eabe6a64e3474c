"""The step node by node for Pythran: plain loops, the nodes shared out to threads.

X is (N,p1), G1 and dG1 (p1,p2), y and e (N,); Xhat, A and D lie node by node, (p2,N).
"""

import numpy as np


# pythran export step(int, float64[:,:] order(C), float64[:], float64[:,:] order(C), float64[:], float64[:],
# float64[:], bool, int, float, float64[:,:] order(C), float64[:,:] order(C), float64[:,:] order(C), float64[:],
# float64[:], float64[:,:] order(C), float64[:], float64[:], float64[:])
# pythran export step(int, float32[:,:] order(C), float32[:], float32[:,:] order(C), float32[:], float32[:],
# float32[:], bool, int, float, float32[:,:] order(C), float32[:,:] order(C), float32[:,:] order(C), float32[:],
# float32[:], float32[:,:] order(C), float32[:], float32[:], float32[:])
def step(code, X, y, G1, gamma, beta, G2, normalize, ddof, eps, Xhat, A, D, s, e, dG1, dgamma, dbeta, dG2):
    """The gradients, in place; returns the loss."""
    N, p2 = y.shape[0], G2.shape[0]
    # omp parallel for if(N * p2 > 1000)
    for j in range(p2):
        forward(j, code, X, G1, gamma, beta, normalize, ddof, eps, Xhat[j], A[j], D[j], s)
    # omp parallel for if(N * p2 > 1000)
    for block in range((N + 1023) // 1024):
        residuals(block * 1024, min(N, (block + 1) * 1024), y, A, G2, e)
    # omp parallel for if(N * p2 > 1000)
    for j in range(p2):
        backward(j, X, gamma, G2, normalize, ddof, Xhat[j], A[j], D[j], s, e, dG1, dgamma, dbeta, dG2)
    total = 0.0
    for i in range(N):
        total += e[i] * e[i]
    return total / N


def forward(j, code, X, G1, gamma, beta, normalize, ddof, eps, xhat, a, d, s):
    """A node's X̂, A and a'."""
    N, p1 = X.shape
    g = G1[:, j].copy()
    for i in range(N):
        z = X[i, 0] * g[0]
        for k in range(1, p1):
            z += X[i, k] * g[k]
        a[i] = z
    if normalize:
        mu, squares = 0.0, 0.0
        for i in range(N):
            mu += a[i]
        mu /= N
        for i in range(N):
            squares += (a[i] - mu) * (a[i] - mu)
        s[j] = np.sqrt(squares / (N - ddof) + eps)
        for i in range(N):
            xhat[i] = (a[i] - mu) / s[j]
            a[i] = gamma[j] * xhat[i] + beta[j]
    activate(code, a, d)


def activate(code, a, d):
    """a(b) in place of b, and a'(b) into d; codes are those of activations.CODES."""
    N = a.shape[0]
    if code == 0:
        for i in range(N):
            a[i] = 0 if a[i] < 0 else a[i]
            d[i] = 1 if a[i] > 0 else 0
    elif code == 1:
        for i in range(N):
            a[i] = 1 / (1 + np.exp(-a[i]))
            d[i] = a[i] * (1 - a[i])
    elif code == 2:
        for i in range(N):
            a[i] = np.tanh(a[i])
            d[i] = 1 - a[i] * a[i]
    elif code == 3:
        for i in range(N):
            b = a[i]
            a[i] = np.exp(-(b * b) / 2)
            d[i] = -b * a[i]
    elif code == 4:
        for i in range(N):
            d[i] = 1
    elif code == 5:
        for i in range(N):
            b = a[i]
            d[i] = 1 / (1 + np.exp(-b))
            a[i] = (0 if b < 0 else b) + np.log1p(np.exp(-abs(b)))
    else:
        for i in range(N):
            d[i] = 1 if a[i] > 0 else 0.01
            a[i] *= d[i]


def residuals(first, last, y, A, G2, e):
    """ε̂ = y - AΓ2 of some rows."""
    for i in range(first, last):
        e[i] = y[i]
    for j in range(G2.shape[0]):
        for i in range(first, last):
            e[i] -= A[j, i] * G2[j]


def backward(j, X, gamma, G2, normalize, ddof, xhat, a, d, s, e, dG1, dgamma, dbeta, dG2):
    """A node's gradients; dZ takes the place of a'."""
    N, p1 = X.shape
    scale = -2 / N * G2[j]
    db, dg, d2, left = 0.0, 0.0, 0.0, 0.0
    for i in range(N):
        d[i] *= scale * e[i]
        db += d[i]
        d2 += a[i] * e[i]
    dG2[j] = -2 / N * d2
    if normalize:
        for i in range(N):
            dg += d[i] * xhat[i]
        dbeta[j] = db
        dgamma[j] = dg
        mean, part, weight = db / N, dg / (N - ddof), gamma[j] / s[j]
        for i in range(N):
            d[i] = weight * (d[i] - mean - xhat[i] * part)
            left += d[i]
        left /= N  # by rounding; X may have an offset that multiplies it
    column = np.zeros(p1, X.dtype)
    for i in range(N):
        r = d[i] - left
        for k in range(p1):
            column[k] += X[i, k] * r
    for k in range(p1):
        dG1[k, j] = column[k]
