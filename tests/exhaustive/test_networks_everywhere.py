"""Three hundred networks: the library's calls, the formula's and each machine's derivative of the definition."""

import functools

import pytest
from networks import answer, arguments, asked, distances, in_label_order, network

import bnbench
from bnbench import definition
from bnbench.networks import MACHINES

SEEDS = range(1000, 1300)
CLOSE = 1e-9


@functools.cache
def known(seed):
    """A network of a seed and its gradients by autograd, with the units numbered as their labels are sorted."""
    theta, data, spec = network(seed)
    return theta, data, spec, definition.gradients(theta, in_label_order(data), spec, "autograd", inputs=True)


@pytest.mark.parametrize("variant", ["matrix-numpy", *MACHINES])
def test_three_hundred_networks_agree_with_autograd(variant):
    # catches: a convention of one framework that is another's, at some depth, loss or normalization
    pytest.importorskip(MACHINES.get(variant, "autograd"))
    for seed in SEEDS:
        theta, data, spec, gradients = known(seed)
        positional, keywords = arguments(theta, data, spec)
        found = bnbench.gradients(*positional, **keywords, inputs=True, variant=variant)
        assert max(distances(answer(found, theta), gradients)) < CLOSE, spec


@pytest.mark.parametrize("name", ["matrix-numpy", *MACHINES])
def test_three_hundred_networks_are_right_as_a_step(name):
    # catches: what a framework's compiler or its own calls make of some network, where its plain operations are right
    pytest.importorskip(MACHINES.get(name, "autograd"))
    for seed in SEEDS:
        theta, data, spec, gradients = known(seed)
        batch, problem = asked(theta, in_label_order(data), spec)
        variant = bnbench.variants()[name]()
        variant.prepare(batch, problem)
        variant.step()
        assert max(distances(answer(variant.result(), theta), gradients._replace(dX=None))) < CLOSE, spec
