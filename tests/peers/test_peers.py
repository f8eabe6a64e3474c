"""The frameworks as variants: each validated like everyone else, and absent with the line that would add it."""

import functools

import numpy as np
import pytest
from cases import covering
from conftest import PEERS
from drawn import WIDTHS, every_call_is_right
from networks import answer, asked, distances, network

import bnbench
from bnbench import activations, definition
from bnbench.problem import ACTIVATIONS, DTYPES, LOSSES, NORMALIZATIONS, Data, Layer, Spec, Theta
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import peers, variants


def here(name):
    """The class of a peer; skips where it is not available."""
    cls = variants()[name]
    if reason := cls.unavailable():
        pytest.skip(reason)
    return cls


HARD = [("relu", "batch", 0, "float64"), ("tanh", "none", 0, "float32"), ("gaussian", "batch", 1, "float32")]
OTHERS = [(activation, "batch", 1, "float64") for activation in ACTIVATIONS]
COMPILED = ("torch-compile", "jax-jit", "tensorflow-xla")  # for seconds, each problem anew
COUNTS = {  # of problems drawn at random; R's loop is slow
    "few": dict.fromkeys(PEERS, 12) | {"torch-compile": 1, "tensorflow-xla": 1, "jax-jit": 3},
    "all": dict.fromkeys(PEERS, 24) | {"torch-compile": 2, "tensorflow-xla": 6, "jax-jit": 8, "r-loop": 12},
}
ANY = [name for name in PEERS if variants()[name].supports.get("losses", LOSSES[:1]) == LOSSES]  # or any of one layer
SEEDS = dict.fromkeys(ANY, range(24)) | dict.fromkeys(COMPILED, (38, 7, 23, 2)) | {"torch-compile": (0,)}
SEEDS["r-matrix"] = [seed for seed in range(0, 80, 2) if len(network(seed)[0].layers) == 1]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PEERS)
def test_every_call_is_right(name, width):
    # catches: parameters that stay those of the set-up, signs, offsets, shapes and conventions that nobody tried
    every_call_is_right(name, COUNTS[width][name], width)


@pytest.mark.parametrize(
    ("name", "activation", "normalization", "ddof", "dtype"),
    covering(
        [(name, *one) for name in PEERS for one in HARD + OTHERS * (name != "torch-compile")],
        [(name, *one) for name in PEERS for one in HARD + OTHERS * (name not in COMPILED)],
    ),
)
def test_peer_is_right(name, activation, normalization, ddof, dtype):
    # catches: a wrong ddof, eps or activation, float32 that became float64, transposed arrays on the way to R
    cls = here(name)
    problem = bnbench.Problem(23, 5, 3, activation, normalization, ddof, 1e-3, dtype)
    if cls.unsupported(problem, "fresh") and dtype == "float32":
        problem = bnbench.Problem(23, 5, 3, activation, normalization, ddof, 1e-3)
    batch = problem.sample()
    variant = cls()
    variant.prepare(batch, problem)
    variant.step()
    found = judge(parts_of(variant.result()), reference(batch, problem), problem)
    assert found.valid, f"{problem}: {found.reason}"


def test_the_networks_of_compiled_peers_have_all_there_is():
    # catches: a loss, a normalization or a part of the head that no compiled peer is asked for
    drawn = [network(seed) for seed in SEEDS["jax-jit"]]
    assert {spec.normalization for *_, spec in drawn} == set(NORMALIZATIONS)
    assert {spec.loss for *_, spec in drawn} == set(LOSSES)
    assert any(spec.ddof and spec.normalization == "batch" for *_, spec in drawn)
    assert any(data.unit is not None and spec.loss == "logistic" for _, data, spec in drawn)
    assert any(data.W is not None for _, data, _ in drawn)


@pytest.mark.parametrize("name", ANY)
def test_every_network_is_right(name):
    """Prepared with other parameters, then loaded, in both dtypes: by the definition with its effects unrolled."""
    # catches: a layer's parameters in another's place, a framework's convention that is another's, an effect through
    # which a gradient is lost, δ that stays that of the set-up
    cls = here(name)
    for seed in SEEDS[name]:
        dtype = DTYPES[seed % 2]
        theta, batch, problem, known = known_of(seed, dtype)
        assert not cls.unsupported(problem, "fresh")
        variant = cls()
        variant.prepare(batch.with_theta(network_of_ones(theta)), problem)
        variant.load(*batch.parameters())
        variant.step()
        found = variant.result()
        assert {np.asarray(part).dtype for part in found.parts().values() if part is not None} == {np.dtype(dtype)}
        if dtype == "float64":
            assert max(distances(answer(found, theta), known)) < 1e-9, problem
        else:
            verdict = judge(parts_of(found), known, problem)
            assert verdict.valid, f"{problem}: {verdict.reason}"


