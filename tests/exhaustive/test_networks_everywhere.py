"""Networks of every kind: the library's calls and the steps of each variant against the definition's derivative.

Thirty each; BNBENCH_NETWORKS says how many else. JAX and TensorFlow compile each for a second.
"""

import functools
import os

import pytest
from networks import answer, arguments, asked, distances, in_label_order, network

import bnbench
from bnbench import definition
from bnbench.variants.base import ANY_NETWORK

SEEDS = range(1000, 1000 + int(os.environ.get("BNBENCH_NETWORKS", 30)))
CLOSE = 1e-9
LACKING = ("torch-compile",)  # it gives no ∂R/∂X


def available(name):
    """Skip where a variant or autograd is not installed."""
    pytest.importorskip("autograd")
    if reason := bnbench.variants()[name].unavailable():
        pytest.skip(reason)


@functools.cache
def known(seed):
    """A network of a seed and its gradients by autograd, with the units numbered as their labels are sorted."""
    theta, data, spec = network(seed)
    return theta, data, spec, definition.gradients(theta, in_label_order(data), spec, "autograd", inputs=True)


EVERY = [name for name, cls in bnbench.variants().items() if cls.supports is ANY_NETWORK and cls.device == "cpu"]


@pytest.mark.parametrize("variant", EVERY)
def test_calls_agree_with_autograd(variant):
    # catches: a convention of one framework that is another's, at some depth, loss or normalization
    available(variant)
    for seed in SEEDS:
        theta, data, spec, gradients = known(seed)
        positional, keywords = arguments(theta, data, spec)
        found = bnbench.gradients(*positional, **keywords, inputs=variant not in LACKING, variant=variant)
        expected = gradients._replace(dX=None) if variant in LACKING else gradients
        assert max(distances(answer(found, theta), expected)) < CLOSE, spec


@pytest.mark.parametrize("name", EVERY)
def test_steps_agree_with_autograd(name):
    # catches: what a framework's compiler or its own calls make of some network, where its plain operations are right
    available(name)
    for seed in SEEDS:
        theta, data, spec, gradients = known(seed)
        batch, problem = asked(theta, in_label_order(data), spec)
        variant = bnbench.variants()[name]()
        variant.prepare(batch, problem)
        variant.step()
        assert max(distances(answer(variant.result(), theta), gradients._replace(dX=None))) < CLOSE, spec
