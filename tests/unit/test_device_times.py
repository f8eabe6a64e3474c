"""What is said of a device and timed on it, without one: stand-ins for the driver's libraries and for its events."""

import importlib.util
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from bnbench.commands.sweep import held_down
from bnbench.cuda import device, rates, timing
from bnbench.measure import roofline
from bnbench.measure.child import ChildError
from bnbench.measure.interference import Interference, Sample
from bnbench.measure.plan import Plan
from bnbench.measure.protocol import Calibration, Opened, Reloaded
from bnbench.measure.scheduler import Sweep
from bnbench.problem import Problem
from bnbench.record import Cell, Record


def test_clocks_are_read_from_nvml_and_their_absence_is_no_error(monkeypatch):
    # catches: clocks in the wrong order, a reason that is not trouble called so, a machine without NVML that fails
    def tell(place, value):
        place._obj.value = value
        return 0

    nvml = types.SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByPciBusId_v2=lambda address, handle: 0,
        nvmlDeviceGetClockInfo=lambda handle, kind, place: tell(place, {1: 1980, 2: 3201}[kind]),
        nvmlDeviceGetTemperature=lambda handle, sensor, place: 15,  # not supported here
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle, place: tell(place, 0x01 | 0x04 | 0x40),
    )
    driver = types.SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetPCIBusId=lambda *arguments: 0)
    monkeypatch.setattr(device.ctypes, "CDLL", {"libnvidia-ml.so.1": nvml, "libcuda.so.1": driver}.get)
    found = device.clocks()
    assert found == {"sm_mhz": 1980, "memory_mhz": 3201, "held_down": "power cap, hardware thermal slowdown"}
    bare = Record(variant="matrix-cuda", cell=Cell(Problem(10, 2, 3, dtype="float32"), 2), status="ok", device="cuda")
    (remark,) = held_down([bare.having(clocks={"before": {}, "after": found}), bare, bare.having(status="pruned")])
    assert remark.endswith("(power cap, hardware thermal slowdown) in 1 records")
    driver.cuInit = lambda flags: 100
    assert device.clocks() == {}

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(device.ctypes, "CDLL", missing)
    assert device.clocks() == {}
    assert device.l2_bytes() > 0


