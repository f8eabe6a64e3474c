"""A network as a loop over a form's layers, and its head: what a compiled form is beyond one whole step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from bnbench.formula import NO_EDITS, Known, outcome
from bnbench.problem import Batch, Gradients, Layer, NetworkGradients, Problem, Theta


class FormLayer(ABC):
    """One layer in a form, with its own buffers. What lies between two layers is the form's own, by `rows`."""

    @abstractmethod
    def forward(self, A: np.ndarray, parameters: Layer) -> np.ndarray:
        """The layer's output from its input A (N,p_in), as the next layer's input (N,p_out)."""

    @abstractmethod
    def outputs(self, out: np.ndarray) -> np.ndarray:
        """η (N,) = A Γ_out of the last layer."""

    @abstractmethod
    def backward(self, upstream: Any, inputs: bool) -> tuple[Layer, Any, np.ndarray | None]:
        """The gradients; ∂R/∂(the input) where it is wanted, as the layer below takes it; ∂R/∂Γ_out under the head.

        Under the head upstream is (r, Γ_out), whose product is not formed.
        """

    def by_row(self, below: np.ndarray) -> np.ndarray:
        """∂R/∂(the input) (N,p_in) as it came of `backward`."""
        return below


class Network:
    """The step of a network in a form.

    Attributes:
        answer: the last step's `Gradients`.
    """

    def __init__(
        self, make: Callable[[int, int, int, tuple], FormLayer], batch: Batch, problem: Problem, *, inputs: bool = False
    ) -> None:
        """make gives the layer of a place, with so many inputs and nodes, and statistics that are given, or none.

        inputs says whether ∂R/∂X is wanted too.
        """
        self.theta, self.data, self.problem, self.inputs = batch.theta, batch.data, problem, inputs
        given = self.data.statistics or ((),) * problem.depth
        shapes = [layer.G.shape for layer in self.theta.layers]
        of_layers = enumerate(zip(shapes, given, strict=True))
        self.layers = [make(place, p_in, p_out, pair) for place, ((p_in, p_out), pair) in of_layers]

    def bind(self, X: np.ndarray, y: np.ndarray, W: Any, units: Any) -> None:
        """As `Variant.bind`."""
        count = 0 if units is None else int(units.max()) + 1
        self.data = self.data._replace(X=X, y=y, W=W, unit=units, units=count)

    def step(self) -> None:
        """Forward through the layers and the head, and back."""
        theta, data = self.theta, self.data
        A = data.X
        for layer, parameters in zip(self.layers, theta.layers, strict=True):
            A = layer.forward(A, parameters)
        head = Known(NO_EDITS, theta=theta, data=data, spec=self.problem.spec, N=len(data.y), alpha=None)
        head.eta = self.layers[-1].outputs(theta.out)
        outcome(head)
        found, dout = [], None
        upstream: Any = head.r, theta.out
        for place in reversed(range(len(self.layers))):
            gradient, upstream, weighed = self.layers[place].backward(upstream, self.inputs or place > 0)
            found.append(gradient)
            dout = weighed if dout is None else dout
        gradients = Theta(tuple(reversed(found)), dout, head.ddelta)
        dX = np.array(self.layers[0].by_row(upstream)) if self.inputs else None
        self.answer = Gradients.of(NetworkGradients(head.loss, gradients, dX, head.alpha), self.problem.depth > 1)
