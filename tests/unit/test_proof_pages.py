"""The pages about the proof: what they name and quote is in the .v files, and nothing is left out."""

import re
import tomllib
from pathlib import Path

import pytest

from bnbench.audit.claims import rule_all
from bnbench.proof import ALLOWED, claims, sources, theorems
from bnbench.proof.source import statement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bnbench"
PAGES = {
    "proof.md": (PACKAGE / "docs/proof.md").read_text("utf-8"),
    "derivation.md": (PACKAGE / "audit/derivation.md").read_text("utf-8"),
}
SOURCES = sources()
PROVEN = ("Theorem", "Corollary", "Lemma", "Example")
CLAIMED = [name for names in claims().values() for name in names]

# Outside a Section these declare an axiom, as those of ASSUMING do anywhere.
LOCAL = ("Variable", "Variables", "Hypothesis", "Hypotheses", "Context", "Let")
ASSUMING = (
    "Axiom", "Axioms", "Parameter", "Parameters", "Conjecture", "Conjectures", "Admitted", "Abort", "Primitive",
)  # fmt: skip
LAX = ("admit", "give_up", "Admit", "Unset", "bypass_check", "type_in_type")


def plain(text):
    """Coq without its comments, which may stand in one another, and with one space for any gap."""
    kept, depth = [], 0
    for part in re.split(r"(\(\*|\*\))", text):
        depth += {"(*": 1, "*)": -1}.get(part, 0)
        if depth == 0 and part != "*)":
            kept.append(part)
    assert depth == 0
    return " ".join(" ".join(kept).split())


def sentences(text):
    """The sentences of a .v file: each ends with a full stop before a gap."""
    return re.split(r"(?<=[^.]\.)\s+|(?<=[{}])\s+", plain(text))


def named(text):
    """Every `File.theorem` of a page: what is in backticks and of that form, but axioms and files."""
    found = re.findall(r"`([A-Z]\w*\.[^`\s.]+)`", text)
    return [name for name in found if name not in ALLOWED and name != "File.theorem" and not name.endswith(".v")]


def quotes():
    """Of docs/proof.md: each row that quotes a file, as the file, what is quoted, and the theorems beside it."""
    for table in re.findall(r"(?:^\|.*\n)+", PAGES["proof.md"], re.M):
        head, _, *rows = table.splitlines()
        if found := re.search(r"in `(\w+)\.v`", head):
            for row in rows:
                _, _, quoted, beside, _ = re.split(r"(?<!\|)\|(?!\|)", row)
                yield found.group(1), re.findall(r"`([^`]+)`", quoted), named(beside)


def rows_of_section_9():
    """(label, theorems) of each row."""
    section = PAGES["derivation.md"].partition("## 9. What a machine has checked")[2].partition("\n## ")[0]
    return [(label, named(theorem)) for label, theorem in re.findall(r"^\| \(([\d.]+)\) \| (.*?) \|", section, re.M)]


# catches: a theorem cited that was renamed, moved to another file, or never was
@pytest.mark.parametrize("page", [*PAGES, "Claims.v"])
def test_every_theorem_that_a_page_names_exists(page):
    names = CLAIMED if page == "Claims.v" else named(PAGES[page])
    assert len(names) > 20
    there = {f"{file}.{name}" for file, text in SOURCES.items() for name in theorems(text, PROVEN)}
    assert not set(names) - there


# catches: an equality of the derivation with no theorem, or two rows, or a row whose equality is gone
def test_every_numbered_equality_has_one_row():
    labels = re.findall(r"^\*\*\((\d\.\d+)\)\*\*$", PAGES["derivation.md"], re.M)
    assert len(labels) > 30
    assert [label for label, _ in rows_of_section_9()] == labels
    assert all(names for _, names in rows_of_section_9())


# catches: a theorem whose comment has the number of one equality, in the row of another
def test_equalities_stand_beside_the_theorems_that_bear_their_number():
    rows = dict(rows_of_section_9())
    seen = set()
    for file in ("Forms", "Kronecker"):
        for label, name in re.findall(r"\(\* \((\d\.\d+)\)(?:(?!\*\)).)*\*\)\s+Theorem (\S+)", SOURCES[file], re.S):
            if name != "vec_product_for_Z":  # (5.10) without its last factor, as its comment says
                assert f"{file}.{name}" in rows[label]
                seen.add(label)
    assert len(seen) >= 14


