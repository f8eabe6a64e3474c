"""README.md, the pages of bnbench/docs and CONTRIBUTING: their examples run, their figures and names are the code's."""

import ast
import functools
import graphlib
import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import api
import numpy as np
import pandas as pd
import pytest
from rich.cells import cell_len

from bnbench import cli
from bnbench.measure.noise import WORDS
from bnbench.measure.roofline import with_best
from bnbench.record import FAULTS
from bnbench.report import answers, tables, units
from bnbench.report.tables import COLUMNS
from bnbench.store import read_environment, read_journal
from bnbench.variants.registry import HOMES

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", *sorted((ROOT / "bnbench/docs").glob("*.md")), ROOT / ".github/CONTRIBUTING.md"]
PAGES = {path.stem: path.read_text("utf-8") for path in FILES}
DOCS = [path.stem for path in FILES[1:] if path.stem != "CONTRIBUTING"]
STORED = ROOT / "results" / "epyc-2-cores"
NEEDS = {  # packages of a page's programs
    "gradient": ("sklearn", "torch", "jax"),
    "panel": ("linearmodels",),
    "beyond": ("dask", "joblib"),
}
BEFORE = "results/before"  # the run that the pages speak of
# Measured, proven or installed for minutes: that these commands are understood is tested here, what they do elsewhere.
MEASURE = re.compile(r"bnbench (sweep|compare --interleaved|doctor --|audit( --out \S+| --proof)?$)")
INSTALL = re.compile(r"pip install -e '\.\[(\w+)\]'")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.M | re.S)


def consoles(page):
    """The commands of a page's consoles, each with the output shown, one list a console."""
    for block in blocks(page, "console"):
        parts = re.split(r"^\$ ", block, flags=re.M)[1:]
        yield [(command.strip(), shown) for command, _, shown in (part.partition("\n") for part in parts)]


def files(page):
    """The files that a page shows, by name."""
    named = (re.match(r"# (\w+\.py)\n", block) for block in blocks(page, "python"))
    return {found[1]: found.string for found in named if found}


def words(command):
    """A command of bnbench's as its arguments."""
    return shlex.split(re.sub(r"^(\.venv/bin/)?(python -m )?bnbench ", "", command), comments=True)


def commands():
    """Every command of bnbench's on any page: in consoles, in the text, in tables and in indented lines."""
    for text in PAGES.values():
        yield from re.findall(r"^\$ (bnbench .*)$", text, re.M)
        yield from re.findall(r"`((?:python -m )?bnbench (?!--)[^`]+)`", text)
        yield from re.findall(r"^ {4}((?:python -m )?bnbench .*?)(?:  .*)?$", text, re.M)


RUN = "import json, sys; from bnbench.cli import main; sys.exit(main(json.load(sys.stdin)))"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the pages show and speak of, and two runs: one real sweep and its copy."""
    folder = tmp_path_factory.mktemp("pages")
    for page in PAGES:
        for name, text in files(page).items():
            assert not (folder / name).exists() or (folder / name).read_text("utf-8") == text, f"{name} differs"
            (folder / name).write_text(text, "utf-8")
    table = np.random.default_rng(0).normal(size=(40, 4))
    pd.DataFrame(table, columns=["rooms", "age", "price", "rates"]).to_csv(folder / "houses.csv", index=False)
    done = run(f"bnbench sweep --sizes 10x4x4,20x4x4 --variants matrix-numpy --sampling 0.02 --out {BEFORE}", folder)
    assert done.returncode == 0, done
    assert done.stdout.endswith(f"Report: {BEFORE}/report.html\n")
    shutil.copytree(folder / BEFORE, folder / "results/after")
    return folder


def python(program, given, folder):
    """A program in a process of its own, with what it reads as JSON."""
    arguments = {"input": json.dumps(given), "capture_output": True, "text": True, "timeout": 300, "check": False}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=ENVIRONMENT, **arguments)


def run(command, folder):
    """A command of bnbench's in a folder."""
    return python(RUN, words(command), folder)


