"""Standard output and error as consoles: how wide a line may be, and whether the screen can be drawn anew."""

import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType

T = TypeVar("T")

NARROW = 60  # columns, below which tables leave out what can be done without
WIDTH = 100  # columns of a line at most: longer ones are hard to read, and to paste


def console(*, stderr: bool = False, widest: int = WIDTH) -> Console:
    """A console as wide as its terminal, but not wider than `widest`; exactly that in a pipe or file.

    Colours are as rich decides by NO_COLOR, FORCE_COLOR and TERM.
    """
    made = Console(stderr=stderr, highlight=False)
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    made.width = max(20, min(made.width, widest)) if is_terminal else widest
    return made


def can_redraw(console: Console) -> bool:
    """Whether lines on this console can be drawn over; in a pipe never, even if FORCE_COLOR asks for colours there."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def wrapped(text: str, width: int, most: int = 0) -> str:
    """A text in lines of a width, the second and further ones indented; at most so many lines, 0 for all.

    Words that are longer, such as paths, stay whole.
    """
    return "\n".join(
        textwrap.wrap(
            text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False,
            max_lines=most or None, placeholder=" ...",
        )
    )  # fmt: skip


def listed(names: list[str], most: int = 3) -> str:
    """Names as a sentence has them: "a", "a and b", "a, b, c and 4 more"."""
    shown = names[:most] + ([f"{len(names) - most} more"] if len(names) > most else [])
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def say_axis(name: str, value: object) -> str:
    """A value of an axis of a cell in words."""
    if name == "threads":
        return f"{value} thread" if value == 1 else f"{value} threads"
    if name == "memory":
        return f"freed memory {value}"
    return value if isinstance(value, str) else f"{name} {value}"


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show on a terminal that something is being done, in a line that goes when it is; nothing elsewhere.

    A plain line: other people's code runs meanwhile, which may print, fork, or end the process.
    """
    screen = console(stderr=True)
    if can_redraw(screen):
        screen.print(f"{text} ...", end="", markup=False, soft_wrap=True)
    try:
        yield
    finally:
        erase_line()


def erase_line() -> None:
    """Take back what `working` shows."""
    screen = console(stderr=True)
    if can_redraw(screen):
        screen.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))


def tracked(items: list[T], what: str) -> Iterable[T]:
    """The items one by one, with a bar on a terminal's standard error."""
    from rich.progress import track

    screen = console(stderr=True)
    return track(items, what, console=screen, transient=True, disable=not can_redraw(screen))
