"""What the terminal shows: progress fed with made-up records, in pipes and on terminals of several widths."""

import contextlib
import io
import os
import pty
import re
import shlex
import sys
import threading
from pathlib import Path

import pytest
from records import BARE, synthetic, timed, typed
from rich.cells import cell_len

from bnbench import cli
from bnbench.commands.progress import Progress, cell_line
from bnbench.commands.summary import MOST_SIZES, by_size, ending, telling
from bnbench.measure.plan import Plan
from bnbench.report import tables

QUICK = {"N": (10, 100, 1000), "p1": (4, 32), "p2": (4, 32), "threads": (1,)}
NAMES = ["loops-python", "loops-numba", "matrix-numpy", "matrix-numba", "fused-numba", "torch-eager"]
ABSENT = [f"absent-{number}" for number in range(14)]


def records(plan, bad=True, **sizes):
    """A sweep's records: six variants, 14 that are not installed, one that is wrong everywhere."""
    made = synthetic(NAMES, **sizes, threads=(1,), limit_s=1e3)
    known = [record for record in made if record["variant"] == NAMES[0]]
    made += [record | BARE[0] | cell(record) | {"variant": name} for name in ABSENT for record in known]
    for number, record in enumerate(known if bad else ()):
        wrong = {
            "variant": "mine",
            "status": "invalid",
            "reason": f"dG1 is off by {number}.5 of its size, " + "far " * 99,
        }
        made.append(record | wrong)
    return typed(made)


def cell(record):
    return {name: record[name] for name in ("N", "p1", "p2", "threads")}


def watch(progress, plan, found):
    """Tell a progress what a sweep would."""
    progress.events.stage("starting 20 workers")
    for place, at in enumerate(plan.cells()):
        progress.events.cell(place, 60.0)
        here = [record for record in found if record.cell == at]
        for record in here:
            for step_s in record.samples_s[:2]:
                progress.events.sample(record.variant, step_s)
        for record in sorted(here, key=lambda record: record.status != "unavailable"):
            progress.events.record(record)
    progress.flush()


