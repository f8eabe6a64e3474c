"""A table of texts: one model for every page, rendered as Markdown, on a terminal, and in HTML by table.html.j2.

shown = Table.of("Medians", [{"variant": "loops-numba", "median": number("2.2 µs")}], note="How to read it.")
shown.markdown()       # a GitHub table
console.print(shown)   # with rich; numbers to the right, roles in their styles
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import rich.table

NOISE_MARK = "≈"  # behind a number that has something against it
NUMBERS = ("number", "best")  # roles whose columns are set to the right
STYLES = {  # of roles on a terminal
    **{"best": "bold", "status": "dim", "tie": "dim", "loops": "yellow", "matrix": "magenta"},
    **{"slower": "red", "faster": "green", "unclear": "yellow"},
}


class Text(NamedTuple):
    """A text in a table, and what it is there for.

    Attributes:
        text: as it is read.
        role: "" for words; "number"; "best" for the number of the fastest or one tied with it; "status" for a word in
            its place; "loops", "matrix" or "tie" for who wins; "slower", "faster" or "unclear" for a verdict.
        noise: what is said against the number, see measure/noise.py; it is then marked.
        key: the number to sort by, as text.
    """

    text: str
    role: str = ""
    noise: str = ""
    key: str = ""

    @property
    def marked(self) -> str:
        """The text, with `NOISE_MARK` where something is said against it."""
        return self.text + (NOISE_MARK if self.noise else "")


def number(text: str) -> Text:
    """A number with its unit."""
    return Text(text, "number")


@dataclass(frozen=True)
class Table:
    """Rows of texts under heads; false where it has no row."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    note: str = ""  # how to read it

    @classmethod
    def of(
        cls, title: str, rows: Iterable[Mapping[str, str | Text]], heads: Sequence[str] = (), note: str = ""
    ) -> Table:
        """A table from rows by head, whose missing texts are empty; the heads are those of the rows unless given."""
        given = list(rows)
        heads = tuple(heads or dict.fromkeys(head for row in given for head in row))
        texts = ([row.get(head, "") for head in heads] for row in given)
        return cls(
            title,
            heads,
            tuple(tuple(Text(text) if isinstance(text, str) else text for text in row) for row in texts),
            note,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def right(self) -> tuple[bool, ...]:
        """Of each column whether it holds numbers, which are set to the right."""
        return tuple(any(text.role in NUMBERS for text in column) for column in zip(*self.rows, strict=True))

    def texts(self, head: str) -> list[str]:
        """The texts of a column."""
        return [row[self.heads.index(head)].marked for row in self.rows]

    def markdown(self) -> str:
        """As Markdown, without title and note; "best" is bold."""
        import tabulate

        rows = [[_bold(plain(text.marked), text.role == "best") for text in row] for row in self.rows]
        align = ["right" if right else "left" for right in self.right]
        heads = [plain(head) for head in self.heads]
        return tabulate.tabulate(rows, heads, tablefmt="pipe", disable_numparse=True, colalign=align)

    def section(self, level: int = 2) -> str:
        """As Markdown under a heading, with the note."""
        parts = ("#" * level + " " + plain(self.title), plain(self.note), self.markdown())
        return "\n\n".join(part for part in parts if part)

    def __rich__(self) -> rich.table.Table:
        from rich.table import Table as Terminal
        from rich.text import Text as Styled

        shown = Terminal(
            title=Styled(self.title) if self.title else None,
            title_justify="left", box=None, header_style="bold", pad_edge=False,
        )  # fmt: skip
        for head, right in zip(self.heads, self.right, strict=True):
            shown.add_column(Styled(head), justify="right" if right else "left", overflow="fold")
        for row in self.rows:
            shown.add_row(*(Styled(text.marked, STYLES.get(text.role, "")) for text in row))
        return shown


def plain(text: str) -> str:
    """The text so that Markdown, in a table too, shows it as it is written, code in backticks apart."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text