@functools.cache
def known_of(seed, dtype):
    """A network of a seed, and its gradients: by a machine, in float32 with what its rounding may change."""
    theta, data, spec = network(seed, dtype=dtype)
    batch, problem = asked(theta, data, spec)
    if dtype == "float64":
        return theta, batch, problem, definition.gradients(theta, data, spec, "autograd")
    return theta, batch, problem, reference(batch, problem)


def network_of_ones(theta):
    """Other parameters of the same shapes."""
    return definition.rebuilt(theta, [np.ones_like(array) for array in definition.leaves(theta)])


@pytest.mark.parametrize("machine", definition.MACHINES)
def test_an_activation_is_its_definition_over_its_whole_range(machine):
    # catches: a softplus that is b from 20 on (PyTorch's), a slope that is NaN or 0/0 far from 0, another a'(0)
    pytest.importorskip(machine)
    B = np.r_[-700:700:57j, -40:40:81j, 0.0]
    for name in ACTIVATIONS:
        A, slope = activations.value(name, B), activations.derivative(name, B)
        theta, data = Theta((Layer(np.ones((1, 1))),), np.ones(1)), Data(B[:, None], A - len(B) / 2)
        found = definition.gradients(theta, data, Spec(name, "none"), machine, inputs=True)
        size = 1 + abs(A)  # by which A - y is rounded
        np.testing.assert_array_less(abs(found.dX[:, 0] - slope), 1e-14 * size + 1e-15 * len(B), name)


@pytest.mark.parametrize("name", ["torch-compile", "rcpp-loop", "r-matrix", "matrix-eigen", "loops-pythran"])
def test_problems_prepared_side_by_side_are_kept_apart(name):
    # catches: a session or a compiled function that holds the latest problem alone
    cls = here(name)
    pairs = []
    for seed in (0, 1):
        problem = bnbench.Problem(12, 4, 3, seed=seed)
        variant = cls()
        variant.prepare(problem.sample(), problem)
        pairs.append((variant, reference(problem.sample(), problem), problem))
    for variant, known, problem in pairs:
        variant.step()
        assert judge(parts_of(variant.result()), known, problem).valid


@pytest.mark.timed
@pytest.mark.parametrize("name", ["r-loop", "rcpp-loop"])
def test_r_is_timed_by_its_own_clock(name):
    # catches: a time that counts the way to R and back, or one step for many
    variant = here(name)()
    problem = bnbench.Problem(200 if name == "r-loop" else 2000, 4, 4)
    variant.prepare(problem.sample(), problem)
    variant.step()
    one = ten = np.inf
    for turn in range(100):  # in turns, until the least of each is free of other load
        one, ten = min(one, variant.time(3)), min(ten, variant.time(30))
        if turn > 8 and 4 < ten / one < 25:
            break
    assert 4 < ten / one < 25


def test_an_absent_package_is_a_reason_with_the_line_that_adds_it(monkeypatch):
    # catches: an import error at `list`, a reason that does not help
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    for name, extra in (("torch-eager", "peers"), ("jax-jit", "peers"), ("tensorflow-xla", "tensorflow")):
        assert f"pip install 'bnbench[{extra}]'" in variants()[name].unavailable()


def test_the_callers_settings_are_the_callers(recwarn):
    # catches: jax_enable_x64 switched on for the whole process, a warning about an array that is not writable
    import jax

    batch = bnbench.Problem(12, 4, 3).sample()
    for name in ("jax-jit", "torch-eager"):
        here(name)
        prepared = bnbench.prepare(batch.X, batch.y, 3, variant=name)
        assert prepared.gradients(*batch[2:]).dG1.dtype == np.float64
    assert not jax.config.jax_enable_x64
    assert jax.numpy.zeros(2).dtype == np.float32
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_tensors_are_read_or_refused_in_one_line():
    # catches: a RuntimeError of PyTorch's about a tensor that is a parameter
    here("torch-eager")
    import torch

    batch = bnbench.Problem(12, 4, 3).sample()
    tensors = [torch.tensor(array) for array in batch]
    assert np.array_equal(bnbench.gradients(*tensors).dG1, bnbench.gradients(*batch).dG1)
    tensors[2].requires_grad = True
    with pytest.raises(ValueError, match=r"^G1 cannot be read as an array: .*requires grad"):
        bnbench.gradients(*tensors)


def test_eps_of_0_where_batch_norm_takes_none():
    # catches: PyTorch's refusal of eps = 0 as a traceback
    here("torch-eager")
    batch = bnbench.Problem(12, 4, 3, eps=0).sample()
    found, true = (bnbench.gradients(*batch, eps=0, variant=name) for name in ("torch-eager", "matrix-numpy"))
    np.testing.assert_allclose(found.dG1, true.dG1, rtol=1e-10, atol=1e-13)
