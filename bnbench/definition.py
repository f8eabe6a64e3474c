"""The definition: the risk R of a network, forward only, and the machines that differentiate it.

Written from the text of `bnbench docs gradient` over a table of operations, it knows no gradient. HIPS autograd, JAX,
PyTorch and TensorFlow take it as it stands, and so does `reference.balls`, whose derivatives provably hold the true
ones. Each of them can convict `formula`, with which it shares no code but what an activation and a loss are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnbench import activations, losses
from bnbench.operations import Operations
from bnbench.problem import Data, Layer, NetworkGradients, Spec, Theta, leaves, rebuilt


def risk(theta: Theta, data: Data, spec: Spec, m: Any) -> tuple[Any, Any]:
    """R, and the units' effects α (U,) or None. Shapes as in `Theta` and `Data`; unit is NumPy's."""
    a, _ = activations.functions(spec.activation, m)
    N, A = data.y.shape[0], data.X
    for place, layer in enumerate(theta.layers):
        A = a(preactivation(A, layer, data.statistics[place] if spec.normalization == "frozen" else None, spec, m))
    value, *_ = losses.functions(spec.loss, m)
    eta, alpha = m.product(A, theta.out), None
    if data.W is not None:
        eta = eta + m.product(data.W, theta.delta)
    if data.unit is not None:
        dummies = m.constant((data.unit[:, None] == np.arange(data.units)).astype(np.float64))
        alpha = effects(spec.loss, data.y, eta, dummies, m)
        eta = eta + m.product(dummies, alpha)
    return m.total(value(data.y, eta)) / N, alpha


def preactivation(A: Any, layer: Layer, given: tuple | None, spec: Spec, m: Any) -> Any:
    """B (N,p_out) of a layer over its input A (N,p_in); given are its (mean, variance), for "frozen"."""
    G, gamma, beta = layer
    Z = m.product(A, G)
    if spec.normalization == "none":
        return Z
    if given is None:
        N = A.shape[0]
        mean = m.total(Z) / N
        variance = m.total((Z - mean) ** 2) / (N - spec.ddof)
    else:
        mean, variance = given
    return gamma * ((Z - mean) / m.sqrt(variance + spec.eps)) + beta


def effects(loss: str, y: Any, eta: Any, D: Any, m: Any) -> Any:
    """α (U,): what minimises R where Dα is added to η; D (N,U) says with a 1 which unit a row is of."""
    rows = m.total(D)
    if loss == "squared":
        return m.product(m.transposed(D), y - eta) / rows
    if loss == "poisson":
        return m.log(m.product(m.transposed(D), y) / m.product(m.transposed(D), m.exp(eta)))

    def too_many(alpha: Any) -> tuple[Any, Any]:
        """Expected successes less those there are, in each unit, and the derivative by α."""
        p = m.sigmoid(eta + m.product(D, alpha))
        return m.product(m.transposed(D), p - y), m.product(m.transposed(D), p * (1 - p))

    share = m.product(m.transposed(D), y) / rows
    return m.root(too_many, m.log(share / (1 - share)) - m.product(m.transposed(D), eta) / rows)


def gradients(theta: Theta, data: Data, spec: Spec, machine: str, *, inputs: bool = False) -> NetworkGradients:
    """R and its derivatives by a machine, one of `MACHINES`, in float64 NumPy arrays.

    Raises:
        ImportError: the machine's package is not installed.
    """
    differentiate, m = MACHINES[machine]()
    data = data._replace(
        X=m.constant(data.X),
        y=m.constant(data.y),
        W=None if data.W is None else m.constant(data.W),
        statistics=tuple(tuple(map(m.constant, pair)) for pair in data.statistics),
    )

    def of(arrays: Any) -> tuple[Any, Any]:
        X, *arrays = arrays if inputs else (data.X, *arrays)
        return risk(rebuilt(theta, arrays), data._replace(X=X), spec, m)

    given = ([data.X] if inputs else []) + list(map(m.constant, leaves(theta)))
    loss, alpha, found = differentiate(of, given)
    dX, found = (found[0], found[1:]) if inputs else (None, found)
    return NetworkGradients(loss, rebuilt(theta, found), dX, alpha)


class Tensors(Operations):
    """What the machines' tables have beside; each overrides what its arrays do in another way."""

    constant: Callable = staticmethod(np.asarray)

    def number(self, like: Any, x: float) -> Any:
        """A Python number takes the dtype of the array that it meets."""
        return x

    def product(self, A: Any, B: Any) -> Any:
        """A B, of matrices or a matrix and a vector."""
        return A @ B

    def transposed(self, D: Any) -> Any:
        """Dᵀ."""
        return D.T

    def total(self, M: Any, *others: Any) -> Any:
        """1ᵀM, the sums over rows; there are no others in the definition."""
        return M.sum(axis=0)

    def settled(self, step: Any, alpha: Any) -> bool:
        """A machine takes every step."""
        return False