def test_copies_and_cold_steps_are_timed_apart(monkeypatch):
    # catches: a copy left out of what is end to end, a first time that is counted, a mean in place of the median
    monkeypatch.setattr(timing, "BUDGET_S", 10.0)
    colds = iter([9.0, *np.linspace(1, 2, timing.MOST)])
    now = 0.0

    def takes(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    works = [lambda seconds=seconds: takes(seconds) for seconds in (0.004, 0.002, 0.001)]
    found = timing.device_times(*works, cold=lambda: next(colds))
    assert found["cold_s"] == pytest.approx(1.5)
    assert found["host_to_device_s"] == pytest.approx(0.004)
    assert found["end_to_end_s"] == pytest.approx(0.007)
    assert "cold_s" not in timing.device_times(*works)


def test_the_rates_of_a_device_are_those_of_the_work_done(monkeypatch):
    # catches: operations or bytes miscounted, a reference to a device's roof by a processor's rows
    for name, value in (("GEMM_ORDER", 32), ("COPY_BYTES", 2**10)):
        monkeypatch.setattr(rates, name, value)
    monkeypatch.setattr(rates, "fastest", lambda on, work: (work(), 0.5)[1])
    multiply = np.matmul
    on = types.SimpleNamespace(put=np.array, multiply=multiply, copy=np.copyto)
    monkeypatch.setattr(rates, "library", lambda: on)
    found = roofline.measure_device("float32")
    assert found == {"gemm_flops_s": 4 * 32**3, "triad_bytes_s": 4 * 2**10}
    monkeypatch.setattr(rates, "library", lambda: None)
    assert roofline.measure_device("float32") is None
    cell = Cell(Problem(10, 2, 3, dtype="float32"), 2)
    row = Record(variant="matrix-cuda", cell=cell, status="ok", device="cuda", limit_s=1.0)
    start = {"dtype": "float32", "device": "cuda", **found}
    own, other = roofline.with_best([row, row.having(device="cpu")], [start])
    assert own.limit_s == pytest.approx(10 * 3 * 4 / (4 * 2**10))
    assert other == row.having(device="cpu")


def test_the_table_of_ratios_takes_the_fastest_of_each_side():
    # catches: a CPU's or another dtype's row, a regime mixed in, a ratio upside down, a missing framework that counts
    path = Path(__file__).parents[1] / "gpu" / "ratios.py"
    spec = importlib.util.spec_from_file_location("ratios", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    times = {
        ("fused-cuda", "fused", "cuda", "float32", "fixed"): 1e-4,
        ("matrix-cuda", "matrix", "cuda", "float32", "fixed"): 2e-4,
        ("torch-cuda", "autodiff", "cuda", "float32", "fixed"): 5e-4,
        ("jax-cuda", "autodiff", "cuda", "float32", "fixed"): 4e-4,
        ("jax-cuda", "autodiff", "cuda", "float32", "fresh"): 1e-5,
        ("fused-numba", "fused", "cpu", "float32", "fixed"): 1e-6,
        ("fused-cuda", "fused", "cuda", "float64", "fixed"): 1e-6,
    }
    names = ("variant", "family", "device", "dtype", "regime")
    size = {"N": 100_000, "p1": 32, "p2": 64, "status": "ok", "limit_fraction": 0.5}
    rows = [
        dict(zip(names, key, strict=True)) | size | dict.fromkeys(("median_s", "ci_low_s", "ci_high_s"), time_s)
        for key, time_s in times.items()
    ]
    rows.append(rows[0] | {"variant": "loops-cuda", "status": "invalid", "median_s": np.nan})
    found = {(row["N × p1 × p2"], row["regime"]): row for row in module.ratios(pd.DataFrame(rows))}
    own = found["100000 × 32 × 64", "fixed"]
    assert own["ratio"] == pytest.approx(4)
    assert (own["asked"], own["met"], own["share of the limit"]) == (3.0, True, 0.5)
    assert own["ours"].startswith("fused-cuda")
    assert own["fastest framework"].startswith("jax-cuda")
    fresh = found["100000 × 32 × 64", "fresh"]
    assert (fresh["ratio"], fresh["asked"], fresh["ours"]) == (None, None, "not measured")
    assert found["1000 × 64 × 64", "fresh"]["met"] is False
    assert "≥ 1.1" in module.table_of(list(found.values()))


@pytest.mark.parametrize("dies", [False, True])
def test_a_device_whose_times_fail_costs_these_columns_alone(dies):
    # catches: a cell that is lost for a time beside its samples, a request to a worker that is gone
    class Worker:
        alive = True
        asked: ClassVar[list] = []

        def ask(self, do, **arguments):
            self.asked.append(do)
            if do == "device_times":
                self.alive = not dies
                raise ChildError("crashed" if dies else "failed", "no events here")
            return {"peak_bytes": 1, "baseline_bytes": 1, "clock_mhz": None}

        def kill(self):
            pass

    plan = Plan(N=(5,), p1=(2,), p2=(2,), variants=("torch-cuda",))
    with Sweep(plan, lambda record: record) as sweep:
        sweep.crew.children["torch-cuda"], sweep.crew.device["torch-cuda"] = Worker(), "cuda"
        measurement = sweep.cell_run.begun("torch-cuda", plan.cells()[0])
        measurement.samples = [Sample(1.0, Interference())]
        measurement.calibration = Calibration(1, 1.0, [])
        measurement.opened, measurement.reloaded = Opened(1.0, 1.0, None, {}), Reloaded(None, {}, {})
        assert sweep.cell_run.close(measurement)
        sweep.cell_run.finish(measurement, "ok", "")
        record = sweep.records["torch-cuda", measurement.cell]
    assert record.status == "ok"
    assert record.details == {"device times": "no events here"}
    assert (record.peak_bytes is not None) == (not dies)
    assert Worker.asked == ["device_times"] + ["close"] * (not dies)
