"""The tables that commands print to standard output at their end."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from bnbench.commands.terminal import NARROW, WIDTH, console, wrapped

if TYPE_CHECKING:
    from bnbench.audit.rulings import Ruling
    from bnbench.compare.causes import Decomposition
    from bnbench.compare.floor import Floor
    from bnbench.compare.verdicts import Comparison
    from bnbench.proof.check import Proof
    from bnbench.record import Record
    from bnbench.report.table import Table as TextTable

WIDE = 160  # columns of a table of figures in a pipe: whoever reads it there has no use for folded rows


def _print(*parts: "Table | TextTable | str", widest: int = WIDTH) -> None:
    """Print tables, and texts wrapped to the width."""
    screen = console(widest=widest)
    for part in parts:
        if not isinstance(part, str):
            screen.print(part)
        else:
            lines = (wrapped(line, min(screen.width, WIDTH)) for line in part.split("\n"))
            screen.print("\n".join(lines), markup=False, soft_wrap=True)


def _table(title: str | None, *columns: str) -> Table:
    """An empty table, whose first column stays whole; names of columns that begin with ">" are of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False)
    for name in columns:
        right = name.startswith(">")
        whole = not table.columns
        table.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=whole)
    return table


def verdict_table(records: Sequence["Record"]) -> None:
    """Print what validation found: a line for each variant that is installed, every kind of fault, and the answer."""
    from bnbench.report import answers, tables

    table = _table(None, "variant", ">valid", ">worst error / tolerance")
    for name in dict.fromkeys(record.variant for record in records if record.status != "unavailable"):
        group = [record for record in records if record.variant == name]
        ratios = [record.max_error_ratio for record in group if record.max_error_ratio is not None]
        valid = sum(record.status == "ok" for record in group)
        table.add_row(escape(name), f"{valid} of {len(group)}", f"{max(ratios):.2g}" if ratios else "")
    if table.row_count:
        _print(table)
    faults: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if record.status != "unavailable" and (
            record.status != "ok" or record.reason
        ):  # or valid, but not wholly judged
            kind = re.sub(r"\d[\d.,e+-]*", "#", record.reason)  # reasons that differ in numbers are of one kind
            faults.setdefault((record.variant, record.status, kind), []).append(record)
    for (name, status, _), group in faults.items():
        where = f"{len(group)} cells, first " if len(group) > 1 else ""
        _print(f"{name}: {status} at {where}{group[0]}: {group[0].reason}")
    _print(answers.is_it_right(tables.frame(records)).verdict)


def variant_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the variants that can run here, and why the others cannot and how they are added."""
    kinds = ("family", "device") if console().width >= NARROW else ()
    here = _table(None, "variant", *kinds, "what it is")
    absent = _table("Not installed here", "variant", *kinds, "why")
    for row in rows:
        chosen = "".join(f"\n{name}: {words}" for name, words in row["algorithms"].items())
        said = row["description"] + chosen if row["available"] else row["reason"]
        table = here if row["available"] else absent
        table.add_row(*map(escape, (row["name"], *(row[kind] for kind in kinds), said)))
    _print(here, *(("", absent) if absent.row_count else ()))


def ruling_table(
    rulings: Sequence["Ruling"], reproduction: Sequence[Mapping[str, Any]], summary: str, folder: Path
) -> None:
    """Print the rulings on the claims, and how the question's figures were reproduced."""
    table = _table("The claims", "id", "ruling", "why")
    colours = {"holds": "green", "wrong": "red", "vacuous": "yellow"}
    for ruling in rulings:
        table.add_row(ruling.id, f"[{colours[ruling.ruling]}]{ruling.ruling}[/]", escape(ruling.reason))
    _print(table)
    printed = [row for row in reproduction if row["printed"]]
    count = sum(row["printed"] for row in printed)
    failed = [row["name"] for row in printed if not row["reproduced"]]
    digits = min(row["digits"] for row in reproduction)
    said = f"all but {', '.join(failed)}" if failed else "every one"
    _print(
        f"Following the question's code reproduces {said} of its {count} printed numbers to the last digit; its values "
        f"agree with the run in R to at least {digits:.1f} significant digits.",
        summary,
        f"Pages: {folder / 'audit.html'}, {folder / 'audit.md'}",
    )


def proof_tables(proof: "Proof", rulings: Mapping[str, "Ruling"]) -> None:
    """Print what Coq has proven, on which axioms it rests, and which theorems back which ruling."""
    from bnbench.proof import ALLOWED

    table = _table("Proven", "file", "theorems", "lines", "coqc")
    for file in proof.files:
        table.add_row(f"{file.name}.v", str(len(file.theorems)), str(file.lines), f"{file.coqc_s:.1f} s")
    _print(table)
    table = _table("The claims", "id", "ruling", "theorems")
    for name, theorems in proof.claims.items():
        table.add_row(name, rulings[name].ruling, "\n".join(theorems))
    _print(table)
    _print(
        f"{len(proof.theorems)} theorems, checked by coqc {proof.version} and by coqchk ({proof.coqchk_s:.0f} s"
        f"{', libraries too' if proof.whole else ''}). They rest on nothing but:",
        *(f"  {axiom} ({ALLOWED[axiom]})" for axiom in proof.axioms),
        "They are about real numbers: they say nothing about rounding or compilers.",
    )