def with_autograd() -> tuple[Callable, Tensors]:
    """HIPS autograd over NumPy's float64."""
    import autograd
    import autograd.numpy as np

    m = Tensors(
        exp=np.exp, log=np.log, sqrt=np.sqrt, tanh=np.tanh,
        choose=lambda b, above, below: np.where(b > 0, above, below),
        relu=lambda b: np.where(b > 0, b, 0.0),  # np.maximum has slope 1/2 at 0
        sigmoid=lambda b: np.exp(-np.logaddexp(0, -b)),  # 1/(1 + exp(-b)) has NaN for a slope where exp overflows
        softplus=lambda b: np.logaddexp(0, b),
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        loss, found = autograd.value_and_grad(lambda arrays: of(arrays)[0])(tuple(given))
        return loss, of(given)[1], list(found)

    return differentiate, m


def with_jax() -> tuple[Callable, Tensors]:
    """JAX in float64, operation by operation."""
    import jax
    import jax.experimental

    jnp, home = jax.numpy, jax if hasattr(jax, "enable_x64") else jax.experimental
    enable_x64 = getattr(home, "enable_x64")  # noqa: B009 - where it is depends on the version
    m = Tensors(
        exp=jnp.exp, log=jnp.log, sqrt=jnp.sqrt, tanh=jnp.tanh,
        choose=lambda b, above, below: jnp.where(b > 0, above, below),
        relu=jax.nn.relu, sigmoid=jax.nn.sigmoid, softplus=jax.nn.softplus,
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        with enable_x64(True):
            (loss, alpha), found = jax.value_and_grad(of, has_aux=True)([jnp.asarray(array) for array in given])
        return float(loss), None if alpha is None else np.asarray(alpha), [np.asarray(array) for array in found]

    return differentiate, m


def with_torch() -> tuple[Callable, Tensors]:
    """PyTorch's autograd in float64."""
    import torch

    m = Tensors(
        exp=torch.exp, log=torch.log, sqrt=torch.sqrt, tanh=torch.tanh,
        choose=lambda b, above, below: torch.where(b > 0, above, below),
        relu=torch.relu, sigmoid=torch.sigmoid,
        softplus=lambda b: torch.logaddexp(b, torch.zeros_like(b)),  # F.softplus is b beyond 20
        constant=torch.tensor,
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        tensors = [tensor.clone().requires_grad_() for tensor in given]
        loss, alpha = of(tensors)
        found = torch.autograd.grad(loss, tensors)
        return loss.item(), None if alpha is None else alpha.detach().numpy(), [tensor.numpy() for tensor in found]

    return differentiate, m


def with_tensorflow() -> tuple[Callable, Tensors]:
    """TensorFlow's GradientTape in float64."""
    import tensorflow as tf

    m = Tensors(
        exp=tf.exp, log=tf.math.log, sqrt=tf.sqrt, tanh=tf.tanh,
        choose=lambda b, above, below: tf.where(b > 0, above, below),
        relu=tf.nn.relu, sigmoid=tf.nn.sigmoid, softplus=tf.nn.softplus,
        constant=tf.convert_to_tensor,
        product=lambda A, B: tf.matmul(A, B) if len(B.shape) == 2 else tf.linalg.matvec(A, B),
        transposed=tf.transpose,
        total=lambda M: tf.reduce_sum(M, axis=0),
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss, alpha = of(given)
        found = tape.gradient(loss, given, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return float(loss), None if alpha is None else alpha.numpy(), [tensor.numpy() for tensor in found]

    return differentiate, m


MACHINES = {
    "autograd": with_autograd,
    "jax": with_jax,
    "torch": with_torch,
    "tensorflow": with_tensorflow,
}
