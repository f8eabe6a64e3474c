"""`compare --interleaved --bisect GOOD..BAD`: the commit that made a variant slower."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnbench.commands.beside import Beside
from bnbench.commands.common import OK, REGRESSION, UsageError, print_json

if TYPE_CHECKING:
    from bnbench.compare.bisection import Tried
    from bnbench.compare.runs import Run
    from bnbench.measure.interleaved import Commit
    from bnbench.report.table import Table

MOST_CONTROLS = 3  # that are measured beside the variant that is slower


def bisect(options: argparse.Namespace, threshold: float | None) -> int:
    """Find the commit and print it; the exit code.

    BAD is measured against GOOD by all that the flags say, and what is slower once more in new processes. Then the
    commits between are measured: of the variant that is slowest by itself the cells that are slower, and controls.
    """
    from bnbench.compare import bisection, causes, verdicts
    from bnbench.measure import data, interleaved
    from bnbench.report import comparison as words
    from bnbench.temporary import TemporaryFolder

    beside, limit = Beside(options), threshold or verdicts.THRESHOLD_INTERLEAVED
    tried: dict[Commit, Tried] = {}
    try:
        good, commits = interleaved.commits(options.bisect)
        with TemporaryFolder() as room:
            before = interleaved.checkout(good.hash, room / "good", "--bisect")

            def measured(commit: Commit, name: str, wanted: set | None, say: Sequence[str]) -> tuple[Run, Run]:
                sources = {interleaved.OLD: before, interleaved.NEW: room / str(commit)}
                if not sources[interleaved.NEW].exists():
                    interleaved.checkout(commit.hash, sources[interleaved.NEW], "--bisect")
                refs = {"old_ref": good.hash, "new_ref": commit.hash}
                return beside.measured(sources, beside.folder / name, wanted=wanted, say=say, refs=refs)

            last = commits[-1]
            say = [f"note: {remark}" for remark in beside.remarks]
            old, new = measured(last, str(last), None, [*say, f"{last} against {good}, of {len(commits)} commits"])
            found = causes.compare(old, new, threshold=limit)
            slow = [each for each in found.cells if each.slowed]
            if not any(each.was == each.now == "ok" for each in found.cells):
                each = found.cells[0]
                raise UsageError(f"--bisect is {options.bisect!r}; its ends cannot be compared: {each.reason}")
            if not slow:
                return tell(options, f"Nothing to find: {last} against {good}: {words.answer(found.cells)}", "", [], {})
            variant = max(slow, key=lambda each: each.own or each.ratio or 0.0).variant
            cells = [each for each in slow if each.variant == variant]
            controls = [name for name in found.controls if name != variant][:MOST_CONTROLS]
            wanted = {(name, *each.key[1:]) for each in cells for name in (variant, *controls)}

            def measure(commit: Commit, name: str = "") -> Tried:
                what = f"{commit} {commit.subject}: {variant} against {good}"
                one, other = measured(commit, name or str(commit), wanted, [what])
                return bisection.slowdown(one.records, other.records, variant, controls)

            worst = tried[last] = measure(last, f"{last}-again")
            if worst.slowdown is None or worst.low is None or worst.slowdown < limit or worst.low <= 1:
                again = f"{variant} was slower at first, and not when measured again ({said(worst)})"
                return tell(options, f"Nothing to find: {again}.", variant, commits, tried)
            search = bisection.Search([commit.hash for commit in commits], worst.slowdown)
            known = {commit.hash: commit for commit in commits}

            def step(hash: str) -> Tried:
                tried[known[hash]] = measure(known[hash])
                return tried[known[hash]]

            left = [known[hash] for hash in search.run(step)]
    except (interleaved.VersionError, data.NoRoomError) as error:
        raise UsageError(error) from error
    answer = f"{variant} became slower in {left[-1]} ({left[-1].subject}), by {said(tried[left[-1]])} against {good}."
    if len(left) > 1:
        names = ", ".join(f"{commit} ({commit.subject})" for commit in left)
        only = f"{len(left)} commits, of which only the last can be measured"
        answer = f"{variant} became slower in one of {only}: {names}."
    others = dict.fromkeys(each.variant for each in slow if each.variant != variant)
    notes = [f"slower in {last} as well: {', '.join(others)}; --variants looks for one by itself"] if others else []
    notes.append(f"controls, the same in both: {', '.join(controls)}" if controls else "no variant served as a control")
    tell(options, answer, variant, commits, tried, left=left, found=search.found, notes=notes)
    return REGRESSION


def said(tried: Tried) -> str:
    """A slowdown in words."""
    from bnbench.report.comparison import interval

    return tried.reason if tried.slowdown is None else interval(tried.slowdown, tried.low, tried.high)


def tell(
    options: argparse.Namespace,
    answer: str,
    variant: str,
    commits: Sequence[Commit],
    tried: Mapping[Commit, Tried],
    *,
    left: Sequence[Commit] = (),
    found: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> int:
    """Print what was found, as the flags say; OK."""
    from bnbench.commands.tables import bisection

    found = found or {}
    if options.json:
        rows: list[dict[str, Any]] = [
            {"commit": commit.hash, "subject": commit.subject, "found": found.get(commit.hash, "")}
            | {name: getattr(tried.get(commit), name, None) for name in ("slowdown", "low", "high", "reason")}
            for commit in commits
        ]
        names = [commit.hash for commit in left]
        print_json(
            {"answer": answer, "variant": variant, "commit": names[0] if len(names) == 1 else ""}
            | {"candidates": names, "notes": notes, "commits": rows}
        )
        return OK
    table = commit_table(variant, commits, tried, found)
    if options.markdown:
        blocks = [f"**{answer}**", table.markdown() if table else "", "\n".join(f"- {note}" for note in notes)]
        print("\n\n".join(block for block in blocks if block))
    else:
        bisection(table, notes, answer)
    return OK


def commit_table(
    variant: str, commits: Sequence[Commit], tried: Mapping[Commit, Tried], found: Mapping[str, str]
) -> Table:
    """One row a commit that was measured, in their order."""
    from bnbench.report.table import Table, Text, number

    roles = {"good": "", "bad": "slower", "skipped": "unclear"}
    rows: list[dict[str, str | Text]] = []
    for commit in commits:
        if commit in tried:
            word = found.get(commit.hash, "")
            ratio = "" if tried[commit].slowdown is None else said(tried[commit])
            row: dict[str, str | Text] = {"commit": str(commit), f"{variant} / GOOD (95 %)": number(ratio)}
            row |= {"found": Text(word, roles.get(word, "")), "subject": commit.subject, "why": tried[commit].reason}
            rows.append(row)
    return Table.of("Commits", rows)
