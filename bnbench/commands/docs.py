"""`docs`: the pages of bnbench/docs, listed, shown, or written as a notebook."""

import argparse
import doctest
import json
import re
import sys
from pathlib import Path
from typing import Any

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
    docs.add_argument(
        "--notebook", metavar="FILE.ipynb", help="write the page as a notebook, its examples as cells to be run"
    )
    docs.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`docs`."""
    pages = {path.stem: path for path in sorted(FOLDER.glob("*.md"))}
    if options.page is None and options.notebook is not None:
        raise UsageError("--notebook takes a page: bnbench docs PAGE --notebook FILE.ipynb")
    if options.page is None:
        for name, path in pages.items():
            print(f"{name:<13} {summary(path.read_text('utf-8'))}")
        print("\nbnbench docs PAGE shows one of them.")
        return OK
    page = options.page.removesuffix(".md")
    if page not in pages:
        raise UsageError(f"page is {options.page!r}; there are {', '.join(pages)}")
    text = pages[page].read_text("utf-8")
    if options.notebook is not None:
        write_notebook(text, Path(options.notebook))
        print(f"{options.notebook}: the page {page} as a notebook")
        return OK
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


def write_notebook(text: str, path: Path) -> None:
    """Write a page as a notebook.

    Raises:
        UsageError: the file is there already, cannot be written, or is named otherwise than a notebook.
    """
    if path.suffix != ".ipynb":
        raise UsageError(f"--notebook is {str(path)!r}; the name of a notebook ends in .ipynb")
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(notebook(text), file, ensure_ascii=False, indent=1)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and is left as it is") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def notebook(text: str) -> dict[str, Any]:
    """A page in the format of notebooks, version 4.5: its Python in cells to be run, without prompts and answers."""
    text = re.sub(r"\[(\w+)\]\(\1\.md\)", r"`bnbench docs \1`", text)
    cells: list[dict[str, Any]] = []
    for place, part in enumerate(re.split(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)):
        sources = [part] if place % 2 == 0 else code_of(part)
        for source in filter(None, map(str.strip, sources)):
            cell = {"cell_type": "markdown", "id": f"cell-{len(cells)}", "metadata": {}, "source": source}
            cells.append(cell | ({"cell_type": "code", "execution_count": None, "outputs": []} if place % 2 else {}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def code_of(block: str) -> list[str]:
    """A block of Python as programs without prompts, each up to what it shows."""
    if ">>>" not in block:
        return [block]
    programs = [""]
    for example in doctest.DocTestParser().get_examples(block):
        programs[-1] += example.source
        if example.want:
            programs.append("")
    return programs
