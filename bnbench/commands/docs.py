"""`docs`: the pages of bnbench/docs, listed or shown."""

import sys
from pathlib import Path

from bnbench.commands.common import OK, UsageError

FOLDER = Path(__file__).parents[1] / "docs"
WIDTH = 100  # columns at most: longer lines are hard to read


def add(commands):
    """Add the command's parser."""
    docs = commands.add_parser(
        "docs",
        help="list the pages of the documentation, or show one",
        description="List the pages of the documentation, or show one: formatted on a terminal, as Markdown elsewhere.",
    )
    docs.add_argument("page", metavar="PAGE", nargs="?", help="a page's name (default: list them)")
    docs.set_defaults(command=run)


def run(options) -> int:
    """`docs`."""
    pages = {path.stem: path for path in sorted(FOLDER.glob("*.md"))}
    if options.page is None:
        for name, path in pages.items():
            print(f"{name:<13} {summary(path.read_text('utf-8'))}")
        print("\nbnbench docs PAGE shows one.")
        return OK
    path = pages.get(options.page.removesuffix(".md"))
    if path is None:
        raise UsageError(f"page is {options.page!r}; allowed are {', '.join(pages)}")
    text = path.read_text("utf-8")
    if not sys.stdout.isatty():
        print(text, end="")
        return OK
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(text, hyperlinks=False), width=min(console.width, WIDTH))
    return OK


def summary(text: str) -> str:
    """The first sentence of a page, which says what it has."""
    _title, paragraph, *_ = text.split("\n\n")
    return " ".join(paragraph.split()).partition(". ")[0].removesuffix(".")
