"""A layer of `fused-numba` where there are several, or ∂R/∂X is asked for."""

import functools
from typing import Any

import numpy as np

from bnbench.activations import CODES
from bnbench.fused.layout import BY_NODES, NODE_LAYERS, ROW_LAYERS, Layout, for_nodes, layout
from bnbench.problem import Layer, Problem
from bnbench.variants.layerwise import FormLayer


def of_layer(problem: Problem, below: bool, fan_in: int, nodes: int, by_rows: bool = False) -> tuple[Problem, Layout]:
    """The problem whose scratch is that of a network's layer, and its layout; below: ∂R/∂(its input) is wanted.

    Rows are shared out where that is faster than nodes, or always with by_rows.
    """
    one = Problem(
        problem.N, fan_in, nodes, problem.activation, problem.normalization, problem.ddof, problem.eps, problem.dtype
    )
    return one, layout(one, "fresh", (NODE_LAYERS if not by_rows and for_nodes(one) else ROW_LAYERS)[below])


class FusedLayer(FormLayer):
    """A layer in the fused form (`fused.layer`)."""

    def __init__(
        self, network: Problem, inputs: bool, place: int, fan_in: int, nodes: int, given: tuple, by_rows: bool = False
    ) -> None:
        from bnbench.fused import nodes as by_nodes
        from bnbench.fused.layer import layer
        from bnbench.fused.scratch import Scratch

        below = inputs or place > 0
        problem, plan = of_layer(network, below, fan_in, nodes, by_rows)
        self.last, self.place = place == network.depth - 1, place
        real: Any = np.dtype(problem.dtype).type
        self.scratch = scratch = Scratch(problem, plan, "fresh")
        array = scratch.array
        self.per_node, self.dG, self.d_per_node = map(array, ("per_node", "dG1", "d_per_node"))
        self.by_nodes = plan.algorithm in BY_NODES
        self.G: Any = None if self.by_nodes else array("G1")
        self.affine, self.offsets = problem.normalization != "none", []
        if problem.normalization == "frozen":
            array("given_mean")[...], array("given_variance")[...] = given
        elif self.affine:
            self.offsets = [array("shift")[:fan_in]]
        self.s, self.centre = array("s")[:nodes], array("centre")[:nodes]
        self.A, self.r = array("A"), array("r")[: problem.N]
        self.dA = array("dA")[: problem.N] if below else None
        code, several = CODES[problem.activation], plan.groups > 1 or plan.flush
        if self.by_nodes:
            forward = by_nodes.forward_step(problem.normalization, self.last, real)
            backward = by_nodes.backward_step(below, real)
            functions = by_nodes.functions(code, problem.normalization, self.last, below, real, plan.panel)
        else:
            forward, backward, functions = layer(code, problem.normalization, self.last, below, real, several)
        self.X = np.zeros((problem.N, fan_in), problem.dtype)  # until the first step
        scratch.connect(functions, self.X)
        self.forward_kernel, self.backward_kernel = (
            functools.partial(kernel, scratch.address, problem.eps) for kernel in (forward, backward)
        )

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """s and μ (p_out,) of the last step in float64, as in `FusedNumba.spreads`."""
        return spread(self.s, self.centre, self.offsets, self.G)

    def forward(self, A: np.ndarray, parameters: Layer) -> np.ndarray:
        """As in `FormLayer`."""
        self.input = A
        self.scratch.enter("X", A)
        if self.by_nodes:
            self.G = parameters.G
            self.scratch.enter("Gamma", parameters.G)
        else:
            self.G[...] = parameters.G
        if self.affine:
            self.per_node[0], self.per_node[1] = parameters.gamma, parameters.beta
        if not self.last:
            unbroken(self.forward_kernel() > 0)
        return self.A

    def outputs(self, out: np.ndarray) -> np.ndarray:
        """As in `FormLayer`; the last layer's forward pass ends here."""
        self.per_node[2] = out
        unbroken(self.forward_kernel() > 0)
        return self.r

    def enter_upstream(self, upstream: Any) -> None:
        """Enter what `backward` takes."""
        if isinstance(upstream, tuple):
            self.r[...] = upstream[0]
        else:
            self.scratch.enter("U", upstream)

    def sums(self, upstream: Any) -> None:
        """What `backward` begins with: the sums of T, `sum_T`, `sum_TZ` and `sum_Ar`; where rows are shared out."""
        from bnbench.fused.layer import sums_step

        self.enter_upstream(upstream)
        real: Any = self.A.dtype.type
        unbroken(sums_step(real)(self.scratch.address))

    def backward(self, upstream: Any, inputs: bool) -> tuple[Layer, Any, np.ndarray | None]:
        """As in `FormLayer`."""
        self.enter_upstream(upstream)
        unbroken(self.backward_kernel() > 0)
        dgamma, dbeta, dout = self.d_per_node
        affine = (dgamma, dbeta) if self.affine else (None, None)
        return Layer(self.dG, *affine), self.dA, dout if self.last else None


def spread(
    s: np.ndarray, centre: np.ndarray, offsets: list[np.ndarray], G: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(s, μ) of a layer whose input had offsets (p_in,) taken off, which centre, the rest of its μ, lacks."""
    for offset in offsets:
        centre = centre + offset.dot(G)
    return s, centre


def unbroken(ended: bool) -> None:
    """Raise RuntimeError where compiled code was left before its end."""
    if not ended:
        raise RuntimeError("compiled code of fused-numba ended in an exception, which standard error has: no gradients")
