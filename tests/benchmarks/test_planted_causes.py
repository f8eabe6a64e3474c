"""A planted slow variant and a planted slow machine, measured: does `compare` tell them apart?

Twenty trials of three sweeps, five minutes: pytest tests/benchmarks/test_planted_causes.py --benchmark-only -s
`BNBENCH_TRIALS` is another number of trials.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

from test_trust import PACKAGE, SLOWED

from bnbench.compare import causes
from bnbench.compare.runs import Run
from bnbench.measure.crew import Lane
from bnbench.measure.fingerprints import of_names
from bnbench.measure.passes import SAMPLED
from bnbench.measure.plan import Plan
from bnbench.measure.scheduler import Sweep

TRIALS = int(os.environ.get("BNBENCH_TRIALS", "20"))
PLANTED, SHARE = "loops-numba", 0.3
NAMES = (PLANTED, "matrix-numpy", "matrix-numba", "autograd")
# A machine that withholds time from all workers alike, as a hypervisor does: it stops each for 0.3 of every 1.3 ms.
THIEF = """
import os, signal, sys, time, psutil

def until(end):
    while time.perf_counter() < end:
        pass

sweep = psutil.Process(int(sys.argv[1]))
while True:
    found = [child for child in sweep.children() if "bnbench.measure.worker" in child.cmdline()]
    looked = now = time.perf_counter()
    while now < looked + 0.2:
        for how, until_s in ((signal.SIGSTOP, now + 3e-4), (signal.SIGCONT, now + 1.3e-3)):
            for child in found:
                try:
                    os.kill(child.pid, how)
                except ProcessLookupError:
                    pass
            until(until_s)
        now = time.perf_counter()
"""
PLAN = Plan(sizes=("100x8x8", "300x16x8", "1000x8x8"), threads=(1,), sampling_s=0.1)


def tree(folder, *, slowed):
    """A folder with the package, in which one variant may be slowed."""
    shutil.copytree(PACKAGE, folder / "bnbench", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "bnbench" / "variants" / "loops_numba.py"
    if slowed:
        path.write_text(path.read_text() + SLOWED.format(name="LoopsNumba", share=SHARE))
    return folder


def swept(source):
    """A sweep of the package in a folder, in new processes, without verdicts and the machine's limit."""
    lanes = {name: Lane(name, source) for name in NAMES}
    with Sweep(PLAN, lambda record: record, scope=replace(SAMPLED, verdicts=False), lanes=lanes) as sweep:
        records = sweep.run()
    assert all(record.timed for record in records), [record.reason for record in records if record.reason]
    return Run(source, {"plan": {}, "machine": {}, "fingerprints": of_names(NAMES, source)}, records, [])


def told(old, new):
    """How many cells of which variant moved by which cause."""
    found = causes.compare(old, new, threshold=1.05)
    return Counter((each.variant, each.cause) for each in found.cells if each.cause)


def test_a_slow_variant_and_a_slow_machine(benchmark, tmp_path, capsys):
    plain, slow = (tree(tmp_path / name, slowed=name == "slow") for name in ("plain", "slow"))
    swept(plain), swept(slow)  # which compile
    right = Counter()

    def trials():
        for trial in range(TRIALS):
            before = swept(plain)
            changed = told(before, swept(slow))
            thief = subprocess.Popen([sys.executable, "-c", THIEF, str(os.getpid())])
            try:
                slower = told(before, swept(plain))
            finally:
                thief.kill()
                thief.wait()
            right["variant"] += {name for name, cause in changed if cause == "change"} == {PLANTED}
            right["machine"] += {cause for _, cause in slower if cause != "unclear"} == {"machine"}
            with capsys.disabled():
                print(f"\n{trial}: planted in {PLANTED}: {dict(changed)}; slow machine: {dict(slower)}", end="")

    benchmark.pedantic(trials, rounds=1, iterations=1)
    with capsys.disabled():
        print(f"\nthe variant told {right['variant']} of {TRIALS} times, the machine {right['machine']}")
    assert right["variant"] == right["machine"] == TRIALS
