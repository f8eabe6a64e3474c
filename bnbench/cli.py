"""The command line, `python -m bnbench`; with the commands' modules the only code that prints or sets an exit code.

Exit codes: 0 fine; 1 a variant or formula was invalid, failed or crashed; 2 usage or input error; 3 `compare` found a
regression; 130 interrupted.
"""

import argparse
import signal
import sys

from bnbench.commands import audit, compare, history, look, sweep
from bnbench.commands.common import INTERRUPTED, OK, USAGE, UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        """Raise the message as a UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        options = parser().parse_args(arguments)
        signal.signal(signal.SIGTERM, _interrupt)
        return options.command(options)
    except UsageError as error:
        print(f"bnbench: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("bnbench: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone
        return OK


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(
        prog="bnbench",
        description="Gradients of backpropagation through batch normalisation: proven right, measured honestly.",
        epilog="Exit codes: 0 fine, 1 a variant was invalid, failed or crashed, 2 wrong input, "
        "3 compare found a regression, 130 interrupted.",
    )
    from bnbench import __version__

    top.add_argument("--version", action="version", version=f"bnbench {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    for module in (sweep, audit, compare, history, look):
        module.add(commands)
    return top


def _interrupt(signum, frame):
    raise KeyboardInterrupt
