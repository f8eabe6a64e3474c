"""On a device: valid at small and large sizes, the same bits twice, timed by events. `pytest tests/gpu`."""

import pytest

import bnbench
from bnbench.cuda import device, rates
from bnbench.cuda.available import simulated, unavailable
from bnbench.problem import REGIMES
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

pytestmark = pytest.mark.skipif(bool(unavailable()) or simulated(), reason=unavailable() or "the simulator is on")

ACTIVATIONS = variants()["loops-cuda"].supports["activations"]
NAMES = ("loops-cuda", "matrix-cuda", "fused-cuda")
SMALL = [(N, p1, p2) for N in (1, 2, 3, 4, 5, 31, 33, 257) for p1 in (1, 3, 17, 33) for p2 in (1, 3, 17, 33)]
LARGE = [(1000, 64, 64), (100_000, 32, 64), (100_000, 256, 256), (1_000_000, 32, 64)]


def check(name, problem, regime):
    """Two steps: valid, and the same bits."""
    batch = problem.sample()
    variant = variants()[name]()
    variant.prepare(batch, problem, regime)
    variant.step()
    before = parts_of(variant.result())
    variant.step()
    after = parts_of(variant.result())
    verdict = judge(after, reference(batch, problem), problem)
    assert verdict.valid, f"{problem} {regime}: {verdict.reason}"
    pairs = zip(before.values(), after.values(), strict=True)
    assert all(a is b is None or (a == b).all() for a, b in pairs), f"{problem}: two steps differ"
    return variant


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_small(name, dtype, activation):
    # catches: a race, an index beyond a block, fused or reordered arithmetic that the simulator does not have
    for N, p1, p2 in SMALL:
        for normalization in ("batch", "none"):
            ddof = min(1, N - 1)
            problem = bnbench.Problem(N, p1, p2, activation, normalization, ddof, 1e-3, dtype)
            for regime in REGIMES:
                check(name, problem, regime)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", LARGE)
def test_large_and_timed_by_events(name, dtype, size):
    # catches: a grid too large for the device, sums that lose digits, events on another stream than the kernels
    for regime in REGIMES:
        variant = check(name, bnbench.Problem(*size, dtype=dtype), regime)
        once, often = (min(variant.time(count) for _ in range(5)) for count in (1, 20))
        assert often > once > 0


@pytest.mark.parametrize("name", NAMES)
def test_replayed_as_a_graph_and_timed_cold_and_with_copies(name):
    # catches: a capture that this driver refuses, a cold step that was not cold, a copy that is not waited for
    variant = check(name, bnbench.Problem(200_000, 32, 64, dtype="float32"), "fixed")
    assert variant.details()["graph"] == "replayed"
    warm = min(variant.time(1) for _ in range(5))
    found = variant.device_times()
    assert found["cold_s"] > 0.9 * warm
    assert found["end_to_end_s"] > found["host_to_device_s"] > 4 * 200_000 * 32 / 1e12  # bytes, over any bus there is


def test_the_driver_says_its_clocks_and_its_cache():
    # catches: an NVML call with the wrong arguments, an attribute's number that is another's
    found = device.clocks()
    assert found["sm_mhz"] > 0
    assert found["memory_mhz"] > 0
    assert "held_down" in found
    assert 2**20 <= device.l2_bytes() <= 2**28


@pytest.mark.skipif(rates.library() is None, reason="neither CuPy nor PyTorch with CUDA is here")
def test_the_limit_of_the_device_is_measured():
    # catches: events of another stream than the work's
    found = rates.measure("float32")
    assert found["gemm_flops_s"] > 1e11
    assert found["triad_bytes_s"] > 1e10
