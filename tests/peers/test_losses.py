"""`bnbench.torch.loss` and `bnbench.jax.loss`: a number with a gradient, in other people's training loops."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from networks import arguments, network

import bnbench

SEEDS = (3, 16, 18, 5)  # which the test below holds to every part that a call can have
NAMES = "X", "G1", "gamma", "beta", "G2", "delta"  # what can be differentiated by


def drawn(seed):
    """A call's arrays by name, smooth so that differences of the loss are its slope; and the keywords that are none."""
    theta, data, spec = network(seed, layers=1 + seed % 3, largest=5, rows=12, activation="tanh")
    positional, keywords = arguments(theta, data, spec, deep=len(theta.layers) > 1)
    given = dict(zip(("X", "y", "G1", "gamma", "beta", "G2"), positional, strict=True))
    given |= {"delta": keywords.pop("delta")}
    if spec.normalization == "none":
        given |= {"gamma": None, "beta": None}
    return given, keywords


def flat(given):
    """Those arrays in turn, by which a loss is differentiated, and the way back."""
    held = {name: part if isinstance(part, list) else [part] for name, part in given.items() if name in NAMES}
    held = {name: parts for name, parts in held.items() if parts[0] is not None}

    def back(arrays):
        rest = iter(arrays)
        found = {name: [next(rest) for _ in parts] for name, parts in held.items()}
        return given | {name: each if isinstance(given[name], list) else each[0] for name, each in found.items()}

    return [array for parts in held.values() for array in parts], back


def test_the_calls_have_every_part():
    # catches: a list, a loss, a normalization or a part of the head that no test of a framework's gradient has
    calls = [drawn(seed) for seed in SEEDS]
    assert {keywords["normalization"] for _, keywords in calls} == {"batch", "none", "frozen"}
    assert {keywords["loss"] for _, keywords in calls} == {"squared", "logistic", "poisson"}
    assert {type(given["G1"]) for given, _ in calls} == {list, np.ndarray}
    for name in ("W", "units"):
        assert {keywords[name] is None for _, keywords in calls} == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
def test_torch_gives_the_slope_of_its_loss(seed):
    # catches: gradients in another order, of another layer, or not scaled by what flows in
    torch = pytest.importorskip("torch")
    given, keywords = drawn(seed)
    arrays, back = flat(given)

    def loss(*tensors):
        return 3 * bnbench.torch.loss(**back(tensors), **keywords)

    assert torch.autograd.gradcheck(loss, [torch.tensor(array, requires_grad=True) for array in arrays])


