"""The compiled passes of the oracle: the formulas in double-double, each value with its error bound.

A name ending in h or l is a half of a double-double; `error_v` bounds the error of v in an implementation that
rounds to u; φ(n) u Σ|terms| is that of a sum (`oracle.phi`). The passes take a chunk of rows each and are
called from threads: plain compiled loops without the interpreter's lock.
"""

import functools
from collections.abc import Callable

import numpy as np

from bnbench.activations import GAUSSIAN, RELU, SIGMOID, TANH
from bnbench.jit import njit
from bnbench.reference import doubledouble as dd

FUNCTION_UNITS = 8  # units of rounding granted to exp and tanh: 4 ulp


@njit(plain=True)
def quotient(a, b):
    """a/b of two float64 as a double-double."""
    return dd.div(a, 0.0, b, 0.0)


@njit(forceinline=True, inner=True)
def times(error, size):
    """An error's bound times a size, or another bound: 0 where either is 0, however large the other is."""
    return error * size if error != 0.0 and size != 0.0 else 0.0


@njit(inner=True)
def plus(h, l, th, tl):
    """A running sum h + l plus a term; h is exact to l, which takes up the errors (Sum2)."""
    s, r = dd.two_sum(h, th)
    return s, l + (r + tl)


@njit()
def add_pairs(total, part):
    """Add running sums (2,m) to total (2,m)."""
    for j in range(total.shape[1]):
        h, l = dd.two_sum(part[0, j], part[1, j])
        total[0, j], total[1, j] = dd.add(total[0, j], total[1, j], h, l)


@njit()
def add_to(total, H, L):
    """Add a double-double matrix (n,m) to total (2,n,m)."""
    for k in range(H.shape[0]):
        for j in range(H.shape[1]):
            total[0, k, j], total[1, k, j] = dd.add(total[0, k, j], total[1, k, j], H[k, j], L[k, j])


@njit()
def means(Xh, Xl, G1, N):
    """μ = Γ1ᵀ(Xᵀ1)/N, (2,p2), from the column sums of X."""
    p1, p2 = G1.shape
    mu = np.zeros((2, p2))
    for j in range(p2):
        h, l = 0.0, 0.0
        for k in range(p1):
            th, tl = dd.mul(Xh[k], Xl[k], G1[k, j], 0.0)
            h, l = dd.add(h, l, th, tl)
        mu[0, j], mu[1, j] = dd.div(h, l, N, 0.0)
    return mu


@njit()
def roots(squares, divisor, eps):
    """s (p2,) and 1/s (2,p2) of s² = squares/divisor + eps."""
    p2 = squares.shape[1]
    s, over_s = np.empty(p2), np.empty((2, p2))
    for j in range(p2):
        h, l = dd.div(squares[0, j], squares[1, j], divisor, 0.0)
        h, l = dd.add(h, l, eps, 0.0)
        h, l = dd.sqrt(h, l)
        s[j] = h
        over_s[0, j], over_s[1, j] = dd.div(1.0, 0.0, h, l)
    return s, over_s


@njit()
def sum_squares(Zh, Zl, mu):
    """Σ_i (Z_ij - μ_j)² over a chunk of rows, a running sum (2,p2)."""
    n, p2 = Zh.shape
    total = np.zeros((2, p2))
    for i in range(n):
        for j in range(p2):
            h, l = dd.add(Zh[i, j], Zl[i, j], -mu[0, j], -mu[1, j])
            h, l = dd.mul(h, l, h, l)
            total[0, j], total[1, j] = plus(total[0, j], total[1, j], h, l)
    return total


@njit()
def loss(e, N, u, phi_N):
    """R = Σ ε̂²/N of e (ε̂ high, ε̂ low, error; each (N,)): its halves and its error bound."""
    h, l, error = 0.0, 0.0, 0.0
    for i in range(e.shape[1]):
        sh, sl = dd.mul(e[0, i], e[1, i], e[0, i], e[1, i])
        h, l = dd.add(h, l, sh, sl)
        error += times(2 * abs(e[0, i]) + e[2, i], e[2, i])
    h, l = dd.div(h, l, N, 0.0)
    return h, l, error / N + u * (phi_N + 3) * h


