"""The proof as Coq checks it, and that it fails where a formula is wrong: mistakes planted in the theorems' formulas.

The exhaustive tests plant one in every third theorem; with `BNBENCH_ALL_MUTANTS=1` all, three a theorem or more.
"""

import fcntl
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from conftest import bnbench

from bnbench.proof import ProofError, check, installed, sources, theorems
from bnbench.proof.check import HUSH, run
from bnbench.proof.source import FOLDER, required

MISSING = installed()
MUTANTS = json.loads((Path(__file__).parents[1] / "proof_mutants.json").read_text())
FIRST = list({(one["file"], one["theorem"]): one for one in reversed(MUTANTS)}.values())
PLANTED = MUTANTS if os.environ.get("BNBENCH_ALL_MUTANTS") else FIRST[::3]
PROVEN = "Lemma s_positive : 0 < s t0.\n  Proof. now apply sqrt_lt_R0. Qed."
ASSUMED = "Axiom assumed : False.\n  Lemma s_positive : 0 < s t0.\n  Proof. destruct assumed. Qed."
needs_coq = pytest.mark.skipif(bool(MISSING), reason=f"the proof is not checked here: {MISSING}")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A folder in which every file is compiled; the processes of one run of tests share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "proof"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            for name, text in sources().items():
                (folder / f"{name}.v").write_text(text)
                run(folder, "coqc", "-q", *HUSH, f"{name}.v")
    return folder


# catches: a proof that no longer goes through, an axiom that is none of the real numbers', a theorem that is not there
@needs_coq
def test_coq_checks_every_file_and_nothing_is_assumed(monkeypatch):
    """By coqc; the second kernel goes through them and the libraries in the exhaustive test of the command."""

    def once(place, program, *words, **more):
        return "" if program == "coqchk" else run(place, program, *words, **more)

    monkeypatch.setattr(sys.modules[check.__module__], "run", once)
    proof = check(whole=False)
    assert {file.name for file in proof.files} == {path.stem for path in FOLDER.glob("*.v")}
    assert len(proof.theorems) == sum(len(theorems(text)) for text in sources().values()) > 100
    assert len(proof.claims) == 13


# catches: an axiom, an error or a missing theorem that is let through
@needs_coq
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("Layer", PROVEN, ASSUMED, "assumed, which nothing proves"),
        ("Layer", "(INR N - ddof) + eps", "INR N + eps", "Layer.v line"),
        ("Claims", "beta-formula: beta_formula_is", "beta-formula: beta_formula_was", "no theorem of these files"),
    ],
)
def test_what_is_not_proven_is_said(name, old, new, said, tmp_path):
    add(name, tmp_path)
    text = (tmp_path / f"{name}.v").read_text()
    assert text.count(old) == 1
    (tmp_path / f"{name}.v").write_text(text.replace(old, new))
    if name != "Claims":
        (tmp_path / "Claims.v").write_text("(* nothing *)\n")
    with pytest.raises(ProofError, match=said):
        check(tmp_path, whole=False)


def add(name, folder):
    """Copy a file and those it requires."""
    shutil.copy(FOLDER / f"{name}.v", folder)
    for other in required(sources()[name]):
        add(other, folder)


# catches: a statement that holds of another formula too, as one whose hypotheses cannot be met, or that says nothing
@needs_coq
@pytest.mark.exhaustive
@pytest.mark.parametrize("mutant", PLANTED, ids=lambda one: f"{one['file']}-{one['theorem']}-{one['says']}")
def test_a_mistake_in_a_formula_is_not_proven(mutant, compiled, tmp_path):
    name = mutant["file"].removesuffix(".v")
    text = sources()[name]
    assert text.count(mutant["old"]) == 1
    for path in compiled.glob("*.vo"):
        if path.stem != name:
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / mutant["file"]).write_text(text.replace(mutant["old"], mutant["new"]))
    with pytest.raises(ProofError) as error:
        run(tmp_path, "coqc", "-q", *HUSH, mutant["file"])
    for word in ("Syntax error", "was not found in the current environment", "has type"):
        assert word not in str(error.value), "the mistake is none of the formula's"


# catches: a command that says fine where nothing was checked
def test_where_coq_is_missing_the_command_says_how_it_is_installed(command, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = command("audit", "--proof")
    assert (found.returncode, found.stdout) == (1, "")
    assert "the proof was not checked: coqc and coqchk cannot be found; apt-get install coq" in found.stderr


# catches: a command that does not say which theorem backs which ruling; libraries that coqchk would not pass
@needs_coq
@pytest.mark.exhaustive
def test_the_command_says_what_is_proven():
    found = bnbench("audit", "--proof", "--json")
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert answer["libraries_checked"]
    assert answer["rulings"].keys() == answer["claims"].keys()
    assert all(set(named) <= set(answer["theorems"]) for named in answer["claims"].values())