@pytest.mark.parametrize("seed", SEEDS)
def test_jax_gives_the_slope_of_its_loss(seed):
    # catches: as above, and a callback under jit that is given other arrays than the call
    jax = pytest.importorskip("jax")
    from jax.test_util import check_grads

    given, keywords = drawn(seed)
    arrays, back = flat(given)

    def loss(*arrays):
        return 3 * bnbench.jax.loss(**back(arrays), **keywords)

    with jax.enable_x64(True):
        check_grads(loss, arrays, order=1, modes=["rev"])
        check_grads(jax.jit(loss), arrays, order=1, modes=["rev"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_torch_loop_takes_the_steps_of_the_library(dtype):
    """Adam over minibatches, with parameters of which one is held, and views that are not contiguous."""
    # catches: a gradient where none is wanted, a float64 loss of float32, rows of another minibatch, ∂R/∂X for nothing
    torch = pytest.importorskip("torch")
    problem = bnbench.Problem(40, 3, 4, "tanh", dtype=dtype, depth=2, linear=2, units=3)
    batch = problem.sample()
    prepared = bnbench.prepare(batch.X, batch.y, [4, 4], W=batch.W, units=batch.units, activation="tanh")
    ends = []
    for way in ("loss", "loss_of", "numpy"):
        G1 = torch.nn.ParameterList([torch.tensor(G.T.copy()).T for G in batch.G1])
        rest = [[torch.tensor(one, requires_grad=True) for one in part] for part in (batch.gamma, batch.beta)]
        G2, delta = torch.tensor(batch.G2), torch.tensor(batch.delta, requires_grad=True)  # Γ2 is held
        theta = [*G1, *rest[0], *rest[1], delta]
        adam = torch.optim.Adam(theta, lr=0.01)
        for rows in (slice(0, 20), torch.arange(20, 40), slice(0, 20)):
            adam.zero_grad()
            if way == "loss":
                X, y, W = (torch.tensor(part)[rows] for part in (batch.X, batch.y, batch.W))
                units = torch.tensor(batch.units)[rows]
                value = bnbench.torch.loss(X, y, G1, *rest, G2, W=W, delta=delta, units=units, activation="tanh")
            elif way == "loss_of":
                value = bnbench.torch.loss_of(prepared, G1, *rest, G2, delta, rows=rows)
            else:
                held = [[one.detach().numpy() for one in part] for part in (G1, *rest)]
                found = prepared.gradients(*held, G2.numpy(), delta.detach().numpy(), rows=np.arange(40)[rows])
                slopes = [*found.dG1, *found.dgamma, *found.dbeta, found.ddelta]
                for parameter, slope in zip(theta, slopes, strict=True):
                    parameter.grad = torch.tensor(slope)
            if way != "numpy":
                assert value.dtype == getattr(torch, dtype)
                value.backward()
            adam.step()
        assert G2.grad is None
        ends.append([parameter.detach().numpy() for parameter in theta])
    for other in ends[1:]:
        for a, b in zip(ends[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4 if dtype == "float32" else 1e-10)


def test_a_jax_loop_takes_the_steps_of_the_library():
    """Of minibatches, jitted, whose rows, outcomes and units are traced; in float32, which is JAX's."""
    # catches: data that are frozen into the compiled step, units that are read while traced
    jax = pytest.importorskip("jax")
    problem = bnbench.Problem(40, 3, 4, "tanh", dtype="float32", units=3, loss="logistic")
    batch = problem.sample()
    conventions = {"activation": "tanh", "loss": "logistic"}
    prepared = bnbench.prepare(batch.X, batch.y, 4, units=batch.units, **conventions)

    @jax.jit
    def fresh(theta, X, y, units):
        return jax.value_and_grad(lambda theta: bnbench.jax.loss(X, y, *theta, units=units, **conventions))(theta)

    @jax.jit
    def held(theta, rows):
        return jax.value_and_grad(lambda theta: bnbench.jax.loss_of(prepared, *theta, rows=rows))(theta)

    theta = tuple(map(jax.numpy.asarray, batch[2:]))
    for start in (0, 15):
        rows = np.arange(start, start + 20)
        known = prepared.gradients(*map(np.asarray, theta), rows=rows)
        sliced = functools.partial(bnbench.jax.loss_of, prepared, rows=slice(start, start + 20))
        for value, slopes in (
            fresh(theta, batch.X[rows], batch.y[rows], batch.units[rows]),
            held(theta, rows),
            jax.value_and_grad(sliced, argnums=(0, 1, 2, 3))(*theta),
        ):
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, known.loss, rtol=1e-5)
            for a, b in zip(slopes, known[1:], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
        theta = tuple(one - 0.1 * slope for one, slope in zip(theta, slopes, strict=True))
    several = jax.vmap(lambda G2: bnbench.jax.loss_of(prepared, *theta[:3], G2))(np.stack([theta[3], 2 * theta[3]]))
    assert several[1] == pytest.approx(prepared.gradients(*map(np.asarray, theta[:3]), 2 * np.asarray(theta[3])).loss)


def test_what_cannot_be_is_said_in_a_line():
    # catches: a gradient of y that is 0, a copy from a device on the sly, a second derivative that is wrong
    torch = pytest.importorskip("torch")
    batch = bnbench.Problem(12, 4, 3).sample()
    tensors = [torch.tensor(array, requires_grad=True) for array in batch]
    with pytest.raises(ValueError, match=r"^y requires a gradient; allowed are X, G1, .*: use y.detach\(\)$"):
        bnbench.torch.loss(*tensors)
    with pytest.raises(ValueError, match=r"^G1 is on meta; allowed is the CPU, .*: use G1.cpu\(\)$"):
        bnbench.torch.loss(tensors[0], batch.y, tensors[2].to("meta"), *tensors[3:])
    with pytest.raises(ValueError, match=r"^G2 cannot be read as an array: .*BFloat16"):
        bnbench.torch.loss(tensors[0], batch.y, *tensors[2:5], tensors[5].bfloat16())
    value = bnbench.torch.loss(tensors[0], batch.y, *tensors[2:])
    (slope,) = torch.autograd.grad(value * tensors[5].sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
    with torch.no_grad():
        assert not bnbench.torch.loss(*tensors).requires_grad


def test_what_cannot_be_in_jax_is_said_in_a_line():
    # catches: a gradient of y that is 0, a message that the callback's traceback hides
    jax = pytest.importorskip("jax")
    batch = bnbench.Problem(12, 4, 3, dtype="float32").sample()
    for wrap in (lambda function: function, jax.jit):
        with pytest.raises(ValueError, match=r"^a derivative by y is asked for; allowed are those by X, G1"):
            wrap(jax.grad(bnbench.jax.loss, argnums=1))(*batch)
        with pytest.raises(Exception, match=r"X\[0, 0\] is nan \(12 such entries\)"):
            wrap(bnbench.jax.loss)(batch.X * [np.nan, 1, 1, 1], *batch[1:])


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_framework_is_imported_when_it_is_asked_for(name):
    # catches: a framework that every user of the library loads, a module of the package in the framework's place
    pytest.importorskip(name)
    program = (
        f"import sys, bnbench; assert {name!r} not in sys.modules; bnbench.{name}.loss; assert {name!r} in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
