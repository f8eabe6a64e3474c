"""`history`: many runs in the order of their dates, and where a time made a step."""

import argparse
from pathlib import Path
from typing import Any

from bnbench.commands.common import OK, RESULTS, UsageError, as_text, command_line, default_folder, print_json
from bnbench.commands.compare import read_threshold


def add(commands: Any) -> None:
    """Add the command's parser."""
    history = commands.add_parser(
        "history",
        help="draw the medians of many runs over time and mark the steps",
        description="Put run folders in the order of their dates, draw the median of every cell over them, and mark "
        "where compare sees a step from one run to the next that has the cell, and what moved for good over ten runs "
        "or more, each with its cause. Writes DIR/history.csv, history.html and plots.",
    )
    history.add_argument("folders", metavar="RUN", nargs="*", help="run folders, in any order")
    history.add_argument("--out", metavar="DIR", help=f"folder (default: {RESULTS}/<date>-<host>-<short id>)")
    history.add_argument("--variants", metavar="A,B", help="only these variants (default: all)")
    history.add_argument("--sizes", metavar="NxP1xP2", help="only cells of these sizes; several with commas")
    history.add_argument(
        "--threshold", metavar="R", help="the ratio from which a difference matters (default: as compare's)"
    )
    history.add_argument(
        "--pytest-benchmark", metavar="FILE.json", action="append", default=[],
        help="a saved file of `pytest tests/benchmarks`, drawn beside the runs; may be repeated",
    )  # fmt: skip
    history.add_argument("--force", action="store_true", help="draw runs of different machines or settings as well")
    history.add_argument("--json", action="store_true", help="print one object a run, variant and cell as JSON")
    history.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`history`."""
    from bnbench.commands.tables import history_tables
    from bnbench.compare import history, verdicts
    from bnbench.folder import Folder
    from bnbench.measure.plan import read_size
    from bnbench.report import history_page
    from bnbench.report.tables import plain_rows

    threshold = read_threshold(options.threshold)
    if len(options.folders) + len(options.pytest_benchmark) < 2:
        raise UsageError("history takes two or more run folders, or files with --pytest-benchmark")
    try:
        sizes = [read_size(text) for text in (options.sizes or "").split(",") if text or options.sizes is not None]
        variants = as_text(options.variants).split(",") if options.variants is not None else []
        entries = history.read(options.folders, options.pytest_benchmark)
        for entry in entries:
            if entry.differs and not options.force:
                raise UsageError(
                    f"{entry.name} differs from the run before it in {'; '.join(entry.differs)}; "
                    "use runs of one machine and its settings, or --force"
                )
        entries = history.narrowed(entries, variants, sizes)
        lasting = history.lasting(entries, threshold)
        frame = history.table(entries, threshold, lasting)
    except ValueError as error:
        raise UsageError(error) from error
    if frame.empty:
        raise UsageError("none of the runs has a record that is ok; nothing can be drawn")
    notes = [remark for entry in entries if entry.run for remark in entry.run.remarks]
    notes += [f"forced: {entry.name} has another {words}" for entry in entries for words in entry.differs]
    given = f"threshold {threshold:g}" if threshold else "thresholds as compare's"
    notes.append(
        f"{given}, false discovery rate {verdicts.ALPHA:g} over all cells of two runs; of runs that were not made side "
        "by side, what the machine did meanwhile is in a step as well"
    )
    if short := history_page.too_few(entries):
        notes.append(short)
    folder = Path(options.out) if options.out else default_folder({})
    Folder(folder).claim()
    history_page.write(frame, entries, lasting, notes, folder, command(options))
    answer = history_page.answer(frame, entries, lasting)
    if options.json:
        found = [change.plain() for change in lasting]
        print_json({"answer": answer, "notes": notes, "changes": found, "medians": plain_rows(frame)})
    else:
        tables = history_page.steps(frame), history_page.changes(lasting, entries)
        history_tables(*tables, notes, answer, folder / "history.html")
    return OK


def command(options: argparse.Namespace) -> str:
    """The command that draws this history again: its flags, folders and files by name."""
    names = [Path(folder).name for folder in options.folders]
    names += [f"--pytest-benchmark {Path(file).name}" for file in options.pytest_benchmark]
    first, *flags = command_line("history", options, leave_out=("folders", "pytest_benchmark")).split(" --")
    return " --".join([" ".join([first, *names]), *flags])
