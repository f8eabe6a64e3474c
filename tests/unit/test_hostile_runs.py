"""Run folders damaged at random: whatever reads one says so in one line with exit code 2, or shows it harmless."""

import csv
import json
import random
import re

import pytest
from records import FINISHED, RECORD, write

from bnbench import store
from bnbench.cli import main
from bnbench.report import plots

HOSTILE = [
    *[None, True, 0, -1, 1, 1.5, -1e-9, 5e-324, 1e308, -1e308, 2**53, 2**63, 2**64, -(10**30), 10**400, float("nan")],
    *["", " ", "x", "9" * 400, "=cmd|'/C calc'!A0", "@SUM(A1)", "\x1b[31mred\x1b[0m\x07", "[/red]", "[bold]", "a\nb\r"],
    *["\ud800", "\udcff", "\u202e", "\0", "$\\frac{$", "<script>x</script>", "|", "ok", "cpu", "pruned", "float32"],
    *[[], {}, [1], [[]], {"a": 1}, {"": None}, [None], ["x"], [1e-3, 1e308], {"error": "x"}, {"error": {}}, [True]],
]
COMMANDS = {  # with how often they are drawn: a page takes long
    "report BAD": 1,
    "report BAD --json": 1,
    "compare BAD good --force": 6,
    "compare good BAD --force --markdown": 6,
    "compare BAD BAD --json": 6,
    "history good BAD --force --out new": 2,
}
RICH = RECORD | {
    **{"passes": [4, 5], "switches": [0] * 9, "faults": [0.5] * 9, "elapsed_s": 1.0, "stolen_s": 0.0, "others_s": 0.1},
    **{"clock_mhz": [2000.0, 3000.0], "kernels": {"step": 0.5}, "details": {"algorithm": "tiny"}, "cold_s": 1e-3},
    **{"clocks": {"after": {"sm_mhz": 1980, "held_down": "power cap"}}, "threads_in_force": {"numba": 1}, "N": 30},
}


def places(value, path=()):
    """The path to everything within."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, part in inner for place in places(part, (*path, name)))]


def damage(content, draw):
    """Replace something within by something hostile, leave it out, or give it a hostile name."""
    *way, last = draw.choice(places(content)[1:])
    within = content
    for name in way:
        within = within[name]
    what = draw.random()
    if what < 0.8:
        within[last] = draw.choice(HOSTILE)
    elif what < 0.9 or isinstance(within, list):
        del within[last]
    else:
        within[draw.choice([text for text in HOSTILE if isinstance(text, str)])] = within.pop(last)


def damaged(folder, described, draw):
    """A run with one to three faults, in its records, in what describes it, or in the bytes of either."""
    content = json.loads(json.dumps([described, *FINISHED, RICH]))
    for _ in range(draw.choice((1, 1, 2, 3))):
        damage(draw.choice(content), draw)
    files = {
        store.ENVIRONMENT: json.dumps(content[0]).encode(),
        store.JOURNAL: b"".join(json.dumps(record).encode() + b"\n" for record in content[1:]),
    }
    if draw.random() < 0.1:
        name = draw.choice(list(files))
        data, place = files[name], draw.randrange(len(files[name]))
        files[name] = data[:place] + draw.randbytes(draw.randrange(3)) + data[place + draw.randrange(3) :]
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 5200), marks=pytest.mark.exhaustive)], ids=["some", "many"]
)
def test_no_damage_is_a_traceback_and_none_reaches_the_terminal(tmp_path, monkeypatch, capsys, described, seeds):
    # catches: a traceback, a number of 10^308 that overflows in a table, a name that moves the cursor or closes a
    # colour, a formula in a spreadsheet
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "draw", lambda *arguments: ([], []))
    monkeypatch.setattr("bnbench.report.plots.history.draw", lambda frame, entries, folder: [])
    write(tmp_path / "good", described)
    folder = write(tmp_path / "BAD", described)
    refused = 0
    for seed in seeds:
        draw = random.Random(seed)
        damaged(folder, described, draw)
        (command,) = draw.choices(list(COMMANDS), COMMANDS.values())
        code = main(command.split())
        said = capsys.readouterr()
        assert code in (0, 2, 3), (seed, command)
        if code == 2:
            refused += 1
            assert (said.out, said.err.count("\n")) == ("", 1), (seed, said)
        assert all(line.isprintable() for line in re.sub("\u202f", "", said.out + said.err).split("\n")), (seed, said)
        if code == 0 and "report" in command:
            with open(folder / "summary.csv", newline="") as file:
                rows = list(csv.reader(file))
            texts = [field for row in rows[1:] for field in row if not re.fullmatch(r"-?[\d.e+-]+", field)]
            assert not any(text.startswith(("=", "@", "+", "-")) for text in texts), seed
    assert 0.4 < refused / len(seeds) < 0.9  # else it damages nothing, or too much to get anywhere
