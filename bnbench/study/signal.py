"""How far a gradient grows from one layer to the one before it, in wide layers at random weights: theory, and measured.

Γ of every layer has entries N(0, σ_w²/n), n its inputs, and biases are N(0, σ_b²). Expectations are over z ~ N(0, 1).
With batch normalisation: Yang et al., ICLR 2019, arXiv 1902.08129. Without: Poole et al. 2016, and Schoenholz et al.,
ICLR 2017, arXiv 1611.01232.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq

from bnbench import activations, formula
from bnbench.problem import Layer, Spec

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_NODES, _WEIGHTS = 6 * (_NODES + 1), 6 * _WEIGHTS  # of the half-axis up to 12, so that a kink at 0 is an end
Z = np.concatenate([-_NODES[::-1], _NODES])
DENSITY = np.concatenate([_WEIGHTS[::-1], _WEIGHTS]) * np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi)
SMALLEST = 1e-3  # variance of the pre-activations that a network is measured at where the fixed point is 0


def moments(activation: str, q: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[a], E[a²] and E[a'²] for pre-activations √q z, by Gauss–Legendre quadrature on both sides of 0; q any shape."""
    b = np.sqrt(np.asarray(q, float))[..., None] * Z
    a, slope = activations.value(activation, b), activations.derivative(activation, b)
    return a @ DENSITY, a**2 @ DENSITY, slope**2 @ DENSITY


def explosion(activation: str) -> float:
    """λ = E[a'²] / Var[a], the factor with batch normalisation (γ = 1, β = 0) as the batch grows."""
    mean, square, slope = moments(activation, 1.0)
    return float(slope / (square - mean**2))


def length(activation: str, weight: Any, bias: Any, steps: int = 2000) -> np.ndarray:
    """The fixed point q* = σ_w² E[a(√q* z)²] + σ_b² that q = 1 leads to, at most 1e9; weight is σ_w², bias σ_b²."""
    weight, bias = np.broadcast_arrays(np.asarray(weight, float), np.asarray(bias, float))
    q = np.ones(weight.shape)
    for _ in range(steps):
        before, q = q, np.minimum(weight * moments(activation, q)[1] + bias, 1e9)
        if np.allclose(q, before, rtol=1e-10, atol=1e-12):
            break
    return q


def chi(activation: str, weight: Any, bias: Any, steps: int = 2000) -> np.ndarray:
    """χ₁ = σ_w² E[a'(√q* z)²], the factor without normalisation: order below 1, chaos above."""
    return weight * moments(activation, length(activation, weight, bias, steps))[2]


def critical_line(activation: str, q: Any) -> tuple[np.ndarray, np.ndarray]:
    """(σ_w², σ_b²) where q is a fixed point and χ₁ = 1; σ_b² is negative where there is no such network."""
    _, square, slope = moments(activation, q)
    return 1 / slope, q - square / slope


@functools.cache
def critical(activation: str) -> float:
    """σ_w² where χ₁ = 1 without biases; its limit, where the line only tends there (tanh: q → 0; softplus: q → ∞)."""
    q = np.geomspace(1e-10, 1e6, 500)
    weight, bias = critical_line(activation, q)
    (crossed,) = np.nonzero((bias[:-1] < -1e-9 * q[:-1]) & (bias[1:] > 1e-9 * q[1:]))
    if not crossed.size:
        return float(weight[np.argmin(np.abs(bias) / q)])
    root = brentq(lambda q: critical_line(activation, q)[1], q[crossed[0]], q[crossed[0] + 1], xtol=1e-14)
    return float(critical_line(activation, root)[0])


def weights(
    random: np.random.Generator, widths: list[int], weight: float = 1.0, orthogonal: bool = False
) -> list[np.ndarray]:
    """Γ of every layer, from widths[l-1] to widths[l] nodes, of variance weight/widths[l-1] an entry."""
    drawn = []
    for n, p in itertools.pairwise(widths):
        G = random.standard_normal((n, p))
        if orthogonal:
            left, _, right = np.linalg.svd(G, full_matrices=False)
            G = left @ right * max(n, p) ** 0.5
        drawn.append(G * (weight / n) ** 0.5)
    return drawn


def fitted_factor(activation: str) -> float:
    """E[a'²] / E[a²], the factor without normalisation where every Γ is scaled to pre-activations of variance 1."""
    _, square, slope = moments(activation, 1.0)
    return float(slope / square)


def fitted(drawn: list[np.ndarray], activation: str, X: np.ndarray) -> list[np.ndarray]:
    """Every Γ scaled so that the pre-activations have variance 1 on X (LSUV, Mishkin and Matas, ICLR 2016)."""
    A, scaled = X, []
    for G in drawn:
        scaled.append(G / (A @ G).std())
        A = activations.value(activation, A @ scaled[-1])
    return scaled


def norms(layers: Sequence[Layer], X: np.ndarray, spec: Spec, random: np.random.Generator) -> np.ndarray:
    """Σ of squares of ∂R/∂A_l, from the inputs (l = 0) to the last layer, where it is drawn from N(0, 1).

    Frozen statistics are taken to be μ = 0 and s = 1.
    """
    known, A = [], X
    for layer in layers:
        given = (0.0, 1.0) if spec.normalization == "frozen" else None
        known.append(formula.forward(layer, A, spec, given))
        A = known[-1].A
    upstream = random.standard_normal(A.shape)
    found = [np.sum(upstream**2)]
    for k in reversed(known):
        _, upstream = formula.backward(k, upstream)
        found.append(np.sum(upstream**2))
    return np.array(found[::-1])
