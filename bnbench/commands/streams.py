"""Standard output and error as a command line meets them: closed, full, without a reader, in any encoding."""

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TextIO

PLAIN = "bnbench-plain"
PLAINLY = str.maketrans({
    "×": "x", "⊗": "(x)", "⊙": "(.)", "·": "*", "−": "-", "–": "-", "—": "-", "━": "-", "╸": "-", "╺": "-", "≈": "~",
    "≤": "<=", "≥": ">=", "≠": "!=", "±": "+-", "∂": "d", "√": "sqrt", "∞": "inf", "→": "->", "’": "'", "‘": "'",
    "µ": "u", "ß": "ss", "“": '"', "”": '"',
})  # fmt: skip


class OutputError(Exception):
    """Standard output cannot be written; the message is one line."""


def plain(text: str) -> str:
    """The text in ASCII, as an engineer would type it: Γ is Gamma, × is x, and ? what has no such form."""

    def one(character: str) -> str:
        name = unicodedata.name(character, "").split()
        if name[:1] == ["GREEK"] and "LETTER" in name:
            letter = name[name.index("LETTER") + 1]
            return letter.capitalize() if "CAPITAL" in name else letter.lower()
        said = unicodedata.normalize("NFKD", character.translate(PLAINLY))
        return said.encode("ascii", "ignore").decode() or ("" if unicodedata.combining(character) else "?")

    with contextlib.suppress(UnicodeError):  # bytes of a name that the locale could not read
        text = text.encode("utf-8", "surrogateescape").decode("utf-8")
    return "".join(map(one, text))


def _plain_handler(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(PLAIN, _plain_handler)


class Stream:
    """A text stream whose failures go to a function; after one, nothing more is written."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], None]):
        self._stream, self._failed, self._lost = stream, failed, False

    def write(self, text: str) -> int | None:
        """Write, or drop the text where the stream is lost."""
        return self._try(self._stream.write, text) if not self._lost else None

    def flush(self) -> None:
        """Flush, unless the stream is lost."""
        if not self._lost:
            self._try(self._stream.flush)

    def _try(self, do: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return do(*arguments)
        except OSError as error:
            self._lost = True
            with contextlib.suppress(OSError):  # what is still buffered must not fail again when Python ends
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            return self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[bool]:
    """Standard streams that a command can rely on, for as long as it runs.

    What is written to standard error, or to an output whose reader has gone, may be lost: the work goes on. Output that
    cannot be written for another reason is an OutputError. Gives whether there is an output, or it was closed from the
    start. No file that is opened meanwhile gets the number of a closed stream, which C libraries write to.
    """
    output, errors = sys.stdout, sys.stderr
    if output is None or errors is None:
        _fill_numbers()
    handlers = {stream: stream.errors for stream in (output, errors) if isinstance(stream, io.TextIOWrapper)}
    for stream in handlers:
        stream.reconfigure(errors=PLAIN)
    try:
        with open(os.devnull, "w", encoding="utf-8") as null:
            sys.stderr = Stream(errors or null, lambda error: None)
            sys.stdout = Stream(output or null, _output_failed)
            yield output is not None
    finally:
        sys.stdout, sys.stderr = output, errors
        for stream, handler in handlers.items():
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                stream.reconfigure(errors=handler)


def _output_failed(error: OSError) -> None:
    if not isinstance(error, BrokenPipeError):
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def _fill_numbers() -> None:
    number = 0
    while number <= 2:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
