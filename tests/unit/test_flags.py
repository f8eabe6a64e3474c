"""Flags do what they say or are refused; a run is finished without typing them again; what is chosen, and how."""

import json
import shlex

import pytest
import records
from records import FINISHED, RECORD, SETTINGS, write

from bnbench import store
from bnbench.cli import main, parser
from bnbench.commands.common import UsageError, command_line, conclude, saved_plan
from bnbench.commands.plans import choose, make_plan, plan_of
from bnbench.commands.sweep import named

FAMILIES = {
    "loops-numba": "loops",
    "loops-cuda": "loops",
    "matrix-numpy": "matrix",
    "r-loop": "loops",
    "r-matrix": "matrix",
}
CHOSEN = {  # what is asked for: what that is, and of it what is asked for by name
    "r-loop,loops-numba": ("r-loop loops-numba", "r-loop loops-numba"),
    "loops*": ("loops-numba loops-cuda", ""),
    "matrix": ("matrix-numpy r-matrix", ""),
    "loops,matrix-numpy": ("loops-numba loops-cuda r-loop matrix-numpy", "matrix-numpy"),
    "*,-r-*": ("loops-numba loops-cuda matrix-numpy", ""),
    "-r-*,-loops-cuda": ("loops-numba matrix-numpy", ""),
    "r-loop,matrix-numpy,-r-loop": ("matrix-numpy", "matrix-numpy"),
    "*": (" ".join(FAMILIES), ""),
}


@pytest.mark.parametrize("asked", CHOSEN)
def test_variants_are_chosen_by_name_family_pattern_and_exclusion(asked):
    # catches: an exclusion that adds; a pattern's variants that are missed where they are not installed, as if named
    found, by_name = choose(tuple(asked.split(",")), FAMILIES)
    assert (" ".join(found), " ".join(by_name)) == CHOSEN[asked]


@pytest.mark.parametrize(("asked", "word"), [("magic*", "'magic*'"), ("-magic", "'magic'"), ("loops,-*", "leaves no")])
def test_variants_that_stand_for_nothing_are_refused(asked, word):
    with pytest.raises(UsageError, match="variant") as refused:
        choose(tuple(asked.split(",")), FAMILIES)
    assert word in str(refused.value)


def run(folder, described, *flags, records=FINISHED):
    """A run as `sweep` with these flags describes it, with records that nobody measured."""
    plan, table = make_plan(parser().parse_args(["sweep", *flags]), {})
    return write(folder, described | {"plan": saved_plan(plan, table)}, records)


def said(capsys, *arguments):
    capsys.readouterr()
    code = main([*map(str, arguments)])
    found = capsys.readouterr()
    return code, found.out, found.err


FIRST = [
    "--sizes",
    "10x4x8,20x4x8,30x4x8",
    "--variants",
    "matrix-nump*",
    "--threads",
    "1",
    "--eps",
    "0.1",
    "--timeout",
    "7",
]


def test_a_run_is_resumed_with_the_settings_that_it_has(tmp_path, described, capsys):
    # catches: --resume that is refused unless every flag is typed again, or goes on with the defaults of others
    folder = run(tmp_path / "run", described, *FIRST, records=[record | {"eps": 0.1} for record in FINISHED])
    plan, table = make_plan(parser().parse_args(["sweep"]), plan_of(folder))
    assert saved_plan(plan, table) == store.read_environment(folder)["plan"]
    assert (plan.held, named(plan)) == (("eps",), ())
    code, out, _ = said(capsys, "sweep", "--resume", "--out", folder, "--dry-run", "--json")
    assert code == 0
    assert [cell["N"] for cell in json.loads(out)["cells"]] == [30]
    for flags in ([], FIRST, ["--time-budget", "9"]):
        plan, table = make_plan(parser().parse_args(["sweep", *flags]), plan_of(folder))
        with store.Journal(folder, described | {"plan": saved_plan(plan, table)}, resume=True) as journal:
            assert len(journal.records) == 2
    assert store.read_environment(folder)["plan"]["time_budget"] == 9
    code, _, err = said(capsys, "sweep", "--resume", "--out", folder, "--eps", "0.2")
    assert (code, err.count("\n")) == (2, 1)
    assert "begun with eps [0.1], not [0.2]; leave the flag out" in err
    assert plan_of(tmp_path / "none") == {}


def test_files_of_a_run_that_is_resumed_are_asked_for(tmp_path, described, capsys):
    # catches: a run of a table that goes on with drawn data
    table = tmp_path / "t.csv"
    table.write_text("a,b,y\n1.5,2,3\n4,5.25,6\n7,8,9\n")
    folder = run(
        tmp_path / "run", described, "--data", str(table), "--target", "y", "--variants", "matrix-numpy", records=[]
    )
    code, _, err = said(capsys, "sweep", "--resume", "--out", folder)
    assert (code, "give --data again" in err) == (2, True)
    code, out, _ = said(capsys, "sweep", "--resume", "--out", folder, "--data", table, "--dry-run", "--json")
    assert (code, {(cell["N"], cell["p1"]) for cell in json.loads(out)["cells"]}) == (0, {(3, 2)})


