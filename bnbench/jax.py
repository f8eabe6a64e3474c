"""The step as a JAX function: a scalar that `jax.grad` and `jax.value_and_grad` differentiate, under `jax.jit` too.

bnbench computes loss and gradients together, on the CPU, from NumPy arrays; where JAX traces, through a callback. The
gradients are kept, and the backward pass scales them. Nothing flows further: forward mode, and so the gradient of a
gradient, is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from bnbench import arrays
from bnbench.library import Prepared, gradients
from bnbench.networks import Network
from bnbench.problem import Gradients, Problem, named_arrays

__all__ = ["loss", "loss_of"]

PARTS = {"X": "dX", "G1": "dG1", "gamma": "dgamma", "beta": "dbeta", "G2": "dG2", "delta": "ddelta"}

Step = Callable[[dict[str, Any], bool], Gradients]  # of arrays by name, and whether ∂R/∂X is wanted


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
) -> jax.Array:
    """The loss R, a scalar that can be differentiated by X and by every parameter.

    The arguments are those of `bnbench.gradients`, float64 where JAX is told so (`jax_enable_x64`) and float32
    elsewhere; of several hidden layers lists. Labels that are no numbers are constants: under `jax.jit` they are closed
    over. `jax.vmap` takes one member of the batch after the other.

    Raises:
        ValueError: as `bnbench.gradients`, within a `JaxRuntimeError` under `jax.jit`; a derivative by y, W or
            statistics.
    """
    given = {"X": X, "G1": G1, "gamma": gamma, "beta": beta, "G2": G2, "delta": delta}
    given |= {"y": y, "W": W, "statistics": statistics}
    labels = {"units": units}
    if getattr(getattr(units, "dtype", None), "kind", "O") in "iu":
        given |= labels

    def step(read: dict[str, Any], inputs: bool) -> Gradients:
        return gradients(
            **labels | read, inputs=inputs, variant=variant,
            activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip

    return _scalar(step, given)


def loss_of(
    prepared: Prepared | Network, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any = None, *, rows: Any = None
) -> jax.Array:
    """The loss R of data that `bnbench.prepare` has checked and set up, as `loss` gives it; rows are a minibatch.

    Raises:
        ValueError: as the `gradients` of what is prepared, within a `JaxRuntimeError` under `jax.jit`.
    """
    given = {"G1": G1, "gamma": gamma, "beta": beta, "G2": G2, "delta": delta}
    of = {"rows": rows}
    if rows is not None and not isinstance(rows, slice):
        given |= of
    return _scalar(lambda read, _: prepared.gradients(**of | read), given)


def _scalar(step: Step, given: dict[str, Any]) -> jax.Array:
    """R by a step of arrays, with its derivative."""
    given = {name: _read(name, part) for name, part in given.items()}
    names, values = zip(*(one for name, part in given.items() for one in named_arrays(name, part)), strict=True)
    real = next(value.dtype for value in values if value.dtype.kind == "f")

    def called(values: Sequence, wanted: Sequence[str]) -> Sequence:
        """R, and its derivatives by the arrays of these names."""

        def call(*values: Any) -> list[np.ndarray]:
            found = step(_rebuilt(given, map(np.asarray, values)), "X" in wanted)
            slopes = dict(one for name, part in PARTS.items() for one in named_arrays(name, getattr(found, part)))
            return [np.asarray(found.loss, real), *(slopes[name] for name in wanted)]

        if not any(isinstance(value, jax.core.Tracer) for value in values):
            return [jax.numpy.asarray(part) for part in call(*values)]
        shapes = [(), *(value.shape for name, value in zip(names, values, strict=True) if name in wanted)]
        told = [jax.ShapeDtypeStruct(shape, real) for shape in shapes]
        return jax.pure_callback(call, told, *values, vmap_method="sequential")

    def forward(*given: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        wanted = [name for name, part in zip(names, given, strict=True) if part.perturbed]
        if others := [name for name in wanted if name.partition("[")[0] not in PARTS]:
            raise ValueError(f"a derivative by {others[0]} is asked for; allowed are those by {', '.join(PARTS)}")
        found, *slopes = called([part.value for part in given], wanted)
        return found, dict(zip(wanted, slopes, strict=True))

    def backward(slopes: dict[str, jax.Array], upstream: Any) -> tuple:
        return tuple(upstream * slopes[name] if name in slopes else None for name in names)

    value = jax.custom_vjp(lambda *values: called(values, [])[0])
    value.defvjp(forward, backward, symbolic_zeros=True)
    return value(*values)


def _read(name: str, part: Any) -> Any:
    """An array of JAX's, or such arrays in lists; None stays."""
    if part is None or isinstance(part, jax.Array):
        return part
    if isinstance(part, list | tuple):
        return type(part)(_read(f"{name}[{place}]", one) for place, one in enumerate(part))
    return jax.numpy.asarray(arrays.read(name, part))


def _rebuilt(given: dict[str, Any], values: Iterable) -> dict[str, Any]:
    """The parts with other arrays in the place of theirs."""
    rest = iter(values)

    def each(part: Any) -> Any:
        if isinstance(part, list | tuple):
            return type(part)(map(each, part))
        return None if part is None else next(rest)

    return {name: each(part) for name, part in given.items()}