@njit()
def move(Xc, flips, Xhat, slope, moved):
    """Add what ambiguous elements move ∂R/∂Γ1 by to moved (2,p1,p2), upwards and downwards.

    flips (n,p2) is the change of S_ij times γ_j/s_j, 0 where a'(B) is certain; Xc is X - 1x̄ᵀ (n,p1) and slope
    XᵀX̂/(N - ddof) (p1,p2), or without normalisation X and 0.
    """
    for i in range(flips.shape[0]):
        for j in range(flips.shape[1]):
            if flips[i, j] != 0:
                for k in range(Xc.shape[1]):
                    v = flips[i, j] * (Xc[i, k] - Xhat[i, j] * slope[k, j])
                    moved[0 if v > 0 else 1, k, j] += abs(v)


@njit(inner=True)
def activation_error(code, b, error, A, D, u):
    """Error bounds of A = a(b) and D = a'(b), kinks apart, where b is off by at most `error`.

    To first order a' error and |a''| error, plus a bound on the second derivative of each times error²/2
    (sigmoid 0.05 and 0.07, tanh 0.4 and 1, gaussian 0.5 and 0.7), or their whole range where that is less, plus the
    functions' own rounding.
    """
    own, square = FUNCTION_UNITS * u, error * error
    if code == RELU:
        return (error if b > -error else 0.0), 0.0
    if code == SIGMOID:
        bend = abs(D * (1 - 2 * A))
        error_A, error_D = min(0.05 * square, 1.0) + own * A, min(0.07 * square, 0.25) + 3 * own * A
    elif code == TANH:
        bend = abs(2 * A * D)
        error_A, error_D = min(0.4 * square, 2.0) + own * abs(A), min(square, 1.0) + 3 * own * abs(A)
    elif code == GAUSSIAN:
        b = min(abs(b), dd.GAUSSIAN_CLAMP)
        bend = abs((b * b - 1) * A)
        own += 2 * u * b * b
        error_A, error_D = min(0.5 * square, 1.0) + own * A, min(0.7 * square, 1.25) + 2 * own * abs(D)
    else:
        return error, 0.0
    return times(error, abs(D)) + error_A, times(error, bend) + error_D


@njit(inner=True)
def element(code, normalize, zh, zl, M, mh, ml, oh, ol, gamma, beta, error_mu, rho, u, phi_p1):
    """X̂, B, A, D = a'(B) of one element and the errors of X̂, B, A, D; M is its (|X||Γ1|)_ij."""
    xh, xl, error_x = zh, zl, u * phi_p1 * M
    if normalize:
        xh, xl = dd.add(zh, zl, -mh, -ml)
        error_x += error_mu + u * abs(xh)
        xh, xl = dd.mul(xh, xl, oh, ol)
        error_x = error_x * oh * (1 + rho) + abs(xh) * (rho + 2 * u) if rho < np.inf else np.inf
        gh, gl = dd.mul(xh, xl, gamma, 0.0)
        bh, bl = dd.add(gh, gl, beta, 0.0)
        error_b = times(error_x, abs(gamma)) + u * (2 * abs(gh) + abs(bh))
    else:
        bh, bl, error_b = xh, xl, error_x
    Ah, Al = dd.activation(code, bh, bl)
    Dh, Dl = dd.derivative(code, bh, bl)
    error_A, error_D = activation_error(code, bh, error_b, Ah, Dh, u)
    return xh, xl, bh, Ah, Al, Dh, Dl, error_x, error_b, error_A, error_D


