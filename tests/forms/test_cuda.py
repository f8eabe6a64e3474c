"""The GPU variants without a GPU: valid under the simulator, compiled offline without spills, a clear reason here."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys

import pandas
import pytest
from cases import covering

from bnbench.cuda import available
from bnbench.variants import variants

NAMES = ("loops-cuda", "matrix-cuda", "fused-cuda")

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")

SIMULATED = """
import json, sys
import bnbench
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

for arguments, regime in json.loads(sys.argv[2]):
    problem = bnbench.Problem(*arguments)
    batch = problem.sample()
    variant = variants()[sys.argv[1]]()
    variant.prepare(batch, problem, regime)
    variant.step()
    before = parts_of(variant.result())
    variant.step()
    after = parts_of(variant.result())
    same = all(a is b is None or (a == b).all() for a, b in zip(before.values(), after.values()))
    verdict = judge(after, reference(batch, problem), problem)
    print(json.dumps([verdict.valid, same, verdict.reason, variant.details()]), flush=True)
"""


REPLAYED = """
import numpy as np
import bnbench
from bnbench.cuda import graph
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

replays = []

def capture(launches):
    def replay():
        replays.append(len(launches))
        for launch in launches:
            launch()
    return "replayed", replay

graph.capture = capture
problem = bnbench.Problem(9, 3, 2)
batch = problem.sample()
batch.G1[:, 1] = 1, -1, 0
for name, cancels in (("loops-cuda", False), ("fused-cuda", False), ("fused-cuda", True)):
    if cancels:
        batch.X[:, 1] = batch.X[:, 0]
    variant = variants()[name]()
    variant.prepare(batch, problem, "fixed")
    variant.steps.graph = "not tried"
    for steps in (1, 2):
        variant.step()
        verdict = judge(parts_of(variant.result()), reference(batch, problem), problem)
        assert verdict.valid, (name, cancels, steps, verdict.reason)
        assert len(replays) == steps, (name, cancels, replays)
    assert (variant.details()["graph"] == "replayed") == (not cancels)  # what it fell back to was not captured
    assert variant.details().get("algorithm") == {"loops-cuda": None}.get(name, "stored" if cancels else "one-pass")
    replays.clear()
"""


OFFSET = """
import numpy as np
import bnbench
from bnbench.reference import reference
from bnbench.variants import variants

problem = bnbench.Problem(30, 3, 2, "tanh")
for offset in (1e2, 1e6):
    batch = problem.sample()
    batch = batch._replace(X=batch.X + offset)
    true = reference(batch, problem).high
    for name, regime in (("loops-cuda", "fresh"), ("matrix-cuda", "fresh"), ("fused-cuda", "fixed")):
        variant = variants()[name]()
        variant.prepare(batch, problem, regime)
        variant.step()
        error = np.linalg.norm(variant.result().dG1 - true.dG1) / np.linalg.norm(true.dG1)
        assert error < 1e-14 * offset, (name, offset, error)
"""


ACTIVATIONS = variants()["loops-cuda"].supports["activations"]
SIZES = [(1, 1, 1), (2, 3, 17), (31, 17, 3), (33, 1, 33), (257, 3, 1), (33, 33, 17)]
CASES = [(*size, "relu", "batch", 0, 1e-5, "float64") for size in SIZES]
CASES += [(5, 3, 3, activation, "batch", 1, 1e-3, "float32") for activation in ACTIVATIONS]
CASES += [(4, 3, 1, activation, "none", 0, 0.5, "float64") for activation in ACTIVATIONS]
CASES += [(3, 1, 3, "sigmoid", "none", 0, 0.5, "float32"), (70, 7, 5, "tanh", "batch", 1, 1e-5, "float32")]
FRESH = CASES[1:3] + CASES[6:8]
# Both dtypes, with and without normalization; every activation in one of the variants or another.
SOME = {name: [*CASES[1:3], *CASES[6 + i : 11 : 3], CASES[12 + i]] for i, name in enumerate(NAMES)}


def cases_of(name):
    """(arguments of the problem, regime); a fixed design is the one-pass form's alone."""
    if name == "fused-cuda":
        return [(case, "fixed") for case in CASES] + [(case, "fresh") for case in FRESH]
    return [(case, "fresh") for case in CASES]


