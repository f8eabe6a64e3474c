"""Every compiled form on networks drawn at random, against the reference: values, bits, and answers that stay."""

import numpy as np
import pytest
from cases import covering
from networks import asked, network

from bnbench.problem import REGIMES
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

FORMS = "loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba", "fused-numba"
FEW = {"activation": "tanh", "normalization": "batch"}  # what the fast set compiles


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("count", "held"), covering([(6, FEW), (120, {})], [(6, FEW)]))
def test_a_form_is_right_on_drawn_networks(name, count, held):
    # catches: a layer's shape taken for another's, state of the step before, an answer that a later step writes over
    cls = variants()[name]
    if cls.unavailable():
        pytest.skip(cls.unavailable())
    for seed in range(count):
        theta, data, spec = network(seed, dtype=("float64", "float32")[seed % 2], **held)
        batch, problem = asked(theta, data, spec)
        known = reference(batch, problem)
        for regime in REGIMES:
            variant = cls()
            variant.prepare(batch._replace(G2=np.ones_like(batch.G2)), problem, regime)
            variant.step()
            first = variant.result()
            kept = {part: np.copy(array) for part, array in parts_of(first).items() if array is not None}
            variant.load(*batch.parameters())
            variant.step()
            found = variant.result()
            verdict = judge(parts_of(found), known, problem)
            assert verdict.valid, (seed, regime, problem, verdict.reason)
            variant.step()
            again = variant.result().parts()
            assert all(np.array_equal(part, again[name]) for name, part in found.parts().items() if part is not None)
            assert all(np.array_equal(array, parts_of(first)[part]) for part, array in kept.items())
