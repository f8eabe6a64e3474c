"""The definition: the risk R of a network, forward only, and the machines that differentiate it.

Written from the text of `bnbench docs gradient` over a table of operations, it knows no gradient. HIPS autograd, JAX,
PyTorch and TensorFlow take it as it stands, and so does `reference.balls`, whose derivatives provably hold the true
ones. Each of them can convict `formula`, with which it shares no code but what an activation and a loss are. The
frameworks' variants time it, over these same tables with a few operations of their framework's own (`Tensors.also`).
"""

import functools
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from bnbench import activations, losses
from bnbench.operations import Operations
from bnbench.problem import Data, Layer, NetworkGradients, Spec, Theta, leaves, rebuilt


def risk(theta: Theta, data: Data, spec: Spec, m: Any) -> tuple[Any, Any]:
    """R, and the units' effects α (U,) or None. Shapes as in `Theta` and `Data`."""
    a, _ = activations.DEFINITIONS[spec.activation].of(m)
    A = data.X
    for place, layer in enumerate(theta.layers):
        A = a(preactivation(A, layer, data.statistics[place] if spec.normalization == "frozen" else None, spec, m))
    eta, alpha = m.product(A, theta.out), None
    if data.W is not None:
        eta = eta + m.product(data.W, theta.delta)
    if data.unit is not None:
        D = m.dummies(data.unit, data.units)
        alpha = effects(spec.loss, data.y, m.held(eta), D, m)
        eta = eta + m.spread(alpha, D)
    return m.mean_loss(spec.loss, data.y, eta), alpha


def normalized(Z: Any, gamma: Any, beta: Any, spec: Spec, given: tuple | None, m: Any) -> Any:
    """γ (Z - μ)/s + β, with (μ, s² - eps) given or else those of Z's columns."""
    mean = m.mean(Z) if given is None else given[0]
    centred = Z - mean
    variance = m.total(centred * centred) / (Z.shape[0] - spec.ddof) if given is None else given[1]
    return gamma * centred / m.sqrt(variance + spec.eps) + beta


def preactivation(A: Any, layer: Layer, given: tuple | None, spec: Spec, m: Any) -> Any:
    """B (N,p_out) of a layer over its input A (N,p_in); given are its (mean, variance), for "frozen"."""
    G, gamma, beta = layer
    Z = m.product(A, G)
    return Z if spec.normalization == "none" else m.normalized(Z, gamma, beta, spec, given)


def effects(loss: str, y: Any, eta: Any, D: Any, m: Any) -> Any:
    """α (U,): what minimises R where Dα is added to η; D (N,U) says with a 1 which unit a row is of."""
    rows = m.within(0 * y + 1, D)
    if loss == "squared":
        return m.within(y - eta, D) / rows
    if loss == "poisson":
        return m.log(m.within(y, D) / m.within(m.exp(eta), D))

    def too_many(alpha: Any) -> tuple[Any, Any]:
        """Expected successes less those there are, in each unit, and the derivative by α."""
        p = m.sigmoid(eta + m.spread(alpha, D))
        return m.within(p - y, D), m.within(p * (1 - p), D)

    share = m.within(y, D) / rows
    return m.root(too_many, m.log(share / (1 - share)) - m.within(eta, D) / rows)


def placed(data: Data, place: Callable) -> Data:
    """The data with place(array) for every array."""
    return data._replace(
        X=place(data.X),
        y=place(data.y),
        W=None if data.W is None else place(data.W),
        unit=None if data.unit is None else place(data.unit),
        statistics=tuple(tuple(map(place, pair)) for pair in data.statistics),
    )


def gradients(theta: Theta, data: Data, spec: Spec, machine: str, *, inputs: bool = False) -> NetworkGradients:
    """R and its derivatives by a machine, one of `MACHINES`, in float64 NumPy arrays.

    Raises:
        ImportError: the machine's package is not installed.
    """
    m, differentiate = MACHINES[machine]()
    data = placed(data, m.constant)._replace(unit=data.unit)

    def of(arrays: Any) -> tuple[Any, Any]:
        X, *arrays = arrays if inputs else (data.X, *arrays)
        return risk(rebuilt(theta, arrays), data._replace(X=X), spec, m)

    given = ([data.X] if inputs else []) + list(map(m.constant, leaves(theta)))
    loss, alpha, found = differentiate(of, given)
    dX, found = (found[0], found[1:]) if inputs else (None, found)
    return NetworkGradients(loss, rebuilt(theta, found), dX, alpha)


class Tensors(Operations):
    """What the definition needs beside `Operations`; a table overrides what its arrays do in another way.

    D is what `dummies` gives.
    """

    constant: Callable = staticmethod(np.asarray)

    def also(self, **own: Any) -> Self:
        """The same table with other operations in place of some."""
        return type(self)(**(vars(self) | own))

    def number(self, like: Any, x: float) -> Any:
        """A Python number takes the dtype of the array that it meets."""
        return x

    def product(self, A: Any, B: Any) -> Any:
        """A B, of matrices or a matrix and a vector."""
        return A @ B

    def total(self, M: Any, *others: Any) -> Any:
        """1ᵀM, the sums over rows; there are no others in the definition."""
        return M.sum(axis=0)

    def mean(self, M: Any) -> Any:
        """1ᵀM/N."""
        return self.total(M) / M.shape[0]

    def normalized(self, Z: Any, gamma: Any, beta: Any, spec: Spec, given: tuple | None) -> Any:
        """As the function of that name."""
        return normalized(Z, gamma, beta, spec, given, self)

    def mean_loss(self, loss: str, y: Any, eta: Any) -> Any:
        """R = Σℓ(y, η)/N."""
        value, *_ = losses.DEFINITIONS[loss].of(self)
        return self.mean(value(y, eta))

    def dummies(self, unit: Any, units: int) -> Any:
        """D (N,U)."""
        return self.constant((unit[:, None] == np.arange(units)).astype(np.float64))

    def within(self, v: Any, D: Any) -> Any:
        """Dᵀv, the sums of v (N,) within each unit."""
        return self.product(D.T, v)

    def spread(self, alpha: Any, D: Any) -> Any:
        """Dα, the effect of each row's unit."""
        return self.product(D, alpha)

    def held(self, v: Any) -> Any:
        """What the effects are computed from: v itself, through which a machine differentiates them.

        Since α minimises R, its own dependence on the parameters drops out of R's gradient (the envelope theorem): a
        table that is timed holds v constant here.
        """
        return v

    def settled(self, step: Any, alpha: Any) -> bool:
        """A machine takes every step."""
        return False


