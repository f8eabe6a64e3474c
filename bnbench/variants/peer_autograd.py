"""`autograd`: HIPS autograd over NumPy."""

import functools
import threading
from typing import Any

from bnbench.definition import Tensors, risk, with_autograd
from bnbench.operations import NUMPY
from bnbench.problem import Batch, Gradients, Problem, rebuilt
from bnbench.variants.peers import Peer

TURNS = threading.Lock()  # autograd counts open tapes in one number for all threads


@functools.cache
def table() -> Tensors:
    """autograd's operations; the units' effects are NumPy's, from what is held constant."""
    from autograd.tracer import getval

    m, _ = with_autograd()
    return m.also(
        held=getval,
        dummies=lambda unit, units: (unit, units),
        within=lambda v, D: NUMPY.by_unit(v, *D),
        spread=lambda alpha, D: alpha[D[0]],
        settled=NUMPY.settled,
    )


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
        theta, data, spec, m = self.batch.theta, self.batch.data, problem.spec, table()

        def loss(arrays: tuple) -> Any:
            R, self.alpha = risk(rebuilt(theta, arrays), data, spec, m)
            return R

        self.arguments = tuple(self.leaves())
        self.value_and_grad = self.autograd.value_and_grad(loss)

    load = Peer.load_in_place

    def step(self) -> None:
        """One call of the differentiated loss."""
        with TURNS:
            self.loss, self.slopes = self.value_and_grad(self.arguments)

    def result(self) -> Gradients:
        """The last step's gradients."""
        return self.gradients(self.loss, self.slopes, self.alpha)