def environment_table(found: Mapping[str, Any]) -> None:
    """Print what doctor found."""
    from bnbench.report.units import bytes_
    from bnbench.report.units import seconds as duration

    table = _table(None, "what", "here")
    for name, value in found["machine"].items():
        table.add_row(name.replace("_", " "), str(value))
    for name, value in found["caches"].items():
        table.add_row(f"{name} cache", value)
    for name, value in found["software"].items():
        table.add_row(name, value)
    for pool in found["libraries"]:
        words = [
            str(pool[key]) for key in ("internal_api", "version", "architecture", "threading_layer") if pool.get(key)
        ]
        table.add_row("library", f"{' '.join(words)}, {pool['num_threads']} threads ({pool['file']})")
    table.add_row("GPU", ", ".join(found["gpus"]) or "none found")
    for name, value in found["cuda"].items():
        table.add_row(f"CUDA {name}" if name == "kernels" else name, escape(value))
    cache = found["compile_cache"]
    kept = f"{cache['folder']} ({cache['files']} files, {bytes_(cache['bytes'])})" if cache["folder"] else "none"
    table.add_row("compile cache", escape(kept))
    table.add_row("clock resolution", duration(found["clock_resolution_s"]))
    table.add_row("frequency governor", found["governor"])
    table.add_row("load average", " ".join(f"{load:.2f}" for load in found["load_average"]) or "unknown")
    _print(table, "")
    if found["warnings"]:
        _print("What would make timings unreliable:", *(f"- {warning}" for warning in found["warnings"]))
    else:
        _print("Nothing was found that would make timings unreliable.")


def kernel_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what the CUDA kernels compile to."""
    table = _table(None, "kernel", "dtype", "architecture", ">registers", ">shared memory", ">spilled", ">stack")
    for row in rows:
        sizes = (row["registers"], row["shared_bytes"], row["spilled_bytes"], row["stack_bytes"])
        table.add_row(row["kernel"], row["dtype"], row["architecture"], *map(str, sizes))
    _print(table, widest=WIDE)


def comparison(
    comparisons: Sequence["Comparison"],
    variants: Sequence["Decomposition"],
    gone: Sequence[str],
    notes: Sequence[str],
    *,
    paired: bool,
    everything: bool,
) -> None:
    """Print a comparison: by variant, the cells that differ, or all, and the answer."""
    from bnbench.report import comparison as words

    shown = words.worth_showing(comparisons, everything=everything)
    verdicts = words.by_variant(comparisons, variants)
    _print(verdicts, *(("", verdicts.note) if verdicts.note else ()), widest=WIDE)
    if shown:
        table = words.cells(shown, paired)
        _print("", table, "", table.note, widest=WIDE)
    if left := words.not_shown(comparisons, shown):
        _print(f"\n{left} --all shows them.")
    _print("", *(f"note: {note}" for note in notes), words.answer(comparisons, gone))


def bisection(commits: "TextTable", notes: Sequence[str], answer: str) -> None:
    """Print the commits that a bisection has measured, and the answer."""
    _print(*((commits, "") if commits else ()), *(f"note: {note}" for note in notes), answer, widest=WIDE)


def history_tables(steps: "TextTable", changes: "TextTable", notes: Sequence[str], answer: str, page: Path) -> None:
    """Print a history's steps, as many as fit on a screen, what changed for good, and where its page lies."""
    from dataclasses import replace

    from bnbench.report.comparison import ALL_BELOW

    if steps:
        _print(replace(steps, rows=steps.rows[:ALL_BELOW]), widest=WIDE)
    if len(steps) > ALL_BELOW:
        _print(f"\n{len(steps) - ALL_BELOW} smaller steps are in history.csv.")
    if changes:
        _print("", changes, widest=WIDE)
    _print("", *(f"note: {note}" for note in notes), answer, f"\nHistory: {page}")


def floor_table(floors: Sequence["Floor"]) -> None:
    """Print the noise floor of this machine, in percent."""
    from bnbench.report.units import seconds as duration

    table = _table(
        "The same code twice, side by side", "variant", ">N", ">p1", ">p2", ">step", ">ratio", "verdict",
        ">round to round", ">pass to pass", ">can be told, interleaved", ">two runs apart",
    )  # fmt: skip
    for floor in floors:
        verdict = floor.verdict
        sizes = [str(verdict.cell[name]) for name in ("N", "p1", "p2")]
        shares = [f"{share:.2%}" for share in (floor.rounds, floor.passes, floor.interleaved, floor.apart)]
        ratio = f"{verdict.ratio:.4f}"
        table.add_row(verdict.variant, *sizes, duration(verdict.old_s or 0.0), ratio, verdict.verdict, *shares)
    worst = max(floor.interleaved for floor in floors)
    apart = max(floor.apart for floor in floors)
    false = sum(floor.verdict.verdict in ("slower", "faster") for floor in floors)
    _print(table, "", widest=WIDE)
    _print(
        f"Side by side (compare --interleaved), a difference of {worst:.1%} is found in 4 of 5 cases at every size.",
        f"Between two runs one after the other, differences up to {apart:.1%} mean nothing here.",
        f"{false} of {len(floors)} verdicts on the same code are false.",
    )
