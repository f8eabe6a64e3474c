"""Two versions of the package side by side in one sweep: the comparison that survives a noisy machine.

Each variant has two workers, one with the package of each version. Each round takes a sample of both, one right after
the other in random order, so that whatever the machine does meets the two alike; what counts is the ratio within a
round. The whole is done in several passes, each with processes of its own: where a process's memory lies, and what the
machine did while it lived, can make it faster or slower as a whole, so that its samples say nothing of the next one.
A pass gives one ratio for each cell, and the verdict comes from the ratios of the passes: the unit of an experiment is
what varies at its highest level (Kalibera & Jones, Rigorous benchmarking in reasonable time, ISMM 2013).
"""

import io
import itertools
import os
import statistics
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from bnbench.measure.crew import PACKAGE_FOLDER, Lane
from bnbench.measure.plan import Plan
from bnbench.measure.scheduler import Sweep
from bnbench.record import Record

OLD, NEW = SIDES = ("old", "new")
PASSES, LEAST_PASSES = 10, 3
ROUNDS, LEAST_ROUNDS = 12, 3  # of a pass; the second where time is short
LAST_JUDGED = 1  # the pass that is the last to judge its answers


class VersionError(Exception):
    """A version of the package cannot be had; the message is one line."""


class Interleaved(Sweep):
    """One pass: every variant twice, in rounds of pairs. Compilation and the machine's limit are not measured."""

    times_compilation = measures_limit = False

    def __init__(self, plan: Plan, sources: dict[str, Path], names: Sequence[str], **arguments):
        """sources maps each of `SIDES` to the folder that holds its package."""
        lanes = {f"{name} ({side})": Lane(name, sources[side]) for name in names for side in SIDES}
        super().__init__(plan, lambda record: record, lanes=lanes, **arguments)
        self.drawn = {}

    def derivation(self, run):
        """As ever, but once: what it compiles is in the caches when passes are timed, and stays out of their heaps."""
        return ("", "") if self.timing else super().derivation(run)

    def calibrate(self, run):
        """As ever, but what calibration timed is no sample: it has no counterpart."""
        through = super().calibrate(run)
        run.samples = []
        return through

    def processors(self, cell):
        """The same for all workers of a cell, drawn by lot: one may be slower, for what its neighbour does."""
        allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if cell not in self.drawn:
            self.drawn[cell] = self.random.sample(allowed, cell.threads) if cell.threads < len(allowed) else None
        return self.drawn[cell]

    def pairs(self, runs):
        """The runs by variant: both versions of each."""
        found = {}
        for run in runs:
            found.setdefault(self.lanes[run.lane].variant, []).append(run)
        return list(found.values())

    def groups(self, cell, order):
        """As ever, but a pair stays together where memory does not hold all."""
        found = super().groups(cell, order)
        return found if len(found) == 1 else self.pairs(order)

    def round(self, runs):
        """Pairs in random order, and each in random order."""
        return list(itertools.chain(*self.pairs(self.random.sample(runs, len(runs)))))

    def enough(self, run):
        """Whether a run has its rounds, or no time for more."""
        over = run.sampling_s >= self.sampling_s or run.spent_s + 2 * run.step_s > self.plan.timeout
        return len(run.samples) >= (LEAST_ROUNDS if over else ROUNDS)

    def sated(self, runs):
        """Both of a pair where one has enough: they have as many samples."""
        enough = {self.lanes[run.lane].variant for run in runs if self.enough(run)}
        return [run for run in runs if self.lanes[run.lane].variant in enough]


def interleave(plan, sources, names, *, table=None, events=None, passes=PASSES) -> dict[str, list[Record]]:
    """The records of each side, those of all passes joined: samples in the order of the rounds, `passes` by number.

    Before them is a pass that times nothing. It judges the answers and fills the compilation caches: a process that
    compiles has another heap than one that does not, and may be half as fast for it. The first that is timed judges
    again what its last steps left behind; those after it see that the data are what they were.
    events is a function of a pass's number, 0 for that one, that gives its `Events`.
    """
    found = []
    for number in range(passes + 1):
        watched = events(number) if events else None
        with Interleaved(plan, sources, names, table=table, events=watched, timing=number > 0) as sweep:
            sweep.random.seed(f"{plan.seed} {number}")
            sweep.judges = number <= LAST_JUDGED
            sweep.run()
            found.append(sweep.records)
    sides = {}
    for side in SIDES:
        lanes = [(name, f"{name} ({side})") for name in names]
        cells = [(name, lane, cell) for cell in plan.cells() for name, lane in lanes]
        sides[side] = [
            joined([records[lane, cell] for records in found]).having(variant=name) for name, lane, cell in cells
        ]
    return sides


def joined(records: Sequence[Record]) -> Record:
    """One record of a variant's and cell's passes: that of the first pass that is not ok, else all their samples.

    The first of the records has the verdict and no samples. A field for which `JOINED` has no rule is the same in all.
    """
    for record in records:
        if record.status != "ok":
            return record
    judged, *timed = records
    known = {name: [getattr(record, name) for record in timed] for name in JOINED}
    known = {name: [value for value in values if value is not None] for name, values in known.items()}
    return judged.having(
        **{name: JOINED[name](values) for name, values in known.items() if values},
        passes=tuple(record.samples for record in timed),
    )


def chained(values):
    """The samples of the passes one after the other."""
    return tuple(itertools.chain(*values))


def spanned(values):
    """The lowest and the highest of ranges."""
    known = chained(values)
    return min(known), max(known)


def each_said(values):
    """Of dicts, what the passes say under each name: one text, or the different ones."""
    said = {}
    for name, text in itertools.chain(*(value.items() for value in values)):
        said.setdefault(name, {})[text] = None
    return {name: ", ".join(texts) for name, texts in said.items()}


def highest(values):
    """Of dicts, the highest number under each name."""
    return {name: max(value.get(name, 0) for value in values) for name in dict.fromkeys(chained(values))}


def worst(values):
    """Of what passes say of a device's clocks, that in which something held them down, or the last."""
    return max(reversed(values), key=lambda clocks: bool(clocks.get("after", {}).get("held_down")))


JOINED = (
    dict.fromkeys(("samples_s", "switches", "faults"), chained)
    | dict.fromkeys(("elapsed_s", "stolen_s", "others_s"), sum)
    | dict.fromkeys(("prepare_s", "first_step_s", "baseline_bytes", "inner_loops", "interleaved"), min)
    | dict.fromkeys(("cold_s", "host_to_device_s", "end_to_end_s"), statistics.median)
    | {"peak_bytes": max, "clock_mhz": spanned, "details": each_said, "threads_in_force": highest, "clocks": worst}
)


def checkout(ref: str, folder: Path) -> Path:
    """Put the package as it is at a commit, branch or tag of this source tree into a folder; the folder.

    Raises:
        VersionError: the package is not in a git work tree, git does not know the ref, or the folder has no room.
    """
    if ref.startswith("-"):
        raise VersionError(f"--old-ref is {ref!r}; allowed is a commit, branch or tag, not a flag of git's")
    command = ["git", "-C", str(PACKAGE_FOLDER), "archive", "--format=tar", ref, "bnbench"]
    try:
        archive = subprocess.run(command, capture_output=True, check=True).stdout
    except OSError as error:
        raise VersionError(f"--old-ref needs git, which cannot be run here ({error.strerror})") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise VersionError(
            f"--old-ref is {ref!r}; allowed is what git knows here ({said[-1] if said else ''})"
        ) from error
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise VersionError(f"the package as it is at {ref!r} cannot be put into {folder.parent}: {error}") from error
    return folder
