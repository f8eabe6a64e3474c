"""How far the verdicts of `compare --interleaved` can be trusted on this machine: false ones, missed ones, under load.

An hour, with nothing else running: pytest tests/benchmarks/test_trust.py --benchmark-only -s
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import bnbench
from bnbench import store
from bnbench.compare.verdicts import THRESHOLD_INTERLEAVED, compare
from bnbench.measure.noise import noise

PACKAGE = Path(bnbench.__file__).parent
VARIANTS = {"fused-numba": "FusedNumba", "loops-numba": "LoopsNumba", "matrix-numpy": "MatrixNumpy"}
VARIANTS |= {"matrix-numba": "MatrixNumba"}
WIDTHS = ((8, 8), (16, 16), (32, 16), (16, 32), (8, 64))
SIZES = [f"{N}x{p1}x{p2}" for N in (1000, 1500, 2000, 3000, 5000) for p1, p2 in WIDTHS]
SMALLER = [f"{N}x{p1}x{p2}" for N in (200, 300, 400, 500, 700) for p1, p2 in WIDTHS]
SLOWED = """

def _slowed(step, share):
    import functools
    import time

    @functools.wraps(step)
    def slowed(self):
        begin = time.perf_counter()
        step(self)
        end = begin + (1 + share) * (time.perf_counter() - begin)
        while time.perf_counter() < end:
            pass

    return slowed


{name}.step = _slowed({name}.step, {share})
"""
HOG = "while True: pass"


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, stdout=subprocess.DEVNULL)


def two_versions(folder, share):
    """A source tree with the package in its first commit, and its variants so much slower in the second."""
    shutil.copytree(PACKAGE, folder / "bnbench", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "before")
    for module in {name.replace("-", "_") for name in VARIANTS}:
        path = folder / "bnbench" / "variants" / f"{module}.py"
        name = VARIANTS[module.replace("_", "-")]
        if share:
            path.write_text(path.read_text() + SLOWED.format(name=name, share=share))
    git(folder, "commit", "-qam", "after", "--allow-empty")


def interleaved(folder, *flags, watch=lambda line: None):
    """Compare the two commits; the verdict on each cell by itself, and the joint ones as the command gives them."""
    command = [sys.executable, "-m", "bnbench", "compare", "--interleaved", "--old-ref", "HEAD~1", "--json"]
    command += ["--out", "runs", "--variants", ",".join(VARIANTS), *flags]
    with (
        open(folder / "verdicts.json", "w") as out,
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(folder)},
        ) as process,
    ):
        for line in process.stderr:
            watch(line)
    assert process.returncode in (0, 3)
    joint = json.loads((folder / "verdicts.json").read_text())["cells"]
    old, new = (store.read_journal(folder / "runs" / side)[0] for side in ("old", "new"))
    alone = [compare([a], [b], threshold=THRESHOLD_INTERLEAVED, paired=True)[0] for a, b in zip(old, new, strict=True)]
    return alone, joint, new


def tell(what, alone, joint, capsys):
    """Print how many verdicts of each kind there are, by themselves and jointly."""
    by_itself, together = Counter(v.verdict for v in alone), Counter(cell["verdict"] for cell in joint)
    widths = sorted((v.high / v.low) ** 0.5 - 1 for v in alone if v.ratio)
    ratios = sorted(v.ratio for v in alone if v.ratio)
    middle = ratios[len(ratios) // 2]
    with capsys.disabled():
        print(f"\n{what}: each by itself {dict(by_itself)}, jointly {dict(together)}")
        print(f"ratios {ratios[0]:.4f} to {ratios[-1]:.4f}, median {middle:.4f}; ", end="")
        print(f"half an interval {widths[len(widths) // 2]:.2%} in the median")
    return by_itself, together


def once(benchmark, function):
    return benchmark.pedantic(function, rounds=1, iterations=1)


def test_same_code(benchmark, tmp_path, capsys):
    two_versions(tmp_path, 0)
    alone, joint, _ = once(benchmark, lambda: interleaved(tmp_path, "--sizes", ",".join([*SIZES, *SMALLER])))
    assert len(joint) == 200
    _, together = tell("same code twice", alone, joint, capsys)
    assert together["slower"] + together["faster"] <= 2


@pytest.mark.parametrize(("share", "found"), [(0.05, 95), (0.02, 50)])
def test_slowed(benchmark, tmp_path, capsys, share, found):
    two_versions(tmp_path, share)
    alone, joint, _ = once(benchmark, lambda: interleaved(tmp_path, "--sizes", ",".join(SIZES)))
    assert len(joint) == 100
    _, together = tell(f"slowed by {share:.0%}", alone, joint, capsys)
    assert together["slower"] >= found


def test_under_load(benchmark, tmp_path, capsys):
    two_versions(tmp_path, 0)
    hogs = []

    def watch(line):
        if line.startswith("pass 4"):
            hogs.extend(subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(os.cpu_count()))
        if line.startswith("pass 9"):
            stop(hogs)

    sizes = ",".join(SIZES[::2])
    alone, joint, new = once(benchmark, lambda: interleaved(tmp_path, "--sizes", sizes, watch=watch))
    _, together = tell("same code, both processors busy in half of the passes", alone, joint, capsys)
    assert together["slower"] == 0
    assert all("interference" in noise(record) for record in new)


def test_load_is_marked(benchmark, tmp_path, capsys):
    command = [sys.executable, "-m", "bnbench", "sweep", "--variants", ",".join(VARIANTS), "--sizes", ",".join(SIZES)]
    hogs, loaded = [], []

    def sweep():
        with subprocess.Popen([*command, "--out", tmp_path / "run"], stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if found := re.match(r"N=(\d+) p1=(\d+) p2=(\d+)", line):
                    (loaded if hogs else []).append(tuple(map(int, found.groups())))
                    if len(loaded) == 0 and line.startswith("N=2000"):
                        hogs.extend(subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(os.cpu_count()))
                        time.sleep(1)
        stop(hogs)

    once(benchmark, sweep)
    marked = Counter()
    for record in store.read_journal(tmp_path / "run")[0]:
        under = record.cell.sizes in loaded[1:]
        marked[under, "interference" in noise(record)] += 1
    with capsys.disabled():
        print(f"\nloaded cells marked: {marked[True, True]} of {marked[True, True] + marked[True, False]}; ", end="")
        print(f"others: {marked[False, True]} of {marked[False, True] + marked[False, False]}")
    assert marked[True, True] > 0
    assert marked[True, False] == 0


def stop(hogs):
    while hogs:
        hog = hogs.pop()
        hog.kill()
        hog.wait()
