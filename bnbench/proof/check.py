"""Coq, run on the .v files: `coqc` proves them anew, `coqchk` checks what it made by a kernel of its own."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bnbench.proof.source import ALLOWED, FOLDER, claims, sources, theorems

INSTALL = "apt-get install coq libcoq-coquelicot (Debian, Ubuntu), or opam install coq-coquelicot"
LONGEST = 200  # letters of a complaint
HUSH = ("-w", "-ambiguous-paths")  # a warning of Coquelicot's own


class ProofError(Exception):
    """The proof was not checked, or does not hold; the text says why in one line, with the file and line."""


@dataclass(frozen=True)
class Checked:
    """One file that Coq has proven: its results, how many lines it has, and what coqc took."""

    name: str
    theorems: tuple[str, ...]
    lines: int
    coqc_s: float


@dataclass(frozen=True)
class Proof:
    """What was checked.

    Attributes:
        version: of Coq.
        files: in the order in which they build on each other.
        theorems: the results, as `File.name`; those that back a ruling with the axioms that they rest on, if asked for.
        axioms: all that they rest on.
        coqchk_s: what the second check took; whole says whether it went through the libraries as well.
        claims: the ids of the claims under audit to the theorems that back the rulings on them.
    """

    version: str
    files: tuple[Checked, ...]
    theorems: dict[str, tuple[str, ...] | None]
    axioms: tuple[str, ...]
    coqchk_s: float
    whole: bool
    claims: dict[str, tuple[str, ...]]

    def plain(self) -> dict:
        """As JSON has it."""
        return {
            "coq": self.version,
            "files": [asdict(file) for file in self.files],
            "coqchk_s": self.coqchk_s,
            "libraries_checked": self.whole,
            "axioms": list(self.axioms),
            "theorems": {name: axioms and list(axioms) for name, axioms in self.theorems.items()},
            "claims": {name: list(names) for name, names in self.claims.items()},
        }


def installed() -> str:
    """What is missing for the proof to be checked here, and how it is installed; "" where nothing is."""
    missing = [name for name in ("coqc", "coqchk") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} cannot be found; {INSTALL}"
    if not _has_coquelicot():
        return f"Coq has no Coquelicot, the library of real analysis; {INSTALL}"
    return ""


def check(folder: Path = FOLDER, *, whole: bool = True, say: Callable[[str], None] = lambda text: None) -> Proof:
    """Prove everything anew, in a folder of its own, and check it by the second kernel.

    Args:
        folder: of the .v files.
        whole: ask for the axioms of each theorem that backs a ruling, beside those of all together, and let coqchk go
            through the libraries too, which takes a minute; or else through these files alone.
        say: is told what is being done.

    Raises:
        ProofError: Coq is not installed, a proof does not go through, or rests on an axiom that is not `ALLOWED`.
    """
    missing = installed()
    if missing:
        raise ProofError(missing)
    texts, backed, files = sources(folder), claims(folder), []
    names = [f"{name}.{theorem}" for name, text in texts.items() for theorem in theorems(text)]
    for claim, backing in backed.items():
        for name in set(backing) - set(names):
            raise ProofError(f"{name}, which is to back {claim}, is no theorem of these files")
    with tempfile.TemporaryDirectory(prefix="bnbench-proof-") as place:
        for name, text in texts.items():
            say(f"coqc {name}.v")
            (Path(place) / f"{name}.v").write_text(text)
            begun = time.perf_counter()
            run(place, "coqc", "-q", *HUSH, f"{name}.v")
            took = time.perf_counter() - begun
            files.append(Checked(name, tuple(theorems(text)), len(text.splitlines()), took))
        say("Print Assumptions")
        axioms = _axioms(place, names)
        each = dict.fromkeys(names)
        if whole:
            each |= _axioms_of_each(place, sorted({name for backing in backed.values() for name in backing}))
        say("coqchk")
        begun = time.perf_counter()
        for_all = [word for name in texts for word in (*(["-norec"] * (not whole)), f"bnbench.{name}")]
        run(place, "coqchk", "-silent", *for_all)
        took = time.perf_counter() - begun
    for axiom in axioms:
        if axiom not in ALLOWED:
            raise ProofError(f"the theorems rest on {axiom}, which nothing proves")
    version = re.findall(r"version ([\d.]+)", run(".", "coqc", "--version", paths=()))
    return Proof(version[0], tuple(files), each, axioms, took, whole, backed)


def run(place: str | Path, program: str, *words: str, paths: tuple[str, ...] = ("-Q", ".", "bnbench")) -> str:
    """What a program of Coq's prints; ProofError with its first complaint where it fails."""
    done = subprocess.run([program, *paths, *words], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProofError(complaint(done.stdout + done.stderr) or f"{program} ended with {done.returncode}")
    return done.stdout


def complaint(printed: str) -> str:
    """Coq's error in one line: which file, which line, and what."""
    before, error, after = printed.partition("Error:")
    places = re.findall(r'File "(?:\./)?([^"]+)", line (\d+)', before)
    text = " ".join((after if error else printed).split())
    text = text if len(text) <= LONGEST else f"… {text[-LONGEST:]}"  # after the hypotheses, which come first
    return f"{places[-1][0]} line {places[-1][1]}: {text}" if error and places else text


def _has_coquelicot() -> bool:
    with tempfile.TemporaryDirectory(prefix="bnbench-proof-") as place:
        (Path(place) / "try.v").write_text("From Coquelicot Require Import Coquelicot.\n")
        try:
            run(place, "coqc", "-q", *HUSH, "try.v")
        except ProofError:
            return False
    return True


def _axioms(place: str | Path, names: list[str]) -> tuple[str, ...]:
    """The axioms that theorems rest on, all together: each by itself would be sought from the ground up."""
    lines = [_required(names), f"Definition all := ({', '.join(f'@bnbench.{name}' for name in names)})."]
    return _printed(place, [*lines, 'Redirect "all" Print Assumptions all.'], ["all"])["all"]


def _axioms_of_each(place: str | Path, names: list[str]) -> dict[str, tuple[str, ...]]:
    """Each theorem to the axioms that Coq says it rests on."""
    lines = [f'Redirect "{name}" Print Assumptions bnbench.{name}.' for name in names]
    return _printed(place, [_required(names), *lines], names)


def _required(names: list[str]) -> str:
    return f"From bnbench Require {' '.join(sorted({name.partition('.')[0] for name in names}))}."


def _printed(place: str | Path, lines: list[str], names: list[str]) -> dict[str, tuple[str, ...]]:
    """The axioms that a file of commands prints, by the name of what they are of."""
    (Path(place) / "assumptions.v").write_text("\n".join(lines))
    run(place, "coqc", "-q", *HUSH, "assumptions.v")
    by_name = {}
    for name in names:
        printed = (Path(place) / f"{name}.out").read_text().partition("Axioms:")[2]
        by_name[name] = tuple(re.findall(r"^([\w.']+)\s*:", printed, re.MULTILINE))
    return by_name