def on_terminal(monkeypatch, columns, do, term="xterm"):
    """What a terminal of so many columns is sent by a function."""
    for name, value in (("COLUMNS", str(columns)), ("TERM", term), ("LINES", "30")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    sent = []

    def read():
        with contextlib.suppress(OSError):  # the end of a terminal's output
            while part := os.read(ours, 1 << 16):
                sent.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, open(theirs, "w", encoding="utf-8") as stream:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        do()
    reader.join()
    os.close(ours)
    return b"".join(sent).decode().replace("\r\n", "\n")


def without_codes(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_quick_sweep_in_a_pipe_is_short_and_ends_with_the_answers(tmp_path, capsys):
    # catches: names of what is not installed in every cell, lines without end, a fault that is said again at each size
    plan = Plan(**QUICK)
    found = records(plan, N=QUICK["N"], p1=QUICK["p1"], p2=QUICK["p2"])
    with Progress(plan) as progress:
        watch(progress, plan, found)
    ending(tables.frame(found), tmp_path)
    said = capsys.readouterr()
    lines = (said.err + said.out).splitlines()
    assert len(lines) <= 60
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 100, lines
    assert said.err.count("14 variants are not installed here: bnbench list says how to add them") == 1
    assert "absent" not in said.err + said.out
    assert sum(line.startswith("mine: invalid at") for line in lines) == 1
    cells = [line for line in lines if re.match(r"[ \d]\d/12 ", line)]
    assert len(cells) == 12
    assert all("; invalid: mine" in line and "fused-numba" in line for line in cells[:1])
    answers = [line for line in lines if line.endswith(tuple("?.:")) or "? " in line]
    assert len([line for line in answers if "? " in line]) == 3
    assert lines[-1] == f"Report: {tmp_path / 'report.html'}"
    assert "\x1b" not in said.err + said.out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_of_any_width_is_kept_to(monkeypatch, columns):
    # catches: a table that is folded to single letters, a line that runs over, a cursor that stays hidden
    plan = Plan(**QUICK)
    found = records(plan, N=QUICK["N"], p1=QUICK["p1"], p2=QUICK["p2"])
    frame = tables.frame(found)

    def do():
        with Progress(plan) as progress:
            watch(progress, plan, found)
        ending(frame, Path("run"))

    sent = on_terminal(monkeypatch, columns, do)
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")
    lines = re.split("[\r\n]", without_codes(sent))
    assert max(map(cell_len, lines)) <= min(columns, 100), max(lines, key=cell_len)
    assert "samples" in sent or columns == 40
    end = without_codes(sent).rpartition("Time of a step")[2]
    assert all(f"{name} 1" in end or f"{name}=" in end or name in end for name in ("N", "p1", "fused"))


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch):
    # catches: control codes with TERM=dumb, or in a pipe because FORCE_COLOR is set
    plan = Plan(**QUICK | {"N": (10,)})
    found = records(plan, N=(10,), p1=(4, 32), p2=(4, 32))

    def do():
        with Progress(plan) as progress:
            watch(progress, plan, found)

    sent = on_terminal(monkeypatch, 80, do, "dumb")
    assert "\x1b" not in sent
    assert "4 cells: starting 20 workers\n" in sent
    assert "4/4  N=10 p1=32 p2=32: fused-numba" in sent
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    do()
    assert not re.search(r"\x1b\[[^m]*[A-Zhl]", sys.stderr.getvalue())


def test_quiet_is_quiet(capsys):
    # catches: --quiet that still notes or shows cells
    plan = Plan(**QUICK | {"N": (10,)})
    with Progress(plan, quiet=True) as progress:
        progress.say("note: of a table")
        watch(progress, plan, records(plan, N=(10,), p1=(4, 32), p2=(4, 32)))
        progress.say("interrupted", always=True)
    assert capsys.readouterr() == ("", "interrupted\n")


def test_a_cell_says_won_only_where_intervals_are_apart():
    # catches: a lead that is noise
    near = [1e-3 + 1e-5 * number for number in range(9)]
    rows = [timed("a", "fused", 10, near), timed("b", "loops", 10, [1.001 * s for s in near]),
            timed("c", "loops", 10, [2 * s for s in near])]  # fmt: skip
    bad = [timed("d", "loops", 10, near) | {"status": "invalid", "reason": "wrong"}]
    assert "tied with b" in cell_line("1/1  N=10", typed(rows), "", 100)
    assert ", 2.0x ahead of c; invalid: d (9:59 left)" in cell_line("", typed(rows[::2] + bad), " (9:59 left)", 100)
    for width in range(30, 100):
        line = cell_line("1/1  N=10", typed(rows + bad), " (9:59 left)", width)
        assert len(line) <= width
        assert ("d" in line.partition("invalid")[2]) or width < 45, (width, line)


def test_of_many_sizes_the_telling_ones_are_shown(tmp_path, capsys):
    # catches: the first few, all of them small; the extremes of loops against matrix form left out
    found = typed(synthetic(NAMES, threads=(1,), limit_s=1e3))
    lines = by_size(tables.frame(found))
    shown = telling(lines)
    assert (len(lines), len(shown)) == (80, MOST_SIZES)
    ratios = [size.ratio for size in lines]
    assert {min(ratios), max(ratios)} <= {size.ratio for size in shown}
    for axis in range(3):
        ends = {size.sizes[axis] for size in lines}
        assert {min(ends), max(ends)} <= {size.sizes[axis] for size in shown}
    ending(tables.frame(found), tmp_path)
    assert f"{MOST_SIZES} of 80 sizes" in capsys.readouterr().out


def test_what_to_type_first_can_be_typed(capsys):
    # catches: a command in the first words that the command line does not know, a script's empty command that passes
    assert cli.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    typed_first = re.findall(r"bnbench (\w.*?)(?:  |$)", said.err, re.M)
    assert len(typed_first) >= 6
    for words in typed_first:
        if not words.startswith("docs "):
            assert cli.parser().parse_args(shlex.split(words)).command