def said(text):
    """A text without its line breaks, and without the digits of its decimals, which are another machine's."""
    return re.sub(r"\d+\.\d+(e[+-]?\d+)?|\de[+-]?\d+", "#", " ".join(text.split()))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")])
def test_the_commands_of_a_page_give_what_it_shows(page, place):
    # catches: a flag that is gone, an output that has changed, an exit code that is another
    for console in consoles(page):
        code, done = 0, None
        for command, shown in console:
            if command == "echo $?":
                assert code == int(shown)
                code = 0
                continue
            assert code == 0, (page, done)
            if not command.startswith("bnbench "):
                path = next(word for word in shlex.split(command) if "/" in word or "[" in word)
                assert INSTALL.search(command) or (ROOT / path).exists(), command
            elif not MEASURE.match(command):
                done = run(command, place)
                code = done.returncode
                assert said(shown) in ("", said(done.stdout)), (page, command, done)
        assert code == 0, (page, done)


PLAN = """
import json, sys
from bnbench import cli
from bnbench.commands.plans import make_plan
for words in json.load(sys.stdin):
    try:
        options = cli.parser().parse_args(words)
        if words[0] in ("sweep", "verify") and not {"FILE.csv", "FILE.py", "FILE.toml", "NAME"} & set(words):
            make_plan(options, {})
    except Exception as error:
        print(*words, "is refused:", error)
"""


def test_every_command_of_every_page_is_understood(place):
    # catches: a flag, a preset, a variant or a column that a page has and the command line has not
    given = [words(command) for command in dict.fromkeys(commands())]
    assert len(given) > 30
    done = python(PLAN, given, place)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert all(re.match(r"[a-z]", first) for first, *_ in given)


def test_flags_extras_and_links_of_the_pages_are_there():
    # catches: a flag that no command has, an extra not in pyproject.toml, a link to a page or heading that is gone
    options = {flag for command in _subparsers() for flag in command._option_string_actions}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for path in FILES:
        text = PAGES[path.stem]
        assert set(re.findall(r"`(--[a-z0-9-]+)", text, re.I)) <= options, path
        assert set(INSTALL.findall(text)) <= set(extras), path
        for link, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", text):
            target = path.parent / link if link else path
            assert target.exists(), (path, link)
            assert not anchor or anchor in headings(target.read_text("utf-8")), (path, link, anchor)


def headings(text):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_page_of_names_is_the_codes():
    # catches: a name, argument, default or type that is new, gone or another: `python -m tests.api` writes the page
    pytest.importorskip("sklearn")
    assert PAGES["api"] == api.page()
    for name in api.bnbench.__all__:
        assert f"### `{name}`\n" in PAGES["api"], name


def _subparsers():
    action = next(action for action in cli.parser()._actions if hasattr(action, "choices") and action.choices)
    return action.choices.values()


PERFORM = """
import doctest, json, sys
names, failed = {"__name__": "__main__"}, 0
for block in json.load(sys.stdin):
    if ">>>" in block:
        test = doctest.DocTestParser().get_doctest(block, names, "page", None, 0)
        failed += doctest.DocTestRunner().run(test, clear_globs=False).failed
        names.update(test.globs)
    else:
        exec(compile(block, "page", "exec"), names)
sys.exit(bool(failed))
"""


@pytest.mark.parametrize("page", [page for page in PAGES if len(blocks(page, "python")) > len(files(page))])
def test_the_programs_of_a_page_run_one_after_the_other(page, place):
    # catches: an example that lacks an import, calls what is gone, or gives another number than it shows
    for name in NEEDS.get(page, ()):
        pytest.importorskip(name)
    programs = [block for block in blocks(page, "python") if block not in files(page).values()]
    done = python(PERFORM, programs, place)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def trained():
    """The gradient page's block that trains, run; the names it leaves behind."""
    names = {}
    exec(next(block for block in blocks("gradient", "python") if "load_diabetes" in block), names)
    return names


