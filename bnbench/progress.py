"""What a sweep shows on the terminal: live progress, plain lines where there is none, and tables at the end.

Every command prints by this module, so what only some of them need is imported in their functions.
"""

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

QUIET_STATUSES = ("ok", "pruned", "unsupported")


class Progress:
    """The progress of a sweep, on stderr; a context manager.

    On a terminal a bar with the stage and the time left; elsewhere a line for each cell. What is not fine is a
    line of its own on both.
    """

    def __init__(self, plan, passes=1):
        """Show the progress of a plan, carried out so many times."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        from bnbench.measure.scheduler import Events

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal
        self.events = Events(stage=self.stage, record=self.record, cell=self.begin)
        self.current, self.parts, self.left = None, [], ""
        self.said: set[tuple] = set()
        self.bar = Bar(
            TextColumn("{task.fields[left]:>14}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self.cells = len(plan.cells())
        self.task = self.bar.add_task("starting", total=(passes + (passes > 1)) * self.cells, left="")

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *exception):
        self.flush()
        self.bar.stop()

    def say(self, text):
        """Print a line of its own."""
        self.console.print(text, markup=False)

    def stage(self, text):
        """What is being done now."""
        self.bar.update(self.task, description=text)

    def of_pass(self, number):
        """The events of one of several passes."""
        from bnbench.measure.scheduler import Events

        if not self.live:
            self.flush()
            self.say(f"pass {number}" if number else "judging")
        return Events(
            stage=lambda text: self.stage(f"pass {number}: {text}" if number else f"judging: {text}"),
            record=self.record,
            cell=lambda place, seconds: self.begin(number * self.cells + place, None),
        )

    def begin(self, place, seconds):
        """A cell begins: its place in the plan, and an estimate of the time left."""
        self.left = "" if seconds is None else f"{clock(seconds)} left"
        self.bar.update(self.task, left=self.left, completed=place)

    def record(self, record):
        """A record was written."""
        from bnbench.report.units import seconds as duration

        if record.cell != self.current:
            self.flush()
            self.current = record.cell
        text = record.status
        if text == "ok":
            text = duration(record.median_s) if record.timed else f"ok {record.max_error_ratio:.1g}"
        self.parts.append(f"{record.variant} {text}")
        fault = (record.variant, record.status, record.reason)
        if record.status not in QUIET_STATUSES and fault not in self.said:
            self.said.add(fault)  # the same at further cells is in the tables
            self.say(f"{record.variant} at {record}: {record.status}: {record.reason}")

    def flush(self):
        """End the line of the cell that is done."""
        if self.parts and not self.live:
            N, p1, p2, *setting = list(self.current.axes.values())[:6]
            left = f" ({self.left})" if self.left else ""
            self.say(f"N={N} p1={p1} p2={p2} {' '.join(setting)}: {', '.join(self.parts)}{left}")
        self.parts = []


def clock(seconds) -> str:
    """Minutes and seconds."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def _print(*tables):
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for table in tables:
        console.print(table, markup=False) if isinstance(table, str) else console.print(table)


def _table(title, *columns):
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def verdict_table(records):
    """Print what validation found: one line a variant and setting of activation, and every fault."""
    table = _table("Validation", "variant", "activation", "normalization", ">valid", ">worst error / tolerance")
    groups = {}
    for record in records:
        key = (record.variant, record.cell.problem.activation, record.cell.problem.normalization)
        groups.setdefault(key, []).append(record)
    for key, group in groups.items():
        valid = sum(record.status == "ok" for record in group)
        ratios = [r.max_error_ratio for r in group if r.max_error_ratio is not None]
        worst = f"{max(ratios):.2g}" if ratios else ""
        table.add_row(*map(escape, key), f"{valid} of {len(group)}", worst)
    _print(table)
    faults = {}
    for record in records:
        if record.status != "ok" or record.reason:  # valid, as far as it could be judged
            faults.setdefault((record.variant, record.status, record.reason), []).append(record)
    for (name, status, reason), group in faults.items():
        where = f"{len(group)} cells, first " if len(group) > 1 else ""
        _print(f"{name}: {status} at {where}{group[0]}: {reason}")


def variant_table(rows):
    """Print the variants."""
    table = _table(None, "variant", "family", "device", "here", "what it is")
    for row in rows:
        here = "yes" if row["available"] else f"no: {row['reason']}"
        chosen = "".join(f"\n{name}: {words}" for name, words in row["algorithms"].items())
        table.add_row(row["name"], row["family"], row["device"], escape(here), escape(row["description"] + chosen))
    _print(table)


def ruling_table(rulings, reproduction, summary, folder):
    """Print the rulings on the claims, and how the question's figures were reproduced."""
    table = _table("The claims", "id", "ruling", "why")
    table.columns[0].no_wrap = True
    colours = {"holds": "green", "wrong": "red", "vacuous": "yellow"}
    for ruling in rulings:
        table.add_row(ruling.id, f"[{colours[ruling.ruling]}]{ruling.ruling}[/]", escape(ruling.reason))
    _print(table)
    printed = [row for row in reproduction if row["printed"]]
    count = sum(row["printed"] for row in printed)
    failed = [row["name"] for row in printed if not row["reproduced"]]
    digits = min(row["digits"] for row in reproduction)
    said = f"but for {', '.join(failed)}" if failed else "every one"
    print(f"The question's {count} printed numbers, its code followed: {said} reproduced to the last printed digit;")
    print(f"its values agree with the run in R to at least {digits:.1f} significant digits.")
    print(f"{summary}\nPages: {folder / 'audit.html'}, {folder / 'audit.md'}")


