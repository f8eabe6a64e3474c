"""What a framework costs on a device beside its warm steps, on a device that is this processor."""

import time

import pytest

import bnbench
from bnbench.cuda import rates, timing
from bnbench.reference import reference
from bnbench.validation import judge, parts_of


class Event:
    """An event of a device that is this processor."""

    def __init__(self, enable_timing=False):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 1e3 * (end.at - self.at)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_framework_times_its_device(name, monkeypatch):
    # catches: parameters or data that a copy leaves behind, a step that is no longer right after being timed
    module = pytest.importorskip(name)
    monkeypatch.setattr(timing, "BUDGET_S", 0.05)
    problem = bnbench.Problem(40, 5, 4, dtype="float32")
    batch = problem.sample()
    if name == "torch":
        from bnbench.variants import peer_torch as peer

        monkeypatch.setattr(module.cuda, "Event", Event)
        monkeypatch.setattr(module.cuda, "synchronize", lambda: None)
        stand_in = type("StandIn", (peer.TorchCuda,), {"device": "cpu"})()
        on = rates.Torch("cpu")
        assert rates.fastest(on, lambda: on.multiply(on.put(batch.X.T), on.put(batch.X))) > 0
    else:
        from bnbench.variants import peer_jax as peer

        stand_in = type("StandIn", (peer.JaxCuda,), {"device": "cpu"})()
    monkeypatch.setattr(peer, "l2_bytes", lambda: 2**16)
    stand_in.prepare(batch, problem)
    stand_in.step()
    stand_in.batch.G1[0, 0] += 0.5  # what a copy has to bring to the device
    batch.G1[0, 0] += 0.5
    found = stand_in.device_times()
    assert found.keys() == {"cold_s", "host_to_device_s", "end_to_end_s"}
    assert 0 < found["host_to_device_s"] < found["end_to_end_s"]
    assert found["cold_s"] > 0
    stand_in.step()
    verdict = judge(parts_of(stand_in.result()), reference(batch, problem), problem)
    assert verdict.valid, verdict.reason