# catches: a statement quoted wrong, or a file edited after it was quoted
def test_quotations_are_verbatim():
    count = 0
    for file, quoted, beside in quotes():
        assert quoted
        stated = [plain(statement(SOURCES[name.partition(".")[0]], name.partition(".")[2])) for name in beside]
        for snippet in quoted:
            count += 1
            definition = snippet.startswith(("Definition ", "Fixpoint "))
            assert any(snippet in text for text in ([plain(SOURCES[file])] if definition else stated)), snippet
    assert count > 100


# catches: a definition quoted in part, which leaves out a term at its end
def test_definitions_are_quoted_whole():
    for file, quoted, _ in quotes():
        for snippet in quoted:
            if snippet.startswith("Definition "):
                assert f"{snippet}." in sentences(SOURCES[file]), snippet


# catches: a theorem in a table about another file's formulas
def test_a_row_names_a_theorem_of_the_file_that_it_quotes():
    for file, quoted, beside in quotes():
        if not all(snippet.startswith("Definition ") for snippet in quoted):
            assert any(name.startswith(f"{file}.") for name in beside), quoted


# catches: a claim of the audit on which no theorem is said to rule, or a claim that the audit does not have
def test_every_claim_of_the_audit_has_a_row():
    ruled = [ruling.id for ruling in rule_all()]
    assert len(ruled) == 13
    assert list(claims()) == ruled


# catches: a proof left open, or something assumed in place of being proven
@pytest.mark.parametrize("file", SOURCES)
def test_nothing_is_assumed(file):
    depth = 0
    for sentence in sentences(SOURCES[file]):
        first = re.sub(r"^((Local|Global|Polymorphic|#\[\w+\])\s+)+", "", sentence).partition(" ")[0].rstrip(".:")
        assert first not in ASSUMING, sentence
        assert not set(re.findall(r"\w+", sentence)) & set(LAX), sentence
        depth += (first == "Section") - (first == "End" and sentence[4:-1] in sections(file))
        assert first not in LOCAL or depth > 0, sentence
    assert depth == 0


def sections(file):
    """The names of a file's sections, as modules end with End too."""
    return re.findall(r"\bSection (\w+)\.", plain(SOURCES[file]))


# catches: a proof that ends with Defined, Save or nothing, and so is not counted as one
@pytest.mark.parametrize("file", SOURCES)
def test_every_statement_is_proven(file):
    text = plain(SOURCES[file])
    stated = re.findall(rf"\b(?:{'|'.join((*PROVEN, 'Fact', 'Remark', 'Proposition'))}) \S", text)
    assert len(stated) == len(re.findall(r"\bQed\.", text)) > 0


# catches: a result that no page tells of
def test_every_result_is_told_of():
    told = {*named(PAGES["proof.md"]), *named(PAGES["derivation.md"]), *CLAIMED}
    results = {f"{file}.{name}" for file, text in SOURCES.items() for name in theorems(text)}
    assert not results - told


# catches: two theorems of one name, of which a page would name the wrong one
def test_names_of_results_are_unique():
    names = [name for text in SOURCES.values() for name in theorems(text)]
    assert len(names) == len(set(names)) > 100


# catches: an axiom that is allowed and not told of, or told of and no more allowed
def test_the_page_has_the_axioms_that_are_allowed():
    table = PAGES["proof.md"].partition("| axiom |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", table, re.M)) == sorted(ALLOWED)


# catches: an example of data, which shows that hypotheses can be fulfilled, that the page does not name
def test_the_page_names_every_example():
    examples = {f"{file}.{name}" for file, text in SOURCES.items() for name in theorems(text, ("Example",))}
    assert examples <= set(named(PAGES["proof.md"]))


# catches: a page that is not in the wheel, or a file named on the page that is not there
def test_the_pages_are_shipped_and_name_files_that_exist():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    files = {path for pattern in shipped["bnbench"] for path in PACKAGE.glob(pattern)}
    assert {PACKAGE / "docs/proof.md", PACKAGE / "audit/derivation.md"} <= files
    assert {PACKAGE / f"proof/{name}.v" for name in SOURCES} <= files
    for page in PAGES.values():
        for name in re.findall(r"`(\w[\w/]*\.(?:py|md|v))`", page):
            if name != "bnbench/proof/File.v":
                assert any((folder / name).exists() for folder in (ROOT, PACKAGE / "proof")), name