def proof_tables(proof, rulings):
    """Print what Coq has proven, on which axioms it rests, and which theorems back which ruling."""
    from bnbench.proof import ALLOWED

    table = _table("Proven", "file", "theorems", "lines", "coqc")
    for file in proof.files:
        table.add_row(f"{file.name}.v", str(len(file.theorems)), str(file.lines), f"{file.coqc_s:.1f} s")
    _print(table)
    table = _table("The claims", "id", "ruling", "theorems")
    table.columns[0].no_wrap = True
    for name, theorems in proof.claims.items():
        table.add_row(name, rulings[name].ruling, "\n".join(theorems))
    _print(table)
    print(
        f"{len(proof.theorems)} theorems, checked by coqc {proof.version} and by coqchk ({proof.coqchk_s:.0f} s"
        f"{', libraries too' if proof.whole else ''}). They rest on nothing but:"
    )
    for axiom in proof.axioms:
        print(f"  {axiom} ({ALLOWED[axiom]})")
    print("They speak of real numbers: rounding and compilers are not their subject.")


def environment_table(found):
    """Print what doctor found."""
    from bnbench.report.units import bytes_
    from bnbench.report.units import seconds as duration

    table = _table(None, "what", "found")
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
    _print(table)
    _print("")
    if found["warnings"]:
        _print("What would make timings unreliable:")
        for warning in found["warnings"]:
            _print(f"  - {warning}")
    else:
        _print("Nothing found that would make timings unreliable.")


def tracked(items, what):
    """The items one by one, with a bar on a terminal's standard error."""
    from rich.progress import track

    return track(items, what, console=Console(stderr=True), transient=True)


def kernel_table(rows):
    """Print what the CUDA kernels compile to."""
    table = _table(None, "kernel", "dtype", "architecture", ">registers", ">shared memory", ">spilled", ">stack")
    for row in rows:
        sizes = (row["registers"], row["shared_bytes"], row["spilled_bytes"], row["stack_bytes"])
        table.add_row(row["kernel"], row["dtype"], row["architecture"], *map(str, sizes))
    _print(table)


def summary_table(frame, folder):
    """Print how a sweep ended."""
    counts = frame["status"].value_counts()
    table = _table(None, "variant", *(f">{status}" for status in counts.index), ">worst error / tolerance")
    for name in dict.fromkeys(frame["variant"]):
        rows = frame[frame["variant"] == name]
        numbers = [str((rows["status"] == status).sum()) for status in counts.index]
        worst = rows["max_error_ratio"].max()
        table.add_row(escape(name), *numbers, "" if worst != worst else f"{worst:.2g}")
    _print(table)
    _print(f"\nReport: {folder / 'report.html'}")


def comparison(comparisons, gone, notes, *, paired, everything):
    """Print a comparison: by variant, the cells that differ, or all, and the answer."""
    from bnbench.report import comparison as words

    shown = words.worth_showing(comparisons, everything=everything)
    _print(words.by_variant(comparisons))
    if shown:
        table = words.cells(shown, paired)
        _print("", table, "", table.note)
    if left := words.not_shown(comparisons, shown):
        _print(f"\n{left} --all shows them.")
    _print("", *(f"note: {note}" for note in notes), words.answer(comparisons, gone))


def steps_table(steps, notes, answer, page):
    """Print the steps of a history, as many as fit on a screen, and where its page lies."""
    from dataclasses import replace

    from bnbench.report.comparison import ALL_BELOW

    if steps:
        _print(replace(steps, rows=steps.rows[:ALL_BELOW]))
    if len(steps) > ALL_BELOW:
        _print(f"\n{len(steps) - ALL_BELOW} smaller steps more are in history.csv.")
    _print("", *(f"note: {note}" for note in notes), answer, f"\nHistory: {page}")


def floor_table(floors):
    """Print the noise floor of this machine, in percent."""
    from bnbench.report.units import seconds as duration

    table = _table(
        "The same code twice, side by side", "variant", ">N", ">p1", ">p2", ">step", ">ratio", "verdict",
        ">round to round", ">pass to pass", ">can be told, interleaved", ">two runs apart",
    )  # fmt: skip
    for found in floors:
        verdict = found.verdict
        sizes = [str(verdict.cell[name]) for name in ("N", "p1", "p2")]
        shares = [f"{share:.2%}" for share in (found.rounds, found.passes, found.interleaved, found.apart)]
        ratio = f"{verdict.ratio:.4f}"
        table.add_row(verdict.variant, *sizes, duration(verdict.old_s), ratio, verdict.verdict, *shares)
    _print(table)
    worst = max(found.interleaved for found in floors)
    apart = max(found.apart for found in floors)
    _print(
        "", f"Side by side (compare --interleaved), a difference of {worst:.1%} is found in 4 of 5 cases at every size."
    )
    _print(f"Of two runs one after the other, differences up to {apart:.1%} say nothing here.")
    false = sum(found.verdict.verdict in ("slower", "faster") for found in floors)
    _print(f"{false} of {len(floors)} verdicts on the same code are false.")
