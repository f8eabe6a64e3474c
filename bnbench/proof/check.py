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
        axioms: each result, as `File.name`, to the axioms that it rests on.
        coqchk_s: what the second check took; whole says whether it went through the libraries as well.
        claims: the ids of the claims under audit to the theorems that back the rulings on them.
    """

    version: str
    files: tuple[Checked, ...]
    axioms: dict[str, tuple[str, ...]]
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
            "theorems": {name: {"axioms": list(found)} for name, found in self.axioms.items()},
            "claims": {name: list(found) for name, found in self.claims.items()},
        }


def installed() -> str:
    """ "", or what is missing for the proof to be checked here and how it is installed."""
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
        whole: let coqchk go through the libraries too (a minute), in place of these files alone.
        say: is told what is being done.

    Raises:
        ProofError: Coq is not installed, a proof does not go through, or rests on an axiom that is not `ALLOWED`.
    """
    missing = installed()
    if missing:
        raise ProofError(missing)
    texts, files = sources(folder), []
    with tempfile.TemporaryDirectory(prefix="bnbench-proof-") as place:
        for name, text in texts.items():
            say(f"coqc {name}.v")
            (Path(place) / f"{name}.v").write_text(text)
            begun = time.perf_counter()
            run(place, "coqc", "-q", *HUSH, f"{name}.v")
            took = time.perf_counter() - begun
            files.append(Checked(name, tuple(theorems(text)), len(text.splitlines()), took))
        say("Print Assumptions")
        axioms = _axioms(place, [f"{file.name}.{theorem}" for file in files for theorem in file.theorems])
        say("coqchk")
        begun = time.perf_counter()
        names = [f"bnbench.{name}" for name in texts]
        run(place, "coqchk", "-silent", *(names if whole else [word for name in names for word in ("-norec", name)]))
        took = time.perf_counter() - begun
    for theorem, found in axioms.items():
        for axiom in found:
            if axiom not in ALLOWED:
                raise ProofError(f"{theorem} rests on {axiom}, which nothing proves")
    version = re.search(r"version ([\d.]+)", run(".", "coqc", "--version", paths=())).group(1)
    backed = claims(folder)
    for claim, names in backed.items():
        for name in set(names) - set(axioms):
            raise ProofError(f"{name}, which is to back {claim}, is no theorem of these files")
    return Proof(version, tuple(files), axioms, took, whole, backed)


def run(place, program, *words, paths=("-Q", ".", "bnbench")) -> str:
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


def _has_coquelicot():
    with tempfile.TemporaryDirectory(prefix="bnbench-proof-") as place:
        (Path(place) / "try.v").write_text("From Coquelicot Require Import Coquelicot.\n")
        try:
            run(place, "coqc", "-q", *HUSH, "try.v")
        except ProofError:
            return False
    return True


def _axioms(place, names):
    """Each theorem to the axioms that Coq says it rests on."""
    lines = [f"From bnbench Require {' '.join(sorted({name.partition('.')[0] for name in names}))}."]
    lines += [f'Redirect "{number}" Print Assumptions bnbench.{name}.' for number, name in enumerate(names)]
    (Path(place) / "assumptions.v").write_text("\n".join(lines))
    run(place, "coqc", "-q", *HUSH, "assumptions.v")
    found = {}
    for number, name in enumerate(names):
        printed = (Path(place) / f"{number}.out").read_text()
        found[name] = tuple(re.findall(r"^([\w.']+)\s*:", printed.partition("Axioms:")[2], re.MULTILINE))
    return found
