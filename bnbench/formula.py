"""The formula: forward and backward through layer, head and loss, by the letters of `bnbench docs gradient`.

It runs over any type of array that has a table of `operations`: float32 and float64 (`matrix-numpy`), double-doubles
(the reference), balls, arrays that round at random (how far rounding reaches). A layer's forward pass gives what its
backward pass needs; the head gives r = ∂R/∂η and what flows into the last layer, r ⊗ Γ_out; the network is a loop.

A mistake is an edit: a function of what is known so far and of a letter's right value that gives another. Every letter
is set on a `Known`, which makes the edit planted there, so that all that follows is computed from the wrong value, as
it would be in code. Nothing here is shared with `definition` but what an activation and a loss are.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bnbench import activations, losses
from bnbench.operations import NUMPY, Operations
from bnbench.problem import Data, Layer, NetworkGradients, Spec, Theta

Edit = Callable[["Known", Any], Any]
NO_EDITS: Mapping = MappingProxyType({})
HEAD, NETWORK = "head", "network"  # where edits may be planted, beside a layer's number, 0 for the first


class Known:
    """What has been computed of a layer, of the head or of the network, by its letter."""

    def __init__(self, edits: Mapping[str, Edit], **given: Any):
        self.__dict__.update(given, edits=edits)

    def __getattr__(self, letter: str) -> Any:  # for those who check types: letters are set as they are computed
        raise AttributeError(f"{letter} has not been computed")

    def __setattr__(self, letter: str, value: Any) -> None:
        edit = self.edits.get(letter)
        self.__dict__[letter] = value if edit is None else edit(self, value)


def forward(
    layer: Layer,
    A: Any,
    spec: Spec,
    given: tuple | None = None,
    m: Operations = NUMPY,
    edits: Mapping[str, Edit] = NO_EDITS,
    **context: Any,
) -> Known:
    """A layer's forward pass over its input A (N,p_in).

    The statistics μ and s² - eps are given, (mean, variance) each (p_out,), or else taken of the batch. Without
    normalization, where layer.gamma is None, they are given too: μ = 0, s = 1, γ = 1, β = 0. The result's A is the
    output (N,p_out). `context` is what edits may want to know beside.
    """
    k = Known(edits, layer=layer, input=A, spec=spec, N=A.shape[0], frozen=given is not None, **context)
    k.Z = A @ layer.G
    if layer.gamma is None:
        k.B = k.Z
    else:
        if given is not None:
            k.mu, k.variance = given
            k.Zc = k.Z - k.mu
        else:
            k.mu = m.total(k.Z) / k.N
            k.Zc = k.Z - k.mu
            k.variance = m.total(k.Zc, k.Zc) / (k.N - spec.ddof)
        k.s = m.sqrt(k.variance + spec.eps)
        k.Xhat = k.Zc / k.s
        k.B = layer.gamma * k.Xhat + layer.beta
    a, _ = activations.functions(spec.activation, m)
    k.A = a(k.B)
    return k


def backward(k: Known, upstream: Any, m: Operations = NUMPY, inputs: bool = True) -> tuple[Layer, Any]:
    """A layer's backward pass: its `Layer` of gradients and, with inputs, ∂R/∂(its input), from upstream = ∂R/∂A."""
    _, da = activations.functions(k.spec.activation, m)
    k.upstream = upstream
    k.slope = da(k.B, k.A)
    k.S = upstream * k.slope
    return below_S(k, m, inputs)


def below_S(k: Known, m: Operations = NUMPY, inputs: bool = True) -> tuple[Layer, Any]:
    """The rest of `backward`, linear in S.

    The μ-term 1(∂R/∂β)ᵀ/N is computed as the mean of what it is taken off, S less the s-term; since 1ᵀX̂ = 0 it is the
    same, but leaves columns that add up to 0. Else Xᵀ dZ would have what rounding left of their sums times the offset
    of X.
    """
    layer, spec = k.layer, k.spec
    k.dgamma = k.dbeta = None
    if layer.gamma is None:
        k.dZ = k.S
    else:
        k.dbeta = m.total(k.S)
        k.dgamma = m.total(k.S, k.Xhat)
        k.weight = layer.gamma / k.s
        if k.frozen:
            k.dZ = k.weight * k.S
        else:
            k.s_term = k.Xhat * (k.dgamma / (k.N - spec.ddof))
            k.D = k.S - k.s_term
            k.mu_term = m.total(k.D) / k.N
            k.dZ = k.weight * (k.D - k.mu_term)
    k.dG = k.input.T @ k.dZ
    k.gradient = Layer(k.dG, k.dgamma, k.dbeta)
    k.dA = k.dZ @ layer.G.T if inputs else None
    return k.gradient, k.dA


