"""Two versions of the package side by side in one sweep: the comparison that survives a noisy machine.

Each variant has two workers, one with the package of each version. Each round takes a sample of both, one right after
the other in random order, so that whatever the machine does meets the two alike; what counts is the ratio within a
round. The whole is done in several passes, each with processes of its own: where a process's memory lies, and what the
machine did while it lived, can make it faster or slower as a whole, so that its samples say nothing of the next one.
A pass gives one ratio for each cell, and the verdict comes from the ratios of the passes: the unit of an experiment is
what varies at its highest level (Kalibera & Jones, Rigorous benchmarking in reasonable time, ISMM 2013).
"""

import io
import subprocess
import tarfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnbench.measure.crew import PACKAGE_FOLDER, Lane
from bnbench.measure.data import Table
from bnbench.measure.passes import SAMPLED, joined
from bnbench.measure.plan import Plan
from bnbench.measure.rounds import Pairs
from bnbench.measure.scheduler import JUDGED, Events, Sweep
from bnbench.record import Cell, Record

OLD, NEW = SIDES = ("old", "new")
PASSES, LEAST_PASSES = 10, 3
ROUNDS, LEAST_ROUNDS = 12, 3  # of a pass; the second where time is short
SHORT = 10  # digits of a commit's hash that are shown
LAST_JUDGED = 1  # the pass that is the last to judge its answers


class VersionError(Exception):
    """A version of the package cannot be had; the message is one line."""


def interleave(
    plan: Plan,
    sources: dict[str, Path],
    names: Sequence[str],
    *,
    only: Collection[tuple[str, Cell]] | None = None,
    table: Table | None = None,
    events: Callable[[int], Events] | None = None,
    passes: int = PASSES,
) -> dict[str, list[Record]]:
    """The records of each side, those of all passes joined: samples in the order of the rounds, `passes` by number.

    Before them is a pass that times nothing. It judges the answers and fills the compilation caches: a process that
    compiles has another heap than one that does not, and may be half as fast for it. The derivation check is made there
    alone, since what it compiles is to stay out of the heaps of passes that are timed. The first of these judges again
    what its last steps left behind; those after it see that the data are what they were.

    Args:
        plan: what is measured.
        sources: for each of `SIDES` the folder that holds its package.
        names: the variants.
        only: of these at the plan's cells, those that are measured; None for all. The others' records are pruned.
        table: whose leading rows are X and y; None for drawn data.
        events: a function of a pass's number, 0 for the one that times nothing, that gives its `Events`.
        passes: how many are timed.
    """
    lanes = {f"{name} ({side})": Lane(name, sources[side]) for name in names for side in SIDES}
    rounds = Pairs({name: lane.variant for name, lane in lanes.items()}, ROUNDS, LEAST_ROUNDS)
    pairs = [(name, cell) for cell in plan.cells() for name in names]
    left_out = [
        Record(variant=f"{name} ({side})", cell=cell, status="pruned", reason="not asked for")
        for name, cell in pairs
        if only is not None and (name, cell) not in only
        for side in SIDES
    ]
    made = []
    for number in range(passes + 1):
        scope = replace(SAMPLED, verdicts=number <= LAST_JUDGED) if number else JUDGED
        told = events(number) if events else None
        with Sweep(
            plan, lambda record: record, left_out, table=table, scope=scope, rounds=rounds, events=told, lanes=lanes
        ) as sweep:
            sweep.planner.random.seed(f"{plan.seed} {number}")
            sweep.run()
            made.append(sweep.records)
    judged, *timed = made
    sides = {}
    for side in SIDES:
        own = [(name, f"{name} ({side})", cell) for name, cell in pairs]
        sides[side] = [
            joined(judged[lane, cell], [records[lane, cell] for records in timed]).having(variant=name)
            for name, lane, cell in own
        ]
    return sides


def checkout(ref: str, folder: Path, flag: str = "--old-ref") -> Path:
    """Put the package as it is at a commit, branch or tag of this source tree into a folder; the folder.

    Raises:
        VersionError: the package is not in a git work tree, git does not know the ref, or the folder has no room; the
            message names the flag that gave the ref.
    """
    archive = _git(flag, ref, "archive", "--format=tar", ref, "bnbench")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise VersionError(f"the package as it is at {ref!r} cannot be put into {folder.parent}: {error}") from error
    return folder


@dataclass(frozen=True)
class Commit:
    """A commit: its hash, and the first line of its message."""

    hash: str
    subject: str

    def __str__(self) -> str:
        return self.hash[:SHORT]


def commits(text: str) -> tuple[Commit, list[Commit]]:
    """Of GOOD..BAD the commit GOOD, and those after it up to BAD that change the package, the oldest first.

    A merge is one commit, and what it brings its change: first parents are followed. BAD is HEAD where it is left out.

    Raises:
        VersionError: the text is no such range, git does not know an end of it, or no commit is in it.
    """
    good, dots, bad = text.partition("..")
    if not good or not dots or bad.startswith(".") or ".." in bad:
        raise VersionError(f"--bisect is {text!r}; allowed is GOOD..BAD, two commits, branches or tags")
    ends = [
        _git("--bisect", end, "rev-parse", "--verify", f"{end}^{{commit}}").decode().strip()
        for end in (good, bad or "HEAD")
    ]
    if _git("--bisect", text, "merge-base", *ends).decode().strip() != ends[0]:
        raise VersionError(f"--bisect is {text!r}; {good} is no ancestor of {bad or 'HEAD'}, allowed is one of it")
    flags = ("--first-parent", "--reverse", "--no-show-signature", "--no-color", "--format=%H %s")
    listed = _git("--bisect", text, "log", *flags, "..".join(ends), "--", "bnbench")
    found = [Commit(*line.split(" ", 1)) for line in listed.decode(errors="replace").splitlines()]
    if not found:
        raise VersionError(f"--bisect is {text!r}; no commit after {good} up to {bad or 'HEAD'} changes the package")
    return Commit(ends[0], good), found


def _git(flag: str, given: str, *arguments: str) -> bytes:
    """What git says in this source tree to a question about what a flag gave."""
    if given.startswith("-"):
        raise VersionError(f"{flag} is {given!r}; allowed is a commit, branch or tag, not a flag of git's")
    try:
        return subprocess.run(["git", "-C", str(PACKAGE_FOLDER), *arguments], capture_output=True, check=True).stdout
    except OSError as error:
        raise VersionError(f"{flag} needs git, which cannot be run here ({error.strerror})") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else "nothing is said"
        raise VersionError(f"{flag} is {given!r}; allowed is what git knows here ({why})") from error