def test_the_training_example_learns():
    # catches: an example whose loss does not fall
    pytest.importorskip("sklearn")
    curve = trained()["curve"]
    assert curve[-1] < 0.5 < curve[0]


def test_the_training_example_against_pytorch():
    # catches: parameters that a prepared gradient does not take anew, a gradient that is off by a factor
    pytest.importorskip("sklearn")
    torch = pytest.importorskip("torch")
    names = trained()
    X, y = (torch.from_numpy(np.ascontiguousarray(names[name])) for name in ("X", "y"))
    random = np.random.default_rng(0)
    p1, p2 = names["p1"], names["p2"]
    start = random.normal(size=(p1, p2)), np.ones(p2), np.zeros(p2), random.normal(size=p2) / p2
    parameters = [torch.tensor(value, requires_grad=True) for value in start]
    curve = []
    for _ in names["curve"]:
        G1, gamma, beta, G2 = parameters
        B = torch.nn.functional.batch_norm(X @ G1, None, None, gamma, beta, training=True, eps=1e-5)
        loss = torch.nn.functional.mse_loss(torch.tanh(B) @ G2, y)
        curve.append(loss.item())
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter -= 0.1 * slope
    np.testing.assert_allclose(names["curve"], curve, rtol=1e-9)


KINDS = {  # of the tables' columns: which variants each takes the fastest of
    "loops-python": ["loops-python"],
    "compiled loops": ["loops-numba", "loops-numba-parallel"],
    "matrix form": ["matrix-numpy", "matrix-numba", "matrix-kronecker"],
    "fused-numba": ["fused-numba"],
    "C++, Pythran": ["loops-cpp", "matrix-eigen", "loops-pythran", "matrix-pythran"],
    "framework": ["autograd", "torch-eager", "torch-compile", "jax-jit", "tensorflow-xla"],
    "in R": ["r-loop", "r-matrix", "rcpp-loop"],
}
CELL = ["N", "p1", "p2"]
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


@pytest.fixture(scope="module")
def stored():
    return pd.read_csv(STORED / "summary.csv").assign(
        kind=lambda table: table["variant"].map({name: kind for kind, names in KINDS.items() for name in names})
    )


@pytest.mark.parametrize(("page", "rows"), [("README", 4), ("sweep", 11)])
def test_a_table_of_times_is_the_stored_runs(page, rows, stored):
    # catches: a time of another run, a winner that is not bold, bold where the intervals say otherwise
    table = re.search(r"^(\| N \| p1 .*\n)\|[-|]+\n((?:\|.*\n)+)", PAGES[page], re.M)
    heads, *lines = ([word.strip() for word in line.strip("| ").split("|")] for line in
                     [table[1].strip(), *table[2].splitlines()])  # fmt: skip
    assert len(lines) == rows
    for line in lines:
        here = stored[(stored[CELL] == [int(word.replace(" ", "")) for word in line[:3]]).all(axis=1)]
        best = here[here["status"] == "ok"].sort_values("median_s").drop_duplicates("kind").set_index("kind")
        best = best.loc[best.index.intersection(heads)]
        for kind, shown in zip(heads[3:], line[3:], strict=True):
            if kind not in best.index:
                assert shown in here.loc[here["kind"] == kind, "status"].values, (line, kind)
                continue
            number, unit, *name = shown.replace("*", "").split()
            assert float(number) == float(f"{best['median_s'][kind] / UNITS[unit]:.2g}"), (line, kind)
            assert name in ([], [best["variant"][kind]]), (line, kind)
            tied = best["ci_low_s"][kind] <= best.loc[best["median_s"].idxmin(), "ci_high_s"]
            assert shown.startswith("**") == tied, (line, kind)


