"""`show`: a variant's formula, and its source to take away."""

import argparse
import sys
from pathlib import Path

from bnbench.commands.common import OK, UsageError, print_json
from bnbench.show import INSTEAD, SOURCES

LANGUAGES = tuple(dict.fromkeys(source.language for source in SOURCES.values()))


def add(commands: "argparse._SubParsersAction") -> None:
    """Add the command's parser."""
    show = commands.add_parser(
        "show",
        help="print a variant's formula and a source file of it that runs without bnbench",
        description="Print a variant's formula (to standard error) and a source file that computes what it does and "
        "runs without bnbench: any number of layers, statistics of the batch, frozen or none, every activation and "
        "loss. Linear terms and unit effects are left out.",
    )
    show.add_argument(
        "variant", metavar="VARIANT", nargs="?", help="the name of a variant (default: list what there is)"
    )
    show.add_argument(
        "--language", metavar="LANGUAGE", help=f"the same form in another language: {', '.join(LANGUAGES)}"
    )
    show.add_argument("--out", metavar="FILE", help="write the source there; the file must be new")
    show.add_argument("--json", action="store_true", help="print variant, formula, language and source as JSON")
    show.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`show`."""
    if options.variant is None:
        if options.out is not None:
            raise UsageError("--out needs a VARIANT; bnbench show lists them")
        return overview(options)
    name = chosen(options.variant, options.language)
    from bnbench.variants.registry import find

    cls, source = find(name), SOURCES[name]
    formula = cls.formula if cls else ""
    text = source.text
    if options.out is not None:
        write(Path(options.out), text)
    if options.json:
        print_json({"variant": name, "formula": formula, "language": source.language, "source": text})
        return OK
    print(f"{name}\n{formula}\n", file=sys.stderr)
    if options.out is None:
        print(text, end="")
    else:
        print(f"Source: {options.out}")
    return OK


def overview(options: argparse.Namespace) -> int:
    """List what can be shown, in a language if one is asked for, and what to take instead of the rest."""
    wanted = language(options.language)
    shown = {name: source for name, source in SOURCES.items() if wanted in (None, source.language)}
    if options.json:
        print_json([{"variant": name, "form": one.form, "language": one.language} for name, one in shown.items()])
        return OK
    for name, source in shown.items():
        print(f"{name:<21} {source.form:<7} {source.language:<9} {source.file}")
    print("\nbnbench show VARIANT prints one of them, --out FILE writes it.")
    if wanted is None:
        print("There is no file of these:")
        for name, (other, why) in INSTEAD.items():
            print(f"{name:<21} take {other}: {why}")
    return OK


def language(given: str | None) -> str | None:
    """One of `LANGUAGES`, in whatever case it was given; None for None."""
    if given is None:
        return None
    known = {one.lower(): one for one in LANGUAGES}
    if given.lower() not in known:
        raise UsageError(f"language is {given!r}; allowed are {', '.join(LANGUAGES)}")
    return known[given.lower()]


def chosen(name: str, wanted: str | None) -> str:
    """The variant to show: the one that is named, or of its form the first in the language that is wanted."""
    if name in INSTEAD:
        other, why = INSTEAD[name]
        raise UsageError(f"there is no source file of {name}; take {other}: {why}")
    if name not in SOURCES:
        raise UsageError(f"variant is {name!r}; there are sources of {', '.join(SOURCES)}")
    wanted, form = language(wanted), SOURCES[name].form
    if wanted in (None, SOURCES[name].language):
        return name
    others = {source.language: other for other, source in reversed(SOURCES.items()) if source.form == form}
    if wanted not in others:
        raise UsageError(f"the form of {name} has no source in {wanted}; there are {', '.join(others)}")
    return others[str(wanted)]


def write(path: Path, text: str) -> None:
    """Write a new file.

    Raises:
        UsageError: there is one already.
    """
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists; give --out a name that is new") from None
