"""`autograd`: HIPS autograd over NumPy."""

import threading
from typing import Any

from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants.peers import Peer

TURNS = threading.Lock()  # autograd counts open tapes in one number for all threads


class Autograd(Peer):
    """The loss in NumPy, differentiated by autograd: a tape of NumPy calls made anew in every step."""

    name = "autograd"
    family = "autodiff"
    package = "autograd"
    forks = True

    def __init__(self) -> None:
        import autograd

        self.autograd = autograd

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Define the loss and its gradient."""
        super().prepare(batch, problem, regime)
        import autograd.numpy as np

        X, y = batch.X, batch.y
        activate = {
            "relu": lambda B: np.maximum(B, 0.0),
            "sigmoid": lambda B: np.exp(
                -np.logaddexp(0, -B)
            ),  # 1 / (1 + exp(-B)) has NaN for a slope where exp overflows
            "tanh": np.tanh,
            "gaussian": lambda B: np.exp(-0.5 * B * B),
            "identity": lambda B: B,
        }[problem.activation]
        eps = X.dtype.type(problem.eps)

        def loss(parameters: tuple) -> Any:
            G1, *affine, G2 = parameters
            B = np.dot(X, G1)
            if affine:
                gamma, beta = affine
                centred = B - np.mean(B, axis=0)
                variance = np.sum(centred**2, axis=0) / (problem.N - problem.ddof)
                B = gamma * centred / np.sqrt(variance + eps) + beta
            return np.mean((y - np.dot(activate(B), G2)) ** 2)

        self.arguments = tuple(self.parameters().values())
        self.value_and_grad = self.autograd.value_and_grad(loss)

    load = Peer.load_in_place

    def step(self) -> None:
        """One call of the differentiated loss."""
        with TURNS:
            self.loss, self.slopes = self.value_and_grad(self.arguments)

    def result(self) -> Gradients:
        """The last step's gradients."""
        return self.gradients(self.loss, self.slopes)
