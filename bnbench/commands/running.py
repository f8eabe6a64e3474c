"""`audit --running`: which framework's convention running statistics follow."""

import argparse
from pathlib import Path

from bnbench.commands.common import FAULT, OK, UsageError, print_json


def identify_file(options: argparse.Namespace) -> int:
    """Print which conventions reproduce the numbers of a file; the exit code."""
    from bnbench.commands.terminal import working
    from bnbench.running import identify
    from bnbench.running.files import read

    try:
        with working(f"trying conventions on {options.running}"):
            given = read(options.running)
            found = identify(**given)
    except ValueError as error:
        raise UsageError(error) from error
    if options.json:
        print_json(found.plain())
    else:
        print(f"{Path(options.running).name}: {found}")
    return OK if found.names else FAULT
