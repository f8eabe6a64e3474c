"""How results show themselves in a notebook: a small table in HTML that needs no style sheet and no script."""

from collections.abc import Iterable, Sequence
from html import escape


def table(verdict: str, heads: Sequence[str], rows: Iterable[Sequence[str | float]], notes: Iterable[str] = ()) -> str:
    """A line, a table under it (of numbers, set to the right, and texts) and notes; all is escaped."""
    lines = [f"<div><strong>{escape(verdict)}</strong>"]
    cells = ["".join(map(_cell, row)) for row in rows]
    if cells:
        top = "".join(f'<th scope="col" style="text-align: left">{escape(head)}</th>' for head in heads)
        body = "\n".join(f"<tr>{row}</tr>" for row in cells)
        lines.append(f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table>")
    lines += [f"<p>{escape(note)}</p>" for note in notes]
    return "\n".join(lines) + "</div>"


def _cell(value: str | float) -> str:
    side, text = ("left", value) if isinstance(value, str) else ("right", f"{value:.4g}")
    return f'<td style="text-align: {side}">{escape(text)}</td>'