def simulated(code, *arguments):
    """The output of a program under the simulator."""
    command, environment = [sys.executable, "-c", code, *arguments], os.environ | {available.SIMULATOR: "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def some(kernels):
    """Every kernel once, its activations and architectures in turn; of a sweep's nine sizes the three with p1 = p2."""
    groups = {}
    for kernel in kernels:
        name = ", ".join(part for part in kernel[0].split(", ") if part not in ACTIVATIONS)
        groups.setdefault(name, []).append(kernel)
    sizes = {name: name.split(", ")[-1].split(" × ") for name in groups}
    kept = [group for name, group in groups.items() if sizes[name][0] == sizes[name][-1]]
    return [group[place % len(group)] for place, group in enumerate(kept)]


@pytest.mark.parametrize("which", covering(["some", "all"], ["some"]))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_compile_offline_without_spills(dtype, which, capsys):
    # catches: a kernel that does not compile, registers spilled to memory, float64 that crept into float32
    from bnbench.cuda.offline import SHARED_LIMIT, compile_kernel, kernels_for

    newest = kernels_for((dtype,), ("tanh", "gaussian"), ((9, 0),))
    kernels = list(itertools.chain(newest, kernels_for((dtype,), ("gaussian",), ((8, 0),))))
    if which == "some":
        kernels = some(kernels)
    lines = []
    for kernel in kernels:
        found = compile_kernel(*kernel)
        lines.append(f"{found.kernel:34}{found.architecture}{found.registers:5}{found.shared_bytes:7}")
        assert found.registers > 0, f"{lines[-1]}: the assembler said nothing that is understood"
        assert found.spilled_bytes == found.stack_bytes == 0, f"{lines[-1]}: spills"
        assert found.shared_bytes <= SHARED_LIMIT
        assert dtype == "float64" or ".f64" not in found.ptx, f"{lines[-1]}: has float64 operations"
    with capsys.disabled():
        print(f"\n{dtype}: kernel, architecture, registers, bytes of shared memory", *lines, sep="\n")


@pytest.mark.skipif(available.unavailable() == "", reason="there is a device")
def test_without_a_driver_there_is_a_reason_and_nothing_else():
    # catches: an import of CUDA where nobody asked for it, a traceback in place of a sentence
    for name in NAMES:
        assert "driver" in variants()[name].unavailable()
    program = """
import sys
import bnbench
from bnbench.variants import variants

reasons = [variant.unavailable() for variant in variants().values()]
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not {"cupy", "bnbench.cuda.runtime", "bnbench.cuda.kernels", "numba.cuda.cudadrv.driver"} & set(loaded)
    assert done.stderr == ""


@pytest.mark.parametrize("which", covering(["some", "all"], ["some"]))
@pytest.mark.parametrize("name", NAMES)
def test_valid_under_the_simulator(name, which):
    # catches: an index beyond a block, a barrier that is missing or not met by all, padding in a sum, lost ddof or eps
    cases = [case for case in cases_of(name) if which == "all" or case[0] in SOME[name]]
    algorithms = set()
    for case, line in zip(cases, simulated(SIMULATED, name, json.dumps(cases)).splitlines(), strict=True):
        valid, same, reason, details = json.loads(line)
        assert valid, f"{case}: {reason}"
        assert same, f"{case}: two steps differ"
        assert details["device"] == "simulator"
        algorithms.add(details.get("algorithm"))
    assert algorithms == ({"one-pass", "stored"} if name == "fused-cuda" else {None})


def test_an_offset_of_X_costs_digits_in_proportion_under_the_simulator():
    # catches: a column of dZ that adds up to what rounding left of μ, which Xᵀ multiplies by the offset
    simulated(OFFSET)


def test_a_graph_is_replayed_for_its_own_launches_under_the_simulator():
    # catches: an answer to be judged that no replay gave, a graph of the one-pass form replayed for the stored one
    simulated(REPLAYED)


@pytest.mark.exhaustive
def test_a_sweep_of_the_gpu_variants_under_the_simulator(tmp_path):
    # catches: a device's times that are lost on their way to the table, a missing notion of it that ends a cell
    arguments = ["sweep", "--sizes", "3x2x1", "--dtype", "float32", "--threads", "1", "--sampling", "0.01"]
    arguments += ["--variants", ",".join(NAMES), "--timeout", "100", "--out", str(tmp_path / "run")]
    simulated("import sys; from bnbench.cli import main; sys.exit(main(sys.argv[1:]))", *arguments)
    table = pandas.read_csv(tmp_path / "run" / "summary.csv")
    assert set(table["variant"]) == set(NAMES)
    assert set(table["status"]) == {"ok"}
    assert table["cold_s"].isna().all()  # the simulator has no cache
    assert table["limit_s"].isna().all()
    assert (table["host_to_device_s"] > 0).all()
    assert (table["end_to_end_s"] > table["host_to_device_s"]).all()
    assert table["details"].str.contains("graph: none: the simulator").all()
