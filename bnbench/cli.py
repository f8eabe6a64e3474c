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
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from bnbench.commands import audit, compare, docs, doctor, history, listing, report, show, streams, study, sweep
from bnbench.commands.common import INTERRUPTED, USAGE, UsageError
from bnbench.folder import FolderError
from bnbench.width import SettingError

HINTS = dict.fromkeys((errno.EMFILE, errno.ENFILE), "; ulimit -n raises the limit")
FILES = ("out", "folder", "folders", "pyperf", "formula", "layer", "running", "config", "data", "plugin")
FIRST_WORDS = """\
What do you have?
  a layer     bnbench audit --layer FILE.py       is its backward pass right?
  a formula   bnbench audit --formula FILE.py     is a whole gradient step right?
  statistics  bnbench audit --running FILE.npz    whose convention do they follow?
  a size      bnbench sweep --sizes 1000x30x16    which form is fastest there?
  a table     bnbench sweep --data FILE.csv --target COLUMN
  a change    bnbench compare --interleaved --old-ref main
                                                  did it make anything slower?
  nothing     bnbench sweep --preset quick        a first look, in 90 seconds
"""
LONGEST_WORD = 256  # characters, of what was given, that a line repeats in full


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and for which no file has an empty name."""

    def parse_args(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """As ever; UsageError where the name of a file or folder is empty: it would be taken for none, or for `.`."""
        options = super().parse_args(arguments)
        for name in FILES:
            given = getattr(options, name, None)
            if "" in (given if isinstance(given, list) else [given]):
                raise UsageError(f"{name} is empty; give a name, or leave it out")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise the message as a UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command, from any thread; returns the exit code."""
    with streams.guarded() as has_output, ended_by_signals():
        try:
            try:
                if not has_output:
                    raise UsageError("standard output is closed; use a terminal, a file, a pipe or /dev/null")
                options = parser().parse_args(arguments)
                return options.command(options)
            finally:
                sys.stdout.flush()
        except (UsageError, FolderError, SettingError, streams.OutputError) as error:
            return refused(error)
        except OSError as error:  # whatever the system refuses: no space, no permission, too many open files
            hint = HINTS.get(error.errno or 0, "")
            return refused(f"{error.filename or 'the system'}: {error.strerror or error}{hint}")
        except KeyboardInterrupt:
            print("bnbench: interrupted", file=sys.stderr)
            return INTERRUPTED


def refused(error: Exception | str) -> int:
    """Say in one line what was wrong; the exit code."""
    words = (word if len(word) <= LONGEST_WORD else f"{word[:100]}…{word[-20:]}" for word in str(error).split())
    print(f"bnbench: {' '.join(words)}", file=sys.stderr)
    return USAGE


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(
        prog="bnbench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Backpropagation through batch normalisation: is a gradient right, which form is fastest,\n"
        f"did a change slow it down?\n\n{FIRST_WORDS}",
        epilog="bnbench COMMAND --help has a command's flags. Exit codes: 0 fine; 1 a variant, formula or layer was\n"
        "invalid, failed or crashed; 2 wrong input; 3 compare found a regression; 130 interrupted.",
    )
    from bnbench import __version__

    top.add_argument("--version", action="version", version=f"bnbench {__version__}")
    top.set_defaults(command=first_words)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for module in (sweep, audit, study, compare, history, report, listing, show, doctor, docs):
        module.add(commands)
    return top


def first_words(options: argparse.Namespace) -> int:
    """`bnbench` alone: say what to type, by what people have.

    Nothing was done, so that the exit code is that of wrong input: a script that lost its arguments must not go on.
    """
    print(f"{FIRST_WORDS}\nbnbench --help lists all commands, bnbench docs the documentation.", file=sys.stderr)
    return USAGE


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
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


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
