"""The formulas of the theorems and those of the code are the same: the .v files' definitions, computed in balls."""

import functools

import numpy as np
import pytest
from coq import compute, definitions, sides
from flint import arb, ctx
from networks import network
from test_derivation import setting

from bnbench import activations, definition, formula
from bnbench.problem import ACTIVATIONS, LOSSES, NORMALIZATIONS
from bnbench.proof import sources
from bnbench.reference.balls import BALLS, balls, balls_of

SOURCES = sources()
NUMBERS = {
    "INR": arb, "sqrt": lambda v: v.sqrt(), "exp": lambda v: arb(v).exp(), "ln": lambda v: arb(v).log(),
    "tanh": lambda v: arb(v).tanh(), "Rmax": max, "Rlt_dec": lambda a, b: a < b, "leak": arb(activations.LEAK),
    "pred": lambda l: l - 1, "Nat.eqb": lambda a, b: a == b, "sum": lambda count, u: sum(map(u, range(count))),
}  # fmt: skip
OF_DEEP = "Z", "μ", "s", "Xhat", "B", "A", "stub", "dβ", "dγ", "dZ", "dΓ"
OF_HEAD = (
    "η", "Risk", "r", "unit_sum", "dA", "dΓout", "dδ", "dα", "unit_mean", "M", "αhat_squared", "αhat_poisson", "σ",
    "squared", "squared'", "logistic", "logistic'", "poisson", "poisson'",
)  # fmt: skip


@pytest.fixture(autouse=True)
def exact():
    """Balls wide enough in bits that they are narrow in numbers."""
    with ctx.workprec(256):
        yield


def same(one, other):
    """Whether two arrays of balls are the same numbers: they overlap, and are small."""
    one, other = np.asarray(one, object), np.asarray(other, object)
    assert one.shape == other.shape
    for a, b in zip(one.flat, other.flat, strict=True):
        assert arb(a).overlaps(arb(b)), (a, b)
        assert arb(a).rad() < 1e-15
        assert arb(b).rad() < 1e-15


def entries(function, *shape):
    """A definition's values as an array."""
    out = np.empty(shape, object)
    for place in np.ndindex(shape):
        out[place] = function(*place)
    return out


def equal(proven, pairs):
    """Whether definitions, by name, have the values of the code's arrays."""
    for name, of_code in pairs.items():
        same(entries(proven[name], *np.shape(of_code)), of_code)


def function(array):
    """An array as the function of its indices that Coq has."""
    return lambda *place: array[place]


def after_its_section(definition, indices):
    """As it is called where its section has ended: with the section's variables, which are the same there, first."""
    return lambda *given: definition(*given[-indices:])


def only(found, *names):
    """Those of the definitions found that have such names."""
    return {name: found[name] for name in names}


def activation(name):
    """a and a', as names of a definition."""
    found = compute(definitions(SOURCES["Activations"]), NUMBERS)
    name = name.replace("-", "_")
    return {"a": found[name], "a'": found[f"{name}'"]}


def parameters(layer, number=""):
    """A layer's Γ, γ and β, where there are such."""
    names = f"Γ{number}", "γ", "β"
    return {name: function(array) for name, array in zip(names, layer, strict=True) if array is not None}


# catches: a theorem about another formula than the code's, be it a divisor, a sign or a letter
@pytest.mark.parametrize("seed", range(10))
def test_the_network_that_is_proven_is_the_one_that_is_computed(seed):
    """One hidden layer, against the derivation's letters and the certified gradient."""
    q, certified = setting(seed)
    given = {
        **NUMBERS, **activation(q.activation), "N": q.N, "p1": q.p1, "p2": q.p2, "ddof": q.N - q.free, "eps": q.eps,
        "X": function(q.X), "y": function(q.y), **parameters((q.G1, q.gamma, q.beta), 1), "Γ2": function(q.G2),
    }  # fmt: skip
    proven = compute(definitions(SOURCES["OneLayer"], "Definitions"), given)
    equal(proven, {
        "Z": q.Z, "μ": q.mu, "s": q.s, "Xhat": q.Xhat, "B": q.B, "A": q.A, "e": q.e, "stub": q.S, "dβ": q.dbeta,
        "dγ": q.dgamma, "dΓ2": q.dG2, "dZ": q.dZ, "dΓ1": q.dG1, "dX": q.dX,
    })  # fmt: skip
    same(proven["Risk"], certified.loss)
    equal(proven, {"dΓ1": certified.dG1, "dγ": certified.dgamma, "dβ": certified.dbeta, "dΓ2": certified.dG2})


def drawn(seed, **conventions):
    """A network of balls, and all that the formula computes of it."""
    given = balls_of(*network(seed, largest=4, rows=8, activation=ACTIVATIONS[seed % len(ACTIVATIONS)], **conventions))
    return *given, formula.network(*given, inputs=True, m=BALLS)


