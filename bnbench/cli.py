"""The command line, `python -m bnbench`; with the commands' modules the only code that prints or sets an exit code.

Exit codes: 0 fine; 1 a variant or formula was invalid, failed or crashed; 2 usage or input error; 3 `compare` found a
regression; 130 interrupted.
"""

import argparse
import contextlib
import errno
import signal
import sys
import threading

from bnbench.commands import audit, compare, docs, doctor, history, listing, report, streams, sweep
from bnbench.commands.common import INTERRUPTED, USAGE, UsageError
from bnbench.folder import FolderError

HINTS = dict.fromkeys((errno.EMFILE, errno.ENFILE), "; allowed are more of them, see ulimit -n")
FILES = ("out", "folder", "folders", "pyperf", "formula", "layer", "config", "data", "plugin")
LONGEST_WORD = 256  # characters, of what was given, that a line repeats in full


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and for which no file has an empty name."""

    def parse_args(self, arguments=None, namespace=None):
        """As ever; UsageError where the name of a file or folder is empty: it would be taken for none, or for `.`."""
        options = super().parse_args(arguments, namespace)
        for name in FILES:
            given = getattr(options, name, None)
            if "" in (given if isinstance(given, list) else [given]):
                raise UsageError(f"{name} is empty; allowed is a name, or to leave it out")
        return options

    def error(self, message):
        """Raise the message as a UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command, from any thread; returns the exit code."""
    with streams.guarded() as has_output, ended_by_signals():
        try:
            try:
                if not has_output:
                    raise UsageError("standard output is closed; allowed is a terminal, a file, a pipe or /dev/null")
                options = parser().parse_args(arguments)
                return options.command(options)
            finally:
                sys.stdout.flush()
        except (UsageError, FolderError, streams.OutputError) as error:
            return refused(error)
        except OSError as error:  # whatever the system refuses: no space, no permission, too many open files
            return refused(f"{error.filename or 'the system'}: {error.strerror or error}{HINTS.get(error.errno, '')}")
        except KeyboardInterrupt:
            print("bnbench: interrupted", file=sys.stderr)
            return INTERRUPTED


def refused(error) -> int:
    """Say in one line what was wrong; the exit code."""
    words = (word if len(word) <= LONGEST_WORD else f"{word[:100]}…{word[-20:]}" for word in str(error).split())
    print(f"bnbench: {' '.join(words)}", file=sys.stderr)
    return USAGE


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

    for module in (sweep, audit, compare, history, report, listing, doctor, docs):
        module.add(commands)
    return top


@contextlib.contextmanager
def ended_by_signals():
    """Have SIGTERM and SIGHUP end a command as Ctrl-C does, unless they are ignored (nohup), and put back what was."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(signum, frame):
    raise KeyboardInterrupt
