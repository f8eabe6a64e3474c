"""`report`: a run's tables, plots and page, written again."""

import argparse
import sys
from pathlib import Path
from typing import Any

from bnbench.commands.common import conclude, write_report


def add(commands: Any) -> None:
    """Add the command's parser."""
    report = commands.add_parser("report", help="write a run's tables, plots and HTML page again")
    report.add_argument("folder", metavar="DIR", help="a run folder")
    report.add_argument("--json", action="store_true", help="print the summary rows as JSON")
    report.add_argument("--pyperf", metavar="FILE.json", help="also write the samples to a new file for pyperf")
    report.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`report`."""
    from bnbench.compare import runs
    from bnbench.folder import Folder
    from bnbench.report import pyperf

    run = runs.read(options.folder)
    folder = Folder(run.folder).claim()
    if options.pyperf:
        pyperf.write(run, options.pyperf)
        folder.adopt(options.pyperf)
    frame, more = write_report(run.folder, run.records)
    for remark in run.remarks + more:
        print(f"note: {remark}", file=sys.stderr)
    return conclude(frame, Path(options.folder), options.json, judge=False)