# catches: a theorem about frozen statistics, or about none, whose formula is another than the code's
@pytest.mark.parametrize(("normalization", "module"), [("frozen", "Frozen"), ("none", "Plain")])
@pytest.mark.parametrize("seed", range(len(ACTIVATIONS)))
def test_the_network_without_statistics_of_the_batch_that_is_proven_is_the_one_that_is_computed(
    seed, normalization, module
):
    theta, data, spec, code = drawn(seed, layers=1, loss="squared", normalization=normalization, plain=True)
    text, (layer,), (k,) = SOURCES["OneLayer"], theta.layers, code.layers
    given = {
        **NUMBERS, **activation(spec.activation), **parameters(layer, 1), "Γ2": function(theta.out), "N": k.N,
        "p1": len(layer.G), "p2": len(theta.out), "eps": spec.eps, "X": function(data.X), "y": function(data.y),
    }  # fmt: skip
    letters = {
        "A": k.A, "yhat": code.head.eta, "stub": k.S, "dΓ2": code.head.dout, "dΓ1": k.dG, "dX": k.dA,
    }  # fmt: skip
    if normalization == "frozen":
        given |= {"μ": function(k.mu), "σ2": function(k.variance)}
        letters |= {"s": k.s, "Xhat": k.Xhat, "B": k.B, "dβ": k.dbeta, "dγ": k.dgamma, "dZ": k.dZ}
    Z = compute(only(definitions(text, "Definitions"), "Z"), given)["Z"]
    found = definitions(text, module)
    assert {*letters, "e", "Risk"} == set(found)
    proven = compute(found, given | {"Z": after_its_section(Z, 2)})
    equal(proven, letters)
    same(proven["Risk"], code.answer.loss)
    head = compute(definitions(SOURCES["Dense"], "Head"), given | {"q": given["p2"], "A": function(k.A)})
    equal(head, {"yhat": code.head.eta, "dA": code.head.upstream, "dΓ2": code.head.dout})
    same(head["Risk"], code.answer.loss)


def column(name):
    """A letter of Layer.v's column z, as it is called from other files."""
    text = SOURCES["Layer"]
    found = only(definitions(text), "mean") | only(definitions(text, "Definitions"), "μ", "variance", "s", "Xhat")

    def letter(N, ddof, eps, z, *row):
        of_column = compute(found, {**NUMBERS, "N": N, "ddof": ddof, "eps": eps, "z": z})[name]
        return of_column(*row) if row else of_column

    return letter


# catches: a layer's theorem whose formula is not the code's
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("seed", range(len(ACTIVATIONS)))
def test_the_layer_that_is_proven_is_the_one_that_is_computed(seed, place, normalization):
    """A layer of a network of two by Dense.v and Layer.v, from the code's input and ∂R/∂A."""
    _, data, spec, code = drawn(seed, layers=2, normalization=normalization)
    text, k = SOURCES["Dense"], code.layers[place]
    whole, p, q = definitions(text), *k.layer.G.shape
    M, dA = function(k.input), function(k.upstream)
    given = {
        **NUMBERS, **activation(spec.activation), **parameters(k.layer), "N": k.N, "p": p, "ddof": spec.ddof,
        "eps": spec.eps, "M": M, "dA": dA, "t0": 0,
    }  # fmt: skip
    Z = compute(only(definitions(text, "Forward"), "Z"), given)["Z"]
    if normalization == "none":
        plain = compute(only(whole, "plain_dZ"), given | {"Z": lambda i, j, t: Z(i, j)})
        equal({"Z": Z}, {"Z": k.B})
        dZ = functools.partial(plain["plain_dZ"], dA)
    else:
        letters = {"s": k.s, "Xhat": k.Xhat, "B": k.B, "A": k.A, "stub": k.S, "dβ": k.dbeta, "dγ": k.dgamma}
        if normalization == "batch":
            given |= {"Layer.s": column("s"), "Layer.Xhat": column("Xhat")}
            forward, before = compute(definitions(text, "Forward"), given), ""
            given |= only(forward, "s", "Xhat", "B")
            proven = forward | compute(definitions(text, "Backward"), given)
        else:
            mean, variance = data.statistics[place]
            given |= {"μ": function(mean), "σ2": function(variance), "Z": after_its_section(Z, 2)}
            forward, before = compute(definitions(text, "FrozenForward"), given), "frozen_"
            indices = {"frozen_s": 1, "frozen_Xhat": 2, "frozen_B": 2}
            given |= {name: after_its_section(forward[name], count) for name, count in indices.items()}
            proven = forward | compute(definitions(text, "FrozenBackward"), given)
        equal(proven, {before + name: array for name, array in letters.items()})
        dZ = proven[f"{before}dZ"]
    product = compute(only(whole, "dΓ", "dM"), given)
    equal(
        {
            "dZ": dZ,
            "dΓ": functools.partial(product["dΓ"], k.N, M, dZ),
            "dM": functools.partial(product["dM"], q, parameters(k.layer)["Γ"], dZ),
        },
        {"dZ": k.dZ, "dΓ": k.dG, "dM": k.dA},
    )