@functools.cache
def with_autograd() -> tuple[Tensors, Callable]:
    """HIPS autograd over NumPy's arrays."""
    import autograd
    import autograd.numpy as np

    def mean(M: Any) -> Any:
        """By np.mean, whose slope is float64, but for matrices in float32."""
        float32 = M.ndim > 1 and M.dtype == np.float32
        return np.sum(M, axis=0) / len(M) if float32 else np.mean(M, axis=0)

    m = Tensors(
        exp=np.exp, log=np.log, sqrt=np.sqrt, tanh=np.tanh,
        mean=mean,
        product=np.dot,  # whose slope has its arguments' dtype, as np.matmul's has not
        choose=lambda b, above, below: (b > 0) * above + (b <= 0) * below,  # np.where makes float32's slope float64
        relu=lambda b: b * (b > 0),  # np.maximum has slope 1/2 at 0
        sigmoid=lambda b: np.exp(-np.logaddexp(0, -b)),  # 1/(1 + exp(-b)) has NaN for a slope where exp overflows
        softplus=lambda b: np.logaddexp(0, b),
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        loss, found = autograd.value_and_grad(lambda arrays: of(arrays)[0])(tuple(given))
        return loss, of(given)[1], list(found)

    return m, differentiate


@functools.cache
def with_jax() -> tuple[Tensors, Callable]:
    """JAX; as a machine in float64, operation by operation."""
    import jax
    import jax.experimental

    jnp, home = jax.numpy, jax if hasattr(jax, "enable_x64") else jax.experimental
    enable_x64 = getattr(home, "enable_x64")  # noqa: B009 - where it is depends on the version
    m = Tensors(
        exp=jnp.exp, log=jnp.log, sqrt=jnp.sqrt, tanh=jnp.tanh, mean=lambda M: jnp.mean(M, axis=0),
        choose=lambda b, above, below: jnp.where(b > 0, above, below),
        relu=jax.nn.relu, sigmoid=jax.nn.sigmoid, softplus=jax.nn.softplus,
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        with enable_x64(True):
            (loss, alpha), found = jax.value_and_grad(of, has_aux=True)([jnp.asarray(array) for array in given])
        return float(loss), None if alpha is None else np.asarray(alpha), [np.asarray(array) for array in found]

    return m, differentiate


@functools.cache
def with_torch() -> tuple[Tensors, Callable]:
    """PyTorch's autograd."""
    import torch

    F = torch.nn.functional
    m = Tensors(
        exp=torch.exp, log=torch.log, sqrt=torch.sqrt, tanh=torch.tanh, mean=lambda M: M.mean(0),
        choose=lambda b, above, below: torch.where(b > 0, above, below),
        relu=torch.relu, sigmoid=torch.sigmoid,
        softplus=lambda b: F.softplus(b, threshold=50.0),  # beyond it b itself: by default from 20 on, off by 2e-9
        constant=torch.tensor, product=torch.matmul,
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        tensors = [tensor.clone().requires_grad_() for tensor in given]
        loss, alpha = of(tensors)
        found = torch.autograd.grad(loss, tensors)
        return loss.item(), None if alpha is None else alpha.detach().numpy(), [tensor.numpy() for tensor in found]

    return m, differentiate


@functools.cache
def with_tensorflow() -> tuple[Tensors, Callable]:
    """TensorFlow's GradientTape."""
    import tensorflow as tf

    m = Tensors(
        exp=tf.exp, log=tf.math.log, sqrt=tf.sqrt, tanh=tf.tanh, mean=lambda M: tf.reduce_mean(M, axis=0),
        choose=lambda b, above, below: tf.where(b > 0, above, below),
        relu=tf.nn.relu, sigmoid=tf.nn.sigmoid, softplus=tf.nn.softplus,
        constant=tf.convert_to_tensor,
        product=lambda A, B: tf.matmul(A, B) if len(B.shape) == 2 else tf.linalg.matvec(A, B),
        total=lambda M: tf.reduce_sum(M, axis=0),
        within=lambda v, D: tf.linalg.matvec(D, v, transpose_a=True),
    )  # fmt: skip

    def differentiate(of: Callable, given: list) -> tuple[float, Any, list]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss, alpha = of(given)
        found = tape.gradient(loss, given, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return float(loss), None if alpha is None else alpha.numpy(), [tensor.numpy() for tensor in found]

    return m, differentiate


MACHINES = {
    "autograd": with_autograd,
    "jax": with_jax,
    "torch": with_torch,
    "tensorflow": with_tensorflow,
}