def test_what_a_time_budget_left_out_is_made_up_for(tmp_path, described, capsys):
    # catches: a pruned record that counts as done for ever, or two of one cell
    left_out = RECORD | {"N": 30, "status": "pruned", "reason": "the time budget of 4 s is spent"}
    slow = RECORD | {"N": 40, "status": "pruned", "reason": "it would take about 9 s, more than the time-out of 7 s"}
    sizes = "10x4x8,20x4x8,30x4x8,40x4x8"
    flags = ["--sizes", sizes, *SETTINGS[2:], "--time-budget", "4"]
    folder = run(tmp_path / "run", described, *flags, records=[*FINISHED, left_out, slow])
    again = ["sweep", "--resume", "--out", folder, "--dry-run", "--json"]
    assert [cell["N"] for cell in json.loads(said(capsys, *again)[1])["cells"]] == [30]
    with open(folder / store.JOURNAL, "a", encoding="utf-8") as journal:
        journal.write(json.dumps(RECORD | {"N": 30, "machine": described["machine_id"]}) + "\n")
    assert [(r.cell.problem.N, r.status) for r in store.read_journal(folder)[0]][-2:] == [(40, "pruned"), (30, "ok")]
    assert json.loads(said(capsys, *again)[1])["cells"] == []
    with open(folder / store.JOURNAL, "a", encoding="utf-8") as journal:
        journal.write(json.dumps(slow | {"machine": described["machine_id"]}) + "\n")
    with pytest.raises(store.StoreError, match="line 6 is not a record: its variant and cell are those of line 4"):
        store.read_journal(folder)


def test_a_dry_run_measures_and_writes_nothing(tmp_path, monkeypatch, capsys):
    # catches: a dry run that begins a folder, or counts what is not installed
    monkeypatch.chdir(tmp_path)
    flags = [
        "--variants",
        "matrix-numpy,*-cuda",
        "--N",
        "10,20",
        "--p1",
        "3",
        "--p2",
        "2",
        "--dtype",
        "float64,float32",
    ]
    code, out, err = said(capsys, "sweep", *flags, "--dry-run", "--time-budget", "9")
    assert (code, err, list(tmp_path.iterdir())) == (0, "", [])
    assert "4 cells, 4 measurements" in out
    assert "10x3x2, 20x3x2" in out
    assert "roughly 0:09" in out
    assert "Not installed here, and left out: loops-cuda" in out
    assert max(map(len, out.splitlines())) <= 100


def two(tmp_path, described):
    records = [RECORD | {"N": N, "threads": threads, "variant": name, "family": family}
               for N in (10, 20) for threads in (1, 2)
               for name, family in (("matrix-numpy", "matrix"), ("loops-numba", "loops"))]  # fmt: skip
    return [write(tmp_path / name, described, records) for name in ("old", "new")]


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        ([], 8),
        (["--variants", "loops*"], 4),
        (["--variants", "matrix", "--threads", "2"], 2),
        (["--sizes", "20x4x8", "--threads", "1"], 2),
        (["--N", "10", "--variants=-loops-numba", "--dtype", "float64"], 2),
    ],
)
def test_flags_choose_what_of_two_runs_is_compared(tmp_path, described, capsys, flags, count):
    # catches: flags that are taken and ignored
    code, out, _ = said(capsys, "compare", *two(tmp_path, described), *flags, "--json")
    found = json.loads(out)
    assert (code, len(found["cells"])) == (0, count)
    assert ("compared is what the flags choose" in found["notes"]) == bool(flags)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--threads", "7"], "no record of the two runs has threads 7; they have 1, 2"),
        (["--sizes", "10x4x8,5x5x5"], "has size 5x5x5; they have 10x4x8, 20x4x8"),
        (["--variants", "fused-numba"], "'fused-numba'"),
        *(([flag, value], f"{flag} says how to measure, with --interleaved") for flag, value in
          (("--timeout", "3"), ("--sampling", "3"), ("--preset", "quick"), ("--seed", "3"), ("--target", "y"))),
        (["--keep-memory"], "no record of the two runs has memory kept; they have returned"),
        (["--plugin", "x.py"], "--plugin says how"),
    ],
)  # fmt: skip
def test_flags_that_choose_nothing_of_two_runs_are_refused(tmp_path, described, capsys, flags, word):
    # catches: the same, for what no run has and for what only a measurement can heed
    code, out, err = said(capsys, "compare", *two(tmp_path, described), *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert word in err


def test_json_has_every_digit(tmp_path, capsys):
    # catches: pandas' ten decimals, by which an error of 1.4e-15 is 0.0
    errors = {"dG1": {"error": 1.4142135623730951e-15, "tolerance": 1e-13, "ratio": 0.014142135623730951}}
    frame = records.frame([RECORD | {"errors": errors, "max_error_ratio": 1.4142135623730951e-12}])
    assert conclude(frame, tmp_path, True) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["max_error"], row["max_error_ratio"]) == (1.4142135623730951e-15, 1.4142135623730951e-12)
    assert row["median_s"] == frame["median_s"][0]


def test_the_command_of_a_run_can_be_pasted():
    # catches: a pattern that the shell expands, a target of two words, an exclusion that is taken for a flag
    given = ["sweep", "--variants=-r-*", "--target", "house price", "--keep-memory", "--decimal", ","]
    options = parser().parse_args(given)
    python, *again = shlex.split(command_line("sweep", options))
    assert (python, again[:2]) == ("python", ["-m", "bnbench"])
    assert parser().parse_args(again[2:]) == options