def test_what_is_said_of_the_stored_run_is_what_its_intervals_say(stored):
    # catches: ties that are counted as won, a factor from a median too noisy to rank, a count or ratio of another run
    rows = stored[stored["status"] == "ok"].sort_values("median_s")
    cells = len(stored.drop_duplicates(CELL))

    def best(names):
        return rows[rows["variant"].isin(names)].drop_duplicates(CELL).set_index(CELL)

    def against(one, other):
        """Cells that one wins and loses; and other's medians over one's at all of them, NaN where one is noisy."""
        one, other = best(one).align(best(other), join="inner", axis=0)
        won, lost = one["ci_high_s"] < other["ci_low_s"], other["ci_high_s"] < one["ci_low_s"]
        noisy = one["noise"].str.contains("noisy", na=False) | other["noise"].str.contains("noisy", na=False)
        return won, lost, (other["median_s"] / one["median_s"]).mask(noisy)

    loops, matrix, ratio = against(KINDS["compiled loops"], KINDS["matrix form"])
    wide = matrix[matrix.index.get_level_values("p1") == 256]
    said = [
        f"beat the matrix form** in {loops.sum()} of the {len(ratio)} cells that both finished, by up to "
        f"{ratio[loops].max():.2g} times, and tie in {(~loops & ~matrix).sum()}",
        f"wins** in {matrix.sum()}, by up to {1 / ratio[matrix].min():.1f} times",
        f"in {wide.sum()} of {len(wide)} cells with p1 = 256",
    ]
    *_, slow = against(["loops-numba"], ["loops-python"])
    least, most = (float(f"{factor:.2g}") for factor in (slow.min(), slow.max()))
    said.append(f"take {least:.0f} to {most:.0f} times as long as `loops-numba`")
    literal, *_ = against(["matrix-numpy"], ["matrix-kronecker"])
    assert literal.all()
    refused = stored.loc[stored["variant"] == "matrix-kronecker", "status"].eq("unsupported").sum()
    said.append(
        f"slower than `matrix-numpy` at all {len(literal)} cells where they were timed, and at {refused} are refused, "
        "since they do not fit into 1 GiB"
    )
    won, lost, _ = against(["matrix-eigen"], ["loops-cpp"])
    said.append(f"the matrix form beats loops in {won.sum()} of {len(won)} cells and loses in {lost.sum()}")
    won, lost, _ = against(["loops-pythran"], ["matrix-pythran"])
    said.append(f"Through Pythran loops win in {won.sum()} and lose in {lost.sum()}")
    others = [name for names in KINDS.values() for name in names if name != "fused-numba"]
    first, beaten, _ = against(["fused-numba"], others)
    fused = f"fastest in {first.sum()} of {cells} cells and ties with the fastest in {(~first & ~beaten).sum()}"
    lost = ", ".join(f"{units.count(N)} × {p1} × {p2} ({best(others).loc[(N, p1, p2), 'variant']})"
                     for N, p1, p2 in beaten[beaten].index)  # fmt: skip
    said += [fused, f"It loses in {beaten.sum()}: {lost}"]
    *_, classic = against(["fused-numba"], KINDS["compiled loops"] + KINDS["matrix form"])
    frameworks, _, theirs = against(["fused-numba"], KINDS["framework"])
    assert frameworks.all()
    said.append(f"up to {classic.max():.0f} times as fast as the best loop or matrix form, and {theirs.min():.2g} to "
                f"{theirs.max():.0f} times as fast as the fastest framework, ahead of it everywhere")  # fmt: skip
    ahead, *_ = against(KINDS["framework"], KINDS["compiled loops"] + KINDS["matrix form"])
    assert min(N for N, *_ in ahead[ahead].index) == 10_000
    said.append(f"a framework is faster in {ahead.sum()} cells, all with N from 10 000 on")
    in_python, _, by = against(["matrix-numpy"], ["loops-python"])
    assert in_python.all()
    in_R, *_ = against(["r-matrix"], ["r-loop"])
    said.append(
        f"by up to {units.grouped(float(f'{by.max():.2g}'), 0)} times, and in R in {in_R.sum()} of {len(in_R)} cells"
    )
    said.append(f"{rows['noise'].str.contains('noisy').sum()} of its {len(rows)} medians are marked noisy")
    quick = pd.read_csv(ROOT / "results/quick-2-cores/summary.csv")
    here = quick[(quick["variant"] == "matrix-numpy") & (quick[CELL] == [1000, 32, 32]).all(axis=1)].set_index("memory")
    returned, kept = (f"{1e3 * here['median_s'][memory]:.2g}" for memory in ("returned", "kept"))
    said.append(f"it took {returned} ms at (1 000, 32, 32), and {kept} ms with `--keep-memory`")
    text = plain(PAGES["sweep"])
    assert [sentence for sentence in said if plain(sentence) not in text] == []
    assert f"in {loops.sum()} of {len(ratio)} cells and lose in {matrix.sum()}" in plain(PAGES["README"])
    assert fused in plain(PAGES["README"])


