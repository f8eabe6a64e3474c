"""`docs`: the pages of bnbench/docs, listed or shown."""

import argparse
import sys
from pathlib import Path

from bnbench.commands.common import OK, UsageError

FOLDER = Path(__file__).parents[1] / "docs"


def add(commands: "argparse._SubParsersAction") -> None:
    """Add the command's parser."""
    docs = commands.add_parser(
        "docs",
        help="list the pages of the documentation, or show one",
        description="List the pages of the documentation, or show one: formatted on a terminal, as Markdown in a pipe "
        "or file (bnbench docs PAGE | less).",
    )
    docs.add_argument("page", metavar="PAGE", nargs="?", help="the name of a page (default: list all pages)")
    docs.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`docs`."""
    pages = {path.stem: path for path in sorted(FOLDER.glob("*.md"))}
    if options.page is None:
        for name, path in pages.items():
            print(f"{name:<13} {summary(path.read_text('utf-8'))}")
        print("\nbnbench docs PAGE shows one of them.")
        return OK
    page = options.page.removesuffix(".md")
    if page not in pages:
        raise UsageError(f"page is {options.page!r}; there are {', '.join(pages)}")
    text = pages[page].read_text("utf-8")
    if not sys.stdout.isatty():
        print(text, end="")
        return OK
    from rich.markdown import Markdown

    from bnbench.commands.terminal import console

    console().print(Markdown(text, hyperlinks=False))
    return OK


def summary(text: str) -> str:
    """The first sentence of a page, which says what it has."""
    _title, paragraph, *_ = text.split("\n\n")
    return " ".join(paragraph.split()).partition(". ")[0].removesuffix(".")