def head(
    theta: Theta,
    A: Any,
    data: Data,
    spec: Spec,
    m: Operations = NUMPY,
    edits: Mapping[str, Edit] = NO_EDITS,
    **context: Any,
) -> Known:
    """The head η = A Γ_out + W δ + α and the loss R, with r = ∂R/∂η (N,), upstream = r ⊗ Γ_out, dout and ddelta.

    α minimises R within each unit, so that its own dependence on the parameters drops out of the gradient.
    """
    k = Known(edits, theta=theta, A=A, data=data, spec=spec, N=A.shape[0], alpha=None, **context)
    k.eta = A @ theta.out
    outcome(k, m)
    k.upstream = k.r[:, None] * theta.out
    k.dout = A.T @ k.r
    return k


def outcome(k: Known, m: Operations = NUMPY) -> None:
    """What the head gives beside its product with A: from η = A Γ_out, the loss, r, α and ddelta."""
    data, spec = k.data, k.spec
    value, slope, _ = losses.functions(spec.loss, m)
    if data.W is not None:
        k.linear = data.W @ k.theta.delta
        k.eta = k.eta + k.linear
    if data.unit is not None:
        k.alpha = losses.DEFINITIONS[spec.loss].effect(data.y, k.eta, data.unit, data.units, m)
        k.eta = k.eta + k.alpha[data.unit]
    k.loss = m.total(value(data.y, k.eta)) / k.N
    k.r = slope(data.y, k.eta) / k.N
    k.ddelta = None if data.W is None else data.W.T @ k.r


def gradients(
    theta: Theta,
    data: Data,
    spec: Spec,
    *,
    inputs: bool = False,
    m: Operations = NUMPY,
    edits: Mapping[Any, Mapping[str, Edit]] = NO_EDITS,
) -> NetworkGradients:
    """The loss and the gradients of a network of any depth; shapes as in `Theta` and `Data`.

    Args:
        theta, data: arrays of the type that m is for; unit is NumPy's, always.
        spec: its conventions.
        inputs: whether ∂R/∂X is wanted too.
        m: the table of operations.
        edits: place (a layer's number, `HEAD`, `NETWORK`) to letter to edit.
    """
    return network(theta, data, spec, inputs=inputs, m=m, edits=edits).answer


def network(
    theta: Theta,
    data: Data,
    spec: Spec,
    *,
    inputs: bool = False,
    m: Operations = NUMPY,
    edits: Mapping[Any, Mapping[str, Edit]] = NO_EDITS,
) -> Known:
    """As `gradients`, with all that was computed: layers (a `Known` each), head, and answer."""
    k = Known(edits.get(NETWORK, NO_EDITS), theta=theta, data=data, spec=spec, layers=[])
    A, frozen = data.X, spec.normalization == "frozen"
    for place, layer in enumerate(theta.layers):
        given, planted = data.statistics[place] if frozen else None, edits.get(place, NO_EDITS)
        k.layers.append(forward(layer, A, spec, given, m, planted, network=k, place=place))
        A = k.layers[-1].A
    k.head = head(theta, A, data, spec, m, edits.get(HEAD, NO_EDITS), network=k)
    found, upstream = [], k.head.upstream
    for place in reversed(range(len(theta.layers))):
        gradient, upstream = backward(k.layers[place], upstream, m, inputs or place > 0)
        found.append(gradient)
    k.found = Theta(tuple(reversed(found)), k.head.dout, k.head.ddelta)
    k.answer = NetworkGradients(k.head.loss, k.found, upstream, k.head.alpha)
    return k
