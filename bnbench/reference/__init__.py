"""The oracle: gradients in double-double arithmetic with an error bound and kink accounting."""

from bnbench.problem import Gradients
from bnbench.reference import oracle
from bnbench.reference.oracle import Reference

__all__ = ["Reference", "reference"]


def reference(batch, problem, factor_unit=0.0):
    if problem.plain and problem.activation in ("relu", "sigmoid", "tanh", "gaussian", "identity"):
        return oracle.reference(batch, problem, factor_unit)
    from bnbench.reference.network import reference as of_network

    found = of_network(batch.theta, batch.data, problem.spec, problem.dtype)
    each = [Gradients.of(part, problem.depth > 1) for part in (found.high, found.low, found.allowed, found.kink)]
    return Reference(*each, each[0], found.ambiguous)