RUNS = sorted(set(re.findall(r"results/([\w-]+)/summary\.md", PAGES["sweep"])))


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_is_whole_and_its_answer_is_on_the_page(name):
    # catches: figures of an earlier run, a gradient that was wrong, a page that was not written again
    run = ROOT / "results" / name
    records, remarks = read_journal(run)
    assert remarks == []
    table = tables.frame(with_best(records, read_environment(run)["rooflines"]))
    assert {record.status for record in records}.isdisjoint(FAULTS)
    assert len(pd.read_csv(run / "summary.csv")) == len(records)
    right, fastest, _ = answers.answers(table)
    for written in filter(Path.exists, (run / "summary.md", run / "report.html")):
        text = html.unescape(written.read_text("utf-8"))
        assert all(answer.verdict in text for answer in (right, fastest)), written
    assert plain(fastest.verdict) in plain(PAGES["sweep"])


def test_what_is_kept_of_results_is_small_and_spoken_of():
    # catches: a report that has grown, plots that are kept twice, a run that no page speaks of
    listed = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.splitlines()]
    assert sum((ROOT / name).stat().st_size for name in files) < 9e6
    assert [name.parent.name for name in files if name.name == "summary.csv"] == RUNS


def plain(text):
    return " ".join(text.split()).replace(units.GAP, " ")


def rows_of(page, head):
    """The first cells of the table of a page that begins so, without the marks of code."""
    table = PAGES[page].partition(f"| {head} |")[2].split("\n\n")[0].splitlines()[2:]
    return [line.split("|")[1].strip() for line in table]


def test_tables_of_names_have_every_name():
    # catches: a column, a word of noise or a variant that is new and on no page, or gone and still on one
    assert [name.strip("`") for name in rows_of("reports", "column")] == COLUMNS
    assert [name.strip("`") for name in rows_of("timing", "word")] == list(WORDS)
    named = re.findall(r"`([^`]+)`", " ".join(rows_of("plugins", "variant")))
    assert sorted(named) == sorted(HOMES)


def test_the_rooms_import_what_the_architecture_says():
    # catches: an import against the arrows, a module that is in no room, an arrow that no import needs any more, two
    # rooms that import each other, or three in a ring
    rooms = {}
    for line in PAGES["architecture"].partition("| room |")[2].split("\n\n")[0].splitlines()[2:]:
        room, names, _, may = (part.strip() for part in line.strip("|").split("|"))
        rooms[room] = re.findall(r"`([^`]+?)(?:\.py|/)`", names), set(filter(None, may.split(", ")))
    home = {name: room for room, (names, _) in rooms.items() for name in names}
    package = ROOT / "bnbench"
    found = {room: set() for room in rooms}
    for file in package.rglob("*.py"):
        name = file.relative_to(package).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            given = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                given = [f"{node.module}.{each}" for each in given]
            parts = [each.split(".") for each in given]
            found[home[name]] |= {home[each[1]] for each in parts if each[0] == "bnbench" and each[1] in home}
    assert found.pop("commands") <= set(rooms)
    found = {room: targets - {room} for room, targets in found.items()}
    assert found == {room: may for room, (_, may) in rooms.items() if room != "commands"}
    list(graphlib.TopologicalSorter(found).static_order())  # CycleError names the ring


