"""A network's layer in the fused form that is shared out by hidden nodes."""

from typing import Any

import numpy as np

from bnbench.problem import Layer, Problem
from bnbench.variants.layerwise import FormLayer


class NodesLayer(FormLayer):
    """A layer that is shared out by its hidden nodes (`fused.nodes`)."""

    def __init__(self, problem: Problem, *, last: bool, below: bool, given: Any) -> None:
        from bnbench.fused.nodes import Nodes

        self.last, self.affine = last, problem.normalization != "none"
        self.nodes = Nodes(problem, given, last=last, below=below)

    def forward(self, A: np.ndarray, parameters: Layer) -> np.ndarray:
        """As in `FormLayer`."""
        nodes = self.nodes
        nodes.bind("X", A)
        nodes.bind("G", parameters.G)
        if self.affine:
            nodes.gamma[...], nodes.beta[...] = parameters.gamma, parameters.beta
        if not self.last:
            unbroken(nodes.forward())
        return nodes.A

    def outputs(self, out: np.ndarray) -> np.ndarray:
        """As in `FormLayer`; the last layer's forward pass ends here."""
        self.nodes.out[...] = out
        unbroken(self.nodes.forward())
        return self.nodes.r

    def backward(self, upstream: Any, inputs: bool) -> tuple[Layer, Any, np.ndarray | None]:
        """As in `FormLayer`."""
        nodes = self.nodes
        if isinstance(upstream, tuple):
            nodes.r[...] = upstream[0]
        else:
            nodes.bind("U", upstream)
        unbroken(nodes.backward())
        affine = (nodes.dgamma, nodes.dbeta) if self.affine else (None, None)
        return Layer(nodes.dG, *affine), nodes.dA, nodes.dout if self.last else None


def unbroken(ended: bool) -> None:
    """Raise RuntimeError where compiled code was left before its end."""
    if not ended:
        raise RuntimeError("compiled code of fused-numba ended in an exception, which standard error has: no gradients")
