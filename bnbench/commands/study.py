"""`study`: questions about batch normalisation, answered by experiment against theory."""

import argparse
import functools
import shlex
from pathlib import Path
from typing import Any

from bnbench.commands.common import (
    INTERRUPTED,
    OK,
    RESULTS,
    UsageError,
    command_line,
    default_folder,
    print_json,
    quiet_flag,
)
from bnbench.study import PRESETS, STUDIES

WHAT_THEY_ASK = """\
Answer questions about batch normalisation by experiment against what theory says
exactly. Each study writes a page (Markdown and HTML), a CSV and plots into DIR.
  running     why are statistics averaged during training, and how should they be?
  affine      are the learnable scale and shift not redundant?
  saturation  how can saturating non-linearities be trained without batch
              normalisation or ReLU?
"""


def add(commands: "argparse._SubParsersAction") -> None:
    """Add the command's parser."""
    study = commands.add_parser(
        "study",
        help="answer three questions about batch normalisation by experiment against theory",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=WHAT_THEY_ASK,
    )
    study.add_argument("study", metavar="STUDY", nargs="?", help=f"{', '.join(STUDIES)} (default: all of them)")
    study.add_argument("--preset", choices=PRESETS, help="how much is measured (default: default)")
    study.add_argument("--out", metavar="DIR", help=f"folder (default: {RESULTS}/<date>-<host>-<short id>)")
    study.add_argument("--resume", action="store_true", help="finish what is in --out; compute only what is missing")
    quiet_flag(study)
    study.add_argument("--json", action="store_true", help="print one object a study as JSON, and nothing else")
    study.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`study`."""
    if options.study not in (None, *STUDIES):
        raise UsageError(f"study is {options.study!r}; allowed are {', '.join(STUDIES)}, or none for all")
    if options.resume and not options.out:
        raise UsageError("--resume is given without --out; allowed is --resume --out DIR")
    from bnbench import store
    from bnbench.commands.terminal import can_redraw, console
    from bnbench.folder import JOURNAL, Folder
    from bnbench.measure import environment
    from bnbench.study import Cells, page, study

    folder = Path(options.out) if options.out else default_folder({})
    begun = (folder / store.ENVIRONMENT).exists() or (folder / JOURNAL).exists()
    if begun and not options.resume:
        raise UsageError(f"{folder} holds a run already; use --resume or another --out")
    options.preset = resumed_preset(folder, options.preset) if begun else options.preset or "default"
    try:
        modules = {name: study(name) for name in ([options.study] if options.study else STUDIES)}
    except ImportError as error:  # scikit-learn, which has the data and the estimators
        raise UsageError(str(error)) from None
    command = command_line(f"study {options.study}" if options.study else "study", options, leave_out=("study",))
    written = Folder(folder).claim()
    written.begin()
    if not begun:
        plan = {"study": options.study or "all", "preset": options.preset}
        described = store.new_environment(environment.describe(), plan, command)
        store.write_json(folder / store.ENVIRONMENT, described)
    from rich.progress import Progress

    screen = console(stderr=True)
    found = []
    try:
        with (
            Progress(console=screen, transient=True, disable=options.quiet or not can_redraw(screen)) as bar,
            Cells(folder / JOURNAL) as cells,
        ):
            store.lock(cells.file, folder)
            for name, module in modules.items():
                task = bar.add_task(name, total=module.count(options.preset))
                cells.done = functools.partial(bar.advance, task)
                found.append(module.run(options.preset, cells))
                page.write(found[-1], written, command)
    except KeyboardInterrupt:
        again = f"bnbench study{f' {options.study}' if options.study else ''} --resume --out {shlex.quote(str(folder))}"
        screen.print(f"interrupted; what was computed is kept. To go on:\n  {again}", markup=False, soft_wrap=True)
        return INTERRUPTED
    if options.json:
        print_json([page.plain(one) for one in found])
    else:
        show(found, folder)
    return OK


def resumed_preset(folder: Path, preset: str | None) -> str:
    """The preset that a folder's studies were begun with; UsageError where it has none, or another is asked for."""
    from bnbench import store

    plan = store.read_environment(folder)["plan"]
    if not plan.get("study"):
        raise UsageError(f"{folder} holds a run that is no study; use another --out")
    if preset not in (None, plan["preset"]):
        raise UsageError(f"{folder} was begun with preset {plan['preset']}, not {preset}; leave the flag out")
    return plan["preset"]


def show(found: list[Any], folder: Path) -> None:
    """Print the answers, with the claims and where the pages are."""
    from bnbench.commands.terminal import console, wrapped
    from bnbench.study import page

    screen = console()
    for one in found:
        screen.print(f"{one.question}\n", style="bold", markup=False)
        screen.print(wrapped(one.answer, screen.width).replace("\n  ", "\n"), "", markup=False)
        screen.print(page.claims(one), "")
    screen.print(f"pages, tables and plots: {folder}", markup=False, soft_wrap=True)
