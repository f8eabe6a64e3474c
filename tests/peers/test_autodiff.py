"""Autodiff, which knows no closed formula, against the certified gradient, which knows none either."""

import numpy as np
import pytest
from certificates import SETTINGS, parts, problems
from flint import arb

from bnbench.problem import Batch
from bnbench.reference import reference
from bnbench.reference.certified import certify
from bnbench.variants import variants


def jax_gradients(batch, problem):
    """JAX's reverse mode in float64."""
    jax = pytest.importorskip("jax")
    with variants()["jax-jit"]().enable_x64(True):  # here alone: the process is other tests' too
        value, slopes = jax.value_and_grad(
            lambda parameters: network(jax.numpy, jax.nn.sigmoid, batch, problem, *parameters)
        )([jax.numpy.asarray(part) for part in batch[2:] if part is not None])
    return [np.asarray(value), *(np.asarray(slope) for slope in slopes)]


def torch_gradients(batch, problem):
    """PyTorch's reverse mode in float64."""
    torch = pytest.importorskip("torch")
    batch = Batch(*(None if part is None else torch.tensor(part) for part in batch))
    parameters = [part.requires_grad_() for part in batch[2:] if part is not None]
    loss = network(torch, torch.sigmoid, batch, problem, *parameters)
    loss.backward()
    return [loss.detach().numpy(), *(part.grad.numpy() for part in parameters)]


def network(library, sigmoid, batch, problem, G1, *others):
    """The loss as either framework's user writes it."""
    gamma, beta, G2 = others if problem.normalization == "batch" else (None, None, *others)
    Z = batch.X @ G1
    if gamma is not None:
        variance = ((Z - Z.mean(0)) ** 2).sum(0) / (problem.N - problem.ddof)
        Z = gamma * (Z - Z.mean(0)) / library.sqrt(variance + problem.eps) + beta
    activation = {
        "relu": lambda b: b * (b > 0),
        "sigmoid": sigmoid,
        "tanh": library.tanh,
        "gaussian": lambda b: library.exp(-b * b / 2),
        "identity": lambda b: b,
    }[problem.activation]
    return ((batch.y - activation(Z) @ G2) ** 2).sum() / problem.N


@pytest.mark.parametrize("framework", [jax_gradients, torch_gradients])
@pytest.mark.parametrize(("activation", "normalization", "ddof", "eps"), SETTINGS)
def test_autodiff_agrees_to_its_rounding(framework, activation, normalization, ddof, eps):
    """Nobody's derivation is shared between a framework's autodiff and the power series.

    Sizes are the same in all settings, for JAX compiles each anew.
    """
    # catches: power series and formulas that are wrong alike
    for problem in problems(activation, normalization, ddof, eps, drawn=0):
        batch = problem.sample()
        found = framework(batch, problem)
        allowed, true = parts(reference(batch, problem).allowed), parts(certify(batch, problem).gradients)
        for name, values in zip(true, found, strict=True):
            errors = [float(abs(arb(float(v)) - t).mid()) for v, t in zip(np.ravel(values), true[name], strict=True)]
            assert np.linalg.norm(errors) <= np.linalg.norm(allowed[name]), (problem, name)
