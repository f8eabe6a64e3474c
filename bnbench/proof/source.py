"""What the .v files say, read without Coq: their order, their theorems, and which of them back which ruling."""

import functools
import re
from pathlib import Path

FOLDER = Path(__file__).parent
KINDS = ("Theorem", "Corollary")  # the results; lemmas are tools

# What a theorem may rest on: the axioms of Coq's real numbers, and of classical logic.
ALLOWED = {
    "ClassicalDedekindReals.sig_not_dec": "of a proposition that is not not true, or is not: which",
    "ClassicalDedekindReals.sig_forall_dec": "of a decidable property of numbers: all have it, or one has not",
    "FunctionalExtensionality.functional_extensionality_dep": "functions with the same values are the same",
    "Classical_Prop.classic": "a proposition is true or it is not",
}


def sources(folder: Path = FOLDER) -> dict[str, str]:
    """Names of the .v files of a folder to their texts, each after those it requires."""
    texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.v"))}
    ordered: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for other in required(texts[name]):
                add(other)
            ordered[name] = texts[name]

    for name in texts:
        add(name)
    return ordered


def required(text: str) -> list[str]:
    """The names of the files of this folder that a file requires."""
    lines = re.findall(r"^From bnbench Require (?:Import |Export )?([^.]*)\.", text, re.MULTILINE)
    return [name for names in lines for name in names.split()]


def theorems(text: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    """The names of a file's results, in their order."""
    return re.findall(rf"^\s*(?:{'|'.join(kinds)}) ([^\s:({{]+)", text, re.MULTILINE)


def statement(text: str, name: str) -> str:
    """The statement of a theorem as its file has it."""
    match = re.search(
        rf"^\s*(?:Theorem|Corollary|Lemma) {re.escape(name)}\b.*?(?=\n\s*Proof\b)", text, re.DOTALL | re.MULTILINE
    )
    if match is None:
        raise KeyError(name)
    return match.group()


@functools.cache
def claims(folder: Path = FOLDER) -> dict[str, tuple[str, ...]]:
    """The ids of the claims under audit to the theorems that back the rulings on them, as `Claims.v` ends with."""
    table = (folder / "Claims.v").read_text().rpartition("(*")[2]
    backing: dict[str, tuple[str, ...]] = {}
    for name, row in re.findall(r"^\s*([a-z0-9-]+): ([\w, .']+)$", table, re.MULTILINE):
        theorems = (one if "." in one else f"Claims.{one}" for one in row.split(", "))
        backing[name] = (*backing.get(name, ()), *theorems)
    return backing