# catches: a theorem about several layers, a loss or effects of units whose formula is another than the code's
@pytest.mark.parametrize("seed", range(len(ACTIVATIONS) * len(LOSSES)))
def test_the_networks_of_several_layers_that_are_proven_are_those_that_are_computed(seed):
    """Layers by the equations that Deep.v proves of A and ∂A; the head, losses and effects by Head.v's definitions."""
    loss, layers = LOSSES[seed % 3], 1 + seed // 3 % 3
    theta, data, spec, code = drawn(seed, layers=layers, loss=loss, normalization="batch")
    N, L, widths = len(data.y), len(theta.layers), [data.X.shape[1], *(layer.G.shape[1] for layer in theta.layers)]
    of_layers = [parameters(layer) for layer in theta.layers]
    _, of_B = sides(SOURCES["Deep"], "forward_equation")
    _, at_top = sides(SOURCES["Deep"], "backward_top")
    _, of_dZ = sides(SOURCES["Deep"], "backward_equation")

    def A(l, i, j):
        return of_B(deep | {"l": l, "i": i, "j": j}) if l else data.X[i, j]

    def dA(l, i, k):
        return of_dZ(deep | {"l": l + 1, "i": i, "k": k}) if l < L else at_top(deep | {"i": i, "j": k})

    deep = compute(definitions(SOURCES["Deep"], "Definitions"), {
        **NUMBERS, **activation(spec.activation), "N": N, "ddof": spec.ddof, "eps": spec.eps, "A": A, "dA": dA,
        "p": lambda l: widths[l], **{x: lambda l, *at, x=x: of_layers[l - 1][x](*at) for x in ("Γ", "γ", "β")},
    })  # fmt: skip
    given = {
        **NUMBERS, "N": N, "p": widths[-1], "A": functools.partial(A, L), "Γout": function(theta.out),
        "q": 0 if data.W is None else data.W.shape[1], "W": function(data.W), "δ": function(theta.delta),
        "y": function(data.y), "unit_of": lambda i: 0 if data.unit is None else data.unit[i], "α": lambda v: 0,
    }  # fmt: skip
    of_head = only(definitions(SOURCES["Head"]), *OF_HEAD)
    if data.unit is not None:
        x = compute(of_head, given)["η"]  # with no effect
        given |= {"x": x, "αhat_logistic": function(code.head.alpha), "α": lambda v: head[f"αhat_{loss}"](v)}
    head = compute(of_head, given)
    ℓ, slope, y, η = head[loss], head[f"{loss}'"], head["y"], head["η"]
    r = functools.partial(head["r"], slope, y, η)
    deep["top"] = functools.partial(head["dA"], r)

    same(head["Risk"](ℓ, y, η), code.answer.loss)
    same(head["Risk"](ℓ, y, η), definition.risk(theta, data, spec, BALLS)[0])
    equal({"η": η, "r": r, "dA": deep["top"], "dΓout": functools.partial(head["dΓout"], r)}, {
        "η": code.head.eta, "r": code.head.r, "dA": code.head.upstream, "dΓout": code.head.dout,
    })  # fmt: skip
    if data.W is not None:
        same(entries(functools.partial(head["dδ"], r), *theta.delta.shape), code.head.ddelta)
    if data.unit is not None:
        same(entries(head["α"], data.units), code.head.alpha)
        same(entries(functools.partial(head["dα"], r), data.units), [0] * data.units)
        if loss == "logistic":
            left, right = sides(SOURCES["Head"], "αhat_logistic_solves")
            units = [head | {"v": v} for v in range(data.units)]
            same(list(map(left, units)), list(map(right, units)))
        if loss == "squared":
            εtilde = functools.partial(head["M"], lambda i: y(i) - x(i))
            same(entries(lambda i: -2 * εtilde(i) / N, N), code.head.r)
    for place, k in enumerate(code.layers, 1):
        equal({name: functools.partial(deep[name], place) for name in OF_DEEP}, {
            "Z": k.Z, "μ": k.mu, "s": k.s, "Xhat": k.Xhat, "B": k.B, "A": k.A, "stub": k.S, "dβ": k.dbeta,
            "dγ": k.dgamma, "dZ": k.dZ, "dΓ": k.dG,
        })  # fmt: skip
        same(entries(functools.partial(dA, place - 1), *k.input.shape), k.dA)


# catches: an activation of the theorems that is not the code's
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activations_that_are_proven_are_those_that_are_computed(name):
    given = activation(name)
    a, slope = activations.functions(name, BALLS)
    at = balls([-0.75, -0.25, 0, 0.25, 0.5])
    same([given["a"](v) for v in at], a(at))
    same([given["a'"](v) for v in at], np.broadcast_to(slope(at, a(at)), at.shape))
