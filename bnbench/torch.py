"""The step as a PyTorch loss: a scalar with a gradient, so that a training loop stays its owner's.

bnbench computes loss and gradients together, on the CPU; the gradients are kept, and `backward` scales them. Nothing
flows further: the gradient of a gradient is refused.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from bnbench import arrays
from bnbench.library import Prepared, gradients
from bnbench.networks import Network
from bnbench.problem import Gradients, Problem, named_arrays

__all__ = ["loss", "loss_of"]

PARTS = {"X": "dX", "G1": "dG1", "gamma": "dgamma", "beta": "dbeta", "G2": "dG2", "delta": "ddelta"}


class Held(torch.autograd.Function):
    """A number whose gradients by some tensors are known."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, slopes: list[np.ndarray], *tensors: torch.Tensor) -> torch.Tensor:
        """The number."""
        ctx.save_for_backward(*(torch.from_numpy(np.require(slope, requirements="W")) for slope in slopes))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple:
        """Upstream times each gradient."""
        return None, None, *(upstream * slope for slope in ctx.saved_tensors)


def loss(
    X: Any,
    y: Any,
    G1: Any,
    gamma: Any,
    beta: Any,
    G2: Any,
    *,
    W: Any = None,
    delta: Any = None,
    units: Any = None,
    statistics: Any = None,
    variant: str = "auto",
    activation: str = Problem.activation,
    normalization: str = Problem.normalization,
    loss: str = Problem.loss,
    ddof: int = Problem.ddof,
    eps: float = Problem.eps,
) -> torch.Tensor:
    """The loss R, a scalar tensor whose `backward` gives the gradients of those tensors that require them.

    The arguments are those of `bnbench.gradients`: tensors on the CPU, all float32 or all float64, and of several
    hidden layers lists of them (or an `nn.ParameterList`). Arrays are taken too, and are constants. A gradient can be
    had of X and of every parameter.

    Raises:
        ValueError: as `bnbench.gradients`; a tensor on another device; y, W or statistics that require a gradient.
    """
    given = {"X": X, "G1": G1, "gamma": gamma, "beta": beta, "G2": G2, "delta": delta}
    constants = {"y": y, "W": W, "units": units, "statistics": statistics}

    def step(read: dict[str, Any], inputs: bool) -> Gradients:
        return gradients(
            **read, **{name: _read(name, part) for name, part in constants.items()}, inputs=inputs, variant=variant,
            activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip

    return _scalar(step, given, constants)


def loss_of(
    prepared: Prepared | Network, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any = None, *, rows: Any = None
) -> torch.Tensor:
    """The loss R of data that `bnbench.prepare` has checked and set up, as `loss` gives it; rows are a minibatch.

    Raises:
        ValueError: as the `gradients` of what is prepared; a tensor on another device.
    """
    given = {"G1": G1, "gamma": gamma, "beta": beta, "G2": G2, "delta": delta}
    return _scalar(lambda read, _: prepared.gradients(**read, rows=_read("rows", rows)), given, {"rows": rows})


@torch.compiler.disable  # which cannot look into compiled code: the graph breaks here
def _scalar(step: Callable[[dict[str, Any], bool], Gradients], given: dict[str, Any], constants: dict[str, Any]) -> Any:
    """R by a step, with the gradients of those tensors in `given` that require one."""
    given = {name: list(part) if isinstance(part, torch.nn.ParameterList) else part for name, part in given.items()}
    wanted = {name: tensor for name, tensor in _named(given) if _wanted(tensor)}
    for name, tensor in _named(constants):
        if _wanted(tensor):
            raise ValueError(f"{name} requires a gradient; allowed are {', '.join(PARTS)}: use {name}.detach()")
    found = step({name: _read(name, part) for name, part in given.items()}, "X" in wanted)
    slopes = dict(_named({name: getattr(found, slope) for name, slope in PARTS.items()}))
    value = torch.tensor(found.loss, dtype=torch.from_numpy(found.dG2).dtype)
    return Held.apply(value, [slopes[name] for name in wanted], *wanted.values())


def _named(parts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Every array of parts, those of lists as G1[0]."""
    return [one for name, part in parts.items() for one in named_arrays(name, part)]


def _wanted(part: Any) -> bool:
    """Whether it is a tensor whose gradient is wanted."""
    return isinstance(part, torch.Tensor) and part.requires_grad and torch.is_grad_enabled()


def _read(name: str, part: Any) -> Any:
    """A tensor, or tensors in lists, as arrays of the same memory; anything else as it is."""
    if isinstance(part, list | tuple):
        return type(part)(_read(f"{name}[{place}]", one) for place, one in enumerate(part))
    if not isinstance(part, torch.Tensor):
        return part
    if part.device.type != "cpu":
        raise ValueError(f"{name} is on {part.device}; allowed is the CPU, where bnbench computes: use {name}.cpu()")
    return arrays.read(name, part.detach())