@njit(inner=True)
def stub(code, th, tl, scale, e, error_e, b, Dh, Dl, error_b, error_D, u):
    """S = t D of one element, its error, and its move where a'(b) is ambiguous; t = -(2/N) ε̂_i Γ2_j.

    scale is (2/N)|Γ2_j|.
    """
    Sh, Sl = dd.mul(th, tl, Dh, Dl)
    ambiguous = code == RELU and abs(b) <= error_b
    slope = 1.0 if ambiguous else abs(Dh)
    flip = 0.0
    if ambiguous:
        flip = -th if Dh > 0 else th
    error = times(times(error_e, slope + error_D) + times(error_D, abs(e)), scale) + 5 * u * abs(Sh)
    return Sh, Sl, error, flip


@functools.cache
def forward_and_backward(code: int, normalize: bool) -> tuple[Callable, Callable]:
    """The forward and the backward pass for one activation, with or without batch normalisation.

    `nodes` (9,p2) is μ, 1/s (two halves each), γ, β, Γ2, the error of μ, the relative error of s; `c` is the two
    halves of -2/N; `rounding` is u, φ(p1), φ(p2 + 1), φ(N), and φ(N) for a sum that is a matrix product.
    """

    @njit()
    def forward(Zh, Zl, M, y, nodes, c, rounding, e):
        """ε̂ of a chunk of rows into e (3,n); returns X̂ (n,p2) and the chunk's share of the sums over rows.

        The running sums (3,2,p2) and their errors (3,p2) are of ∂R/∂β, ∂R/∂γ, ∂R/∂Γ2; moved (2,2,p2) is what kinks
        move the first two by, upwards and downwards.
        """
        n, p2 = Zh.shape
        Xhat = np.empty((n, p2))
        sums, errors, moved = np.zeros((3, 2, p2)), np.zeros((3, p2)), np.zeros((2, 2, p2))
        row = np.empty((10, p2))
        u, phi_p1, phi_p2, phi_N, phi_product = rounding
        ch, cl = c
        mh, ml, oh, ol, gamma, beta, G2, error_mu, rho = nodes
        xl, b, Ah, Al, Dh, Dl, error_x, error_b, error_A, error_D = row
        beta_h, beta_l = sums[0]
        gamma_h, gamma_l = sums[1]
        G2_h, G2_l = sums[2]
        error_beta, error_gamma, error_G2 = errors
        beta_up, beta_down = moved[0]
        gamma_up, gamma_down = moved[1]
        for i in range(n):
            zh, zl, m, xh = Zh[i], Zl[i], M[i], Xhat[i]
            for j in range(p2):
                (
                    xh[j], xl[j], b[j], Ah[j], Al[j], Dh[j], Dl[j],
                    error_x[j], error_b[j], error_A[j], error_D[j],
                ) = element(
                    code, normalize, zh[j], zl[j], m[j], mh[j], ml[j], oh[j], ol[j],
                    gamma[j], beta[j], error_mu[j], rho[j], u, phi_p1,
                )  # fmt: skip
            yh, yl, terms, error_e = 0.0, 0.0, abs(y[i]), 0.0
            for j in range(p2):
                h, l = dd.mul(Ah[j], Al[j], G2[j], 0.0)
                yh, yl = plus(yh, yl, h, l)
                terms += abs(h)
                error_e += times(error_A[j], abs(G2[j]))
            yh, yl = dd.two_sum(yh, yl)
            eh, el = dd.add(y[i], 0.0, -yh, -yl)
            error_e += u * (phi_p2 * terms + abs(eh))
            e[0, i], e[1, i], e[2, i] = eh, el, error_e
            wh, wl = dd.mul(eh, el, ch, cl)
            for j in range(p2):
                th, tl = dd.mul(wh, wl, G2[j], 0.0)
                Sh, Sl, error_S, flip = stub(
                    code, th, tl, abs(ch * G2[j]), eh, error_e, b[j], Dh[j], Dl[j], error_b[j], error_D[j], u
                )
                beta_h[j], beta_l[j] = plus(beta_h[j], beta_l[j], Sh, Sl)
                error_beta[j] += error_S + u * phi_N * abs(Sh)
                h, l = dd.mul(Sh, Sl, xh[j], xl[j])
                gamma_h[j], gamma_l[j] = plus(gamma_h[j], gamma_l[j], h, l)
                error_gamma[j] += times(error_S, abs(xh[j]) + error_x[j]) + times(error_x[j], abs(Sh))
                error_gamma[j] += u * (phi_N + 2) * abs(h)
                h, l = dd.mul(Ah[j], Al[j], wh, wl)
                G2_h[j], G2_l[j] = plus(G2_h[j], G2_l[j], h, l)
                error_G2[j] += abs(ch) * (times(error_A[j], abs(eh) + error_e) + times(error_e, abs(Ah[j])))
                error_G2[j] += u * (phi_product + 3) * abs(h)
                beta_up[j] += max(flip, 0.0)
                beta_down[j] += max(-flip, 0.0)
                gamma_up[j] += max(flip * xh[j], 0.0)
                gamma_down[j] += max(-flip * xh[j], 0.0)
        return Xhat, sums, errors, moved

    @njit()
    def backward(Zh, Zl, M, e, nodes, sums, errors, over_N, over_Nd, c, rounding):
        """dZ (n,p2) of a chunk of rows, its halves; W, flips and X̂ (n,p2).

        |X|ᵀ W is the error of the chunk's part of Xᵀ dZ. flips is what `move` takes. over_N and over_Nd are the
        halves of 1/N and 1/(N - ddof).
        """
        n, p2 = Zh.shape
        dZh, dZl, W, flips, Xhat = np.empty((5, n, p2))
        u, phi_p1, _, _, phi_product = rounding
        ch, cl = c
        nh, nl = over_N
        dh, dl = over_Nd
        mh, ml, oh, ol, gamma, beta, G2, error_mu, rho = nodes
        mean_h, mean_l, slope_h, slope_l, weight_h, weight_l = np.empty((6, p2))
        for j in range(p2):
            mean_h[j], mean_l[j] = dd.mul(sums[0, 0, j], sums[0, 1, j], nh, nl)
            slope_h[j], slope_l[j] = dd.mul(sums[1, 0, j], sums[1, 1, j], dh, dl)
            weight_h[j], weight_l[j] = dd.mul(oh[j], ol[j], gamma[j], 0.0)
        for i in range(n):
            eh, error_e = e[0, i], e[2, i]
            rh, rl = dd.mul(eh, e[1, i], ch, cl)
            for j in range(p2):
                x, xl, b, _, _, Dh, Dl, error_x, error_b, _, error_D = element(
                    code, normalize, Zh[i, j], Zl[i, j], M[i, j], mh[j], ml[j], oh[j], ol[j],
                    gamma[j], beta[j], error_mu[j], rho[j], u, phi_p1,
                )  # fmt: skip
                th, tl = dd.mul(rh, rl, G2[j], 0.0)
                h, l, error, t = stub(code, th, tl, abs(ch * G2[j]), eh, error_e, b, Dh, Dl, error_b, error_D, u)
                terms, weight = abs(h), 1.0
                if normalize:
                    h, l = dd.add(h, l, -mean_h[j], -mean_l[j])
                    gh, gl = dd.mul(slope_h[j], slope_l[j], x, xl)
                    h, l = dd.add(h, l, -gh, -gl)
                    terms += abs(mean_h[j]) + abs(gh)
                    error += errors[0, j] * nh + times(error_x, abs(slope_h[j]))
                    error += times(errors[1, j] * dh, abs(x) + error_x)
                    error = times(1 + rho[j], error) + times(rho[j] + 6 * u, terms)
                    h, l = dd.mul(h, l, weight_h[j], weight_l[j])
                    weight = abs(weight_h[j])
                    t *= weight_h[j]
                Xhat[i, j], dZh[i, j], dZl[i, j] = x, h, l
                W[i, j] = times(error + u * phi_product * terms, weight)
                flips[i, j] = t
        return dZh, dZl, W, flips, Xhat

    return forward, backward
