"""Three hundred networks: the library's calls, the formula's and each machine's derivative of the definition."""

import pytest
from networks import answer, arguments, distances, in_label_order, network

import bnbench
from bnbench import definition
from bnbench.networks import MACHINES


@pytest.mark.parametrize("variant", ["matrix-numpy", *MACHINES])
def test_three_hundred_networks_agree_with_autograd(variant):
    # catches: a convention of one framework that is another's, at some depth, loss or normalization
    pytest.importorskip(MACHINES.get(variant, "autograd"))
    for seed in range(1000, 1300):
        theta, data, spec = network(seed)
        positional, keywords = arguments(theta, data, spec)
        found = bnbench.gradients(*positional, **keywords, inputs=True, variant=variant)
        known = definition.gradients(theta, in_label_order(data), spec, "autograd", inputs=True)
        assert max(distances(answer(found, theta), known)) < 1e-9, spec
