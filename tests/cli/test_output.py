"""What processes print: into streams that are closed or full, and in locales without Greek."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from records import write

from bnbench import cli

PACKAGE = Path(cli.__file__).parents[1]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PLUGIN = '''"""Γ."""
import bnbench
@bnbench.variant("Γβ-mine", family="matrix")
def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
    """Größe × ∂R/∂β."""
'''


def shell(command, cwd=None, **environment):
    """A line of the shell, in which bnbench is the command."""
    line = command.replace("bnbench", f"{sys.executable} -m bnbench")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, cwd=cwd, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)} | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code", "lines"),
    [
        ("bnbench list >&-", 2, 1),
        ("bnbench list > /dev/full", 2, 1),
        ("bnbench --help > /dev/full", 2, 1),
        ("bnbench list >&- 2>&-", 2, 0),
        ("bnbench list 2>&- | grep -c fused-numba", 0, 0),
        ("bnbench dance 2>&-", 2, 0),
        ("bnbench dance 2> /dev/full", 2, 0),
        ("bnbench list --json | head -1", 0, 0),
        ("bnbench list --plugin none.py | head -1", 2, 1),
        ("bnbench report none 2>&1 | true", 2, 0),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_line_at_most_and_the_right_exit_code(command, code, lines):
    # catches: a traceback, "Exception ignored", exit code 120, output that is lost with exit code 0, errors on stdout
    done = shell(command)
    assert (done.returncode, done.stderr.count(b"\n")) == (code, lines), done


def test_no_file_gets_the_number_of_a_closed_stream():
    # catches: what a C library prints to standard error in the middle of a journal
    code = (
        "import os; from bnbench.commands import streams\n"
        "with streams.guarded():\n    print(os.open('/dev/null', os.O_RDONLY) > 2)"
    )
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" 2>&- <&-'], capture_output=True, check=False)
    assert done.stdout == b"True\n"


@pytest.mark.parametrize(
    ("command", "words", "environment"),
    [
        ("bnbench list --plugin mein*.py", [b"Gammabeta-mine", b"Grosse x dR/dbeta."], ASCII),
        ("bnbench list --plugin mein*.py --json", [rb"\u0393\u03b2-mine"], ASCII),
        ("bnbench compare old new --markdown", [b"matrix-numpy"], {"PYTHONIOENCODING": "ascii"}),
        ("! bnbench sweep --config *.toml --plugin mein*.py 2>&1", [b"variant is 'ss'"], ASCII),
        ("! bnbench sweep --activation Γβ 2>&1", [b"activation is 'Gammabeta'"], ASCII),
    ],
)
def test_what_is_printed_is_legible_in_ascii(tmp_path, described, command, words, environment):
    # catches: a UnicodeEncodeError of a table or of Markdown, a file of ours that is read in the locale's encoding
    (tmp_path / "mein Plugin.py").write_text(PLUGIN, "utf-8")
    (tmp_path / "Γ.toml").write_text('# Größe\nvariants = ["Γβ-mine", "ß"]\n', "utf-8")
    for name in ("old", "new"):
        write(tmp_path / name, described)
    done = shell(command, tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, b""), (command, done)
    assert all(word in done.stdout for word in words), (command, done.stdout)
    assert done.stdout.isascii()
    if "--json" in command:
        json.loads(done.stdout)


def test_a_sweep_keeps_to_what_it_is_asked_to_say_and_outlives_its_reader(tmp_path):
    # catches: --json or --quiet with anything beside, a sweep that ends with the `head` that reads it
    sweep = "bnbench sweep --variants matrix-numpy --sizes 10x4x4 --sampling 0.02 --threads 1 --out"
    done = shell(f"{sweep} one --quiet --json", tmp_path)
    assert (done.returncode, done.stderr) == (0, b""), done
    assert [row["status"] for row in json.loads(done.stdout)] == ["ok"]
    done = shell(f"{sweep} two 2>&1 | head -1", tmp_path)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1), done
    assert (tmp_path / "two/journal.jsonl").read_text("utf-8").count("\n") == 1
    assert (tmp_path / "two/report.html").exists()
