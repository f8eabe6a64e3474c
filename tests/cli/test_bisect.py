"""`compare --interleaved --bisect`: which of a tiny repository's commits made a variant slower."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_compare import record

import bnbench
from bnbench import cli
from bnbench.compare import bisection
from bnbench.measure import crew, interleaved

MODULE = Path("bnbench", "variants", "matrix_numpy.py")
SLOWED = "\n\n_step = MatrixNumpy.step\nMatrixNumpy.step = lambda self: (_step(self), _step(self), _step(self))\n"
BROKEN = "\n\nraise ImportError('half of a change')\n"
FLAGS = ["compare", "--interleaved", "--variants", "matrix-numpy,loops-numba", "--sizes", "1000x8x8"]


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", folder, *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder):
    """The package in commits: one, two (broken), three, a merge that slows matrix-numpy, five; from one on it changes.

    Beside them one that changes only the README, and on the merged branch one more. Returns the merge's hash.
    """
    shutil.copytree(Path(bnbench.__file__).parent, folder / "bnbench", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "-q")
    clean = (folder / MODULE).read_text()

    def commit(subject, text):
        (folder / MODULE).write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", subject)

    commit("begin", clean)
    commit("one", clean + "\n# one\n")
    commit("two, which is broken", clean + BROKEN)
    commit("three", clean + "\n# three\n")
    git(folder, "checkout", "-qb", "side", "HEAD~2")
    commit("a slow step", clean + "\n# one\n" + SLOWED)
    commit("and a comment", clean + "\n# one\n" + SLOWED + "# slow\n")
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "-s", "ours", "--no-commit", "side")
    commit("merge side", clean + "\n# three\n" + SLOWED)
    merge = git(folder, "rev-parse", "HEAD")
    (folder / "README.md").write_text("more\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "words")
    commit("five", clean + "\n# five\n" + SLOWED)
    return merge


def measured(plan, sources, names, *, only, passes, **more):
    """What measuring would give: times by what the sources say, in passes that differ; a broken side does not start."""
    random, sides = np.random.default_rng(1), {}
    luck = {name: random.lognormal(0, 0.002, passes).repeat(3) for name in names}
    for side, source in sources.items():
        text = (source / MODULE).read_text()
        sides[side] = []
        for cell in plan.cells():
            for name in names:
                factor = 3 if SLOWED in text and name == "matrix-numpy" else 1
                times = 1e-3 * factor * luck[name] * random.lognormal(0, 0.002, 3 * passes)
                broken = BROKEN in text and name == "matrix-numpy"
                row = cell.columns | {"variant": name, "passes": [3] * passes, "memory": cell.memory}
                made = record(status="unavailable", **cell.columns) if broken else record(times, **row)
                sides[side].append(made.having(variant=name, cell=cell))
    return sides


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A repository in which `compare` runs, and measures by reading."""
    merge = repository(tmp_path / "tree")
    monkeypatch.setattr(interleaved, "PACKAGE_FOLDER", tmp_path / "tree")
    monkeypatch.setattr(interleaved, "interleave", measured)
    monkeypatch.chdir(tmp_path)
    return merge


def test_the_commit_is_found_past_one_that_is_broken_and_a_merge_is_one(planted, capsys):
    # catches: a search that ends one commit off, a broken commit taken for a slow one, the commits of a merged branch
    # searched one by one, commits that leave the package alone, the wrong exit code
    assert cli.main([*FLAGS, "--bisect", "HEAD~6..", "--json", "--quiet"]) == 3
    answer = json.loads(capsys.readouterr().out)
    found = {row["subject"]: row["found"] for row in answer["commits"]}
    known = {"two, which is broken": "skipped", "three": "good", "merge side": "bad", "five": "bad"}
    assert found == {"one": ""} | known
    assert list(found) == ["one", *known]
    assert (answer["commit"], answer["variant"]) == (planted, "matrix-numpy")
    assert all(2.9 < row["slowdown"] < 3.1 for row in answer["commits"] if row["found"] == "bad")
    assert answer["notes"] == ["controls, the same in both: loops-numba"]


def test_a_range_is_read_as_git_reads_it_and_refused_in_one_line(planted, capsys):
    # catches: a traceback or an hour of measuring for a range that holds nothing, flags that reach git
    assert cli.main([*FLAGS, "--bisect", "HEAD~3..", "--quiet"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert f"matrix-numpy became slower in {planted[:10]} (merge side), by " in said
    assert cli.main([*FLAGS, "--bisect", "HEAD~2..HEAD", "--quiet", "--markdown"]) == 0
    assert "**Nothing to find: " in capsys.readouterr().out
    for wrong, said in (
        ("HEAD", "allowed is GOOD..BAD"),
        ("..HEAD", "allowed is GOOD..BAD"),
        ("HEAD~1...HEAD", "allowed is GOOD..BAD"),
        ("nowhere..HEAD", "what git knows here"),
        ("--output=x..HEAD", "not a flag of git's"),
        ("HEAD..HEAD~1", "no ancestor of HEAD~1"),
        ("HEAD~2..HEAD~1", "no commit after HEAD~2 up to HEAD~1 changes the package"),
    ):
        assert cli.main([*FLAGS, f"--bisect={wrong}"]) == 2, wrong
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert cli.main([*FLAGS, "--bisect", "HEAD~1..HEAD", "--old-ref", "HEAD"]) == 2
    assert "both --old-ref and --bisect" in capsys.readouterr().err
    assert not list(Path().glob("x*"))


def test_a_search_ends_at_the_bad_commit_whatever_cannot_be_measured():
    # catches: an end one off, a skipped commit tried for ever, a commit left out that may be the bad one
    commits = list("abcdefg")
    for place, skipped in itertools.product(range(7), itertools.product([False, True], repeat=6)):
        tried = []

        def measure(commit, place=place, skipped=skipped, tried=tried):
            tried.append(commit)
            at = commits.index(commit)
            return bisection.Tried() if skipped[at] else bisection.Tried(1.2 if at >= place else 1.0)

        left = bisection.Search(commits, 1.2).run(measure)
        before = [at for at in range(place) if not skipped[at]]
        after = next(at for at in range(place, 7) if at == 6 or not skipped[at])
        assert left == commits[max(before, default=-1) + 1 : after + 1]
        assert len(tried) == len(set(tried)) <= 3 + sum(skipped)


@pytest.mark.exhaustive
@pytest.mark.timed
def test_the_commit_is_found_by_measuring(tmp_path):
    # catches: sides crossed, workers that take another commit's package, a compilation cache shared between commits
    merge = repository(tmp_path)
    command = [sys.executable, "-m", "bnbench", *FLAGS, "--bisect", "HEAD~6..HEAD", "--passes", "3", "--json"]
    own = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 3, done.stderr
    answer = json.loads(done.stdout)
    assert answer["commit"] == merge
    assert all(1.5 < row["slowdown"] < 6 for row in answer["commits"] if row["found"] == "bad")
    assert crew.PACKAGE_FOLDER != tmp_path