def test_the_readme_is_read_in_three_minutes():
    # catches: a manual, and commands that .ci/run no longer finds
    assert len(PAGES["README"].splitlines()) <= 180
    first, second = (block.strip() for block in blocks("README", "bash"))
    assert first.endswith("python -m bnbench sweep --preset quick")
    assert second.endswith("python -m pytest -n 2 --dist worksteal")
    assert PAGES["compare"].count((ROOT / ".github/workflows/compare.yml").read_text("utf-8")) == 1


def test_the_readme_shows_what_the_quick_sweep_prints(command, tmp_path):
    # catches: figures of another run, an output that has changed
    run = shutil.copytree(ROOT / "results/quick-2-cores", tmp_path / "run")
    printed = command("report", run).stdout.splitlines()
    (shown,) = blocks("README", "text")
    lines = [line for line in shown.splitlines() if line != "…" and not line.startswith("Report: ")]
    assert len(lines) > 10
    assert [line for line in lines if line not in printed] == []


def test_docs_lists_the_pages_and_shows_one(command):
    # catches: a page without a first sentence, a list too wide for a terminal, a page that is not printed as it is
    done = command("docs")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert [line.split()[0] for line in lines[: len(DOCS)]] == DOCS
    assert all(20 < len(line) <= 100 for line in lines[: len(DOCS)])
    for name in ("cite", "cite.md"):
        assert command("docs", name).stdout == PAGES["cite"]


def test_docs_refuses_another_name(command):
    # catches: a traceback, an error that does not say what is allowed
    done = command("docs", "no-such-page")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert all(name in done.stderr for name in DOCS)


def test_the_lesson_runs_as_a_notebook(command, tmp_path):
    # catches: a prompt or an answer left in a cell, a cell that lacks an earlier one's names, a format that no notebook
    # reads, a file that is written over
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = tmp_path / "lesson.ipynb"
    assert command("docs", "lesson", "--notebook", path).returncode == 0
    written = nbformat.read(path, as_version=4)
    nbformat.validate(written)
    assert not any(mark in cell.source for cell in written.cells for mark in ("```python", ">>>", ".md)"))
    nbclient.NotebookClient(written, timeout=120, resources={"metadata": {"path": ROOT}}).execute()
    shown = [output["data"]["text/plain"] for cell in written.cells if cell.cell_type == "code"
             for output in cell.outputs if "data" in output]  # fmt: skip
    assert shown.count("True") == 3
    again = command("docs", "lesson", "--notebook", path)
    assert (again.returncode, again.stderr) == (2, f"bnbench: {path} is there already, and is left as it is\n")


def test_docs_formats_a_page_on_a_terminal(capsys, monkeypatch):
    # catches: Markdown's marks on a terminal, lines too long to be read
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "150")
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert cli.main(["docs", "plugins"]) == 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "Variants and plug-ins" in said
    assert "# Variants" not in said
    assert "```" not in said
    assert max(map(cell_len, said.splitlines())) <= 100


def test_the_conventions_are_the_table_of_their_page():
    # catches: a convention that the page lacks, or has with another default, divisor or source
    from bnbench.running import CONVENTIONS

    def shown(value):
        return "none" if value is None else f"{value:g}"

    for name, held in CONVENTIONS.items():
        start = "none" if held.start is None else ", ".join(map(shown, held.start))
        cells = [f"`{name}`", held.update, held.divisor, shown(held.momentum), shown(held.eps), start, held.one_row]
        assert f"| {' | '.join([*cells, held.source])} |\n" in PAGES["statistics"]
    table = PAGES["statistics"].partition("| `convention` |")[2].partition("\n\n")[0]
    assert len(table.splitlines()) == 2 + len(CONVENTIONS)
