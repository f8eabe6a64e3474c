"""`compare`: verdicts on made-up samples whose truth is known, what is refused, two versions side by side."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from records import rows

import bnbench
from bnbench import cli, store
from bnbench.commands import beside
from bnbench.commands import compare as compare_command
from bnbench.compare.verdicts import compare
from bnbench.measure import interleaved, planner
from bnbench.measure.measurement import Measurement
from bnbench.measure.noise import noise
from bnbench.measure.passes import JOINED, joined
from bnbench.measure.plan import Plan
from bnbench.measure.rounds import Pairs
from bnbench.record import Record

CELL = {"N": 10, "p1": 7, "p2": 4, "dtype": "float64", "activation": "relu", "normalization": "batch"}
CELL |= {"ddof": 0, "eps": 1e-5, "threads": 1, "regime": "fresh", "seed": 0}


def record(samples=(), status="ok", **columns):
    """A journal record with these samples."""
    found = CELL | {"schema": store.SCHEMA, "variant": "mine", "family": "loops", "device": "cpu", "status": status}
    found |= {"reason": "", "samples_s": [float(value) for value in samples], "inner_loops": 3, "max_error_ratio": 0.01}
    found |= {"peak_bytes": 2**26, "baseline_bytes": 2**25, "prepare_s": 0.1, "compile_s": 0.1}
    return Record.of(found | columns)


def noisy(rng, n=40, scale=1e-3, sd=0.02):
    return scale * rng.lognormal(0, sd, n)


def verdicts(old, new, threshold=1.05, paired=False):
    return [found.verdict for found in compare(old, new, threshold=threshold, paired=paired)]


def test_verdicts_follow_both_gates():
    # catches: a ratio upside down, significance without size, size without significance, same by lack of evidence
    rng = np.random.default_rng(1)
    base = [record(noisy(rng))]
    assert verdicts(base, [record(noisy(rng, scale=1.2e-3))]) == ["slower"]
    assert verdicts(base, [record(noisy(rng, scale=0.8e-3))]) == ["faster"]
    assert verdicts(base, [record(noisy(rng))]) == ["same"]
    assert verdicts(base, [record(noisy(rng, scale=1.03e-3))]) == ["same"]  # significant, and too small to matter
    assert verdicts(base, [record(noisy(rng, scale=1.03e-3))], threshold=1.01) == ["slower"]
    wide = np.exp(0.08 * np.array([NormalDist().inv_cdf(k / 61) for k in range(1, 61)]))
    (small,) = compare([record(wide)], [record(1.04 * wide)], threshold=1.05, paired=False)
    assert (small.verdict, small.p < 0.05, small.ratio < 1.05 < small.high) == ("unclear", True, True)
    assert verdicts(base, [record(noisy(rng, n=8, sd=0.3))]) == ["unclear"]
    assert verdicts(base, [record(noisy(rng, n=5, scale=2e-3))]) == ["unclear"]


def test_many_cells_are_corrected_for():
    # catches: a thousand tests at 1 % each, which find ten differences where there is none; a correction so strict
    # that of many cells which are all slower none is found
    rng = np.random.default_rng(2)

    def cells(count, scale=1e-3):
        return [record(noisy(rng, scale=scale, sd=0.2), N=N) for N in range(1, count + 1)]

    def alone(old, new):
        return [verdicts([a], [b], threshold=1.01)[0] for a, b in zip(old, new, strict=True)]

    found = cells(1000), cells(1000)
    assert sum(verdict != "unclear" for verdict in alone(*found)) > 3
    assert set(verdicts(*found, threshold=1.01)) == {"unclear"}
    found = cells(100), cells(100, 1.15e-3)
    true = alone(*found).count("slower")
    assert 60 < true < 95
    assert verdicts(*found, threshold=1.01).count("slower") > 0.8 * true


def test_passes_not_rounds_are_what_counts():
    # catches: rounds of one process taken as independent: a process that is slow by chance becomes a regression
    rng = np.random.default_rng(3)

    def side(slower=1.0):
        process = rng.lognormal(0, 0.03, 10).repeat(12)
        return [record(slower * process * noisy(rng, n=120, sd=0.005), passes=[12] * 10)]

    false = [verdicts(side(), side(), 1.01, paired=True)[0] for _ in range(200)]
    true = [verdicts(side(), side(1.1), 1.01, paired=True)[0] for _ in range(50)]
    assert sum(verdict in ("slower", "faster") for verdict in false) <= 6  # 1 % of 200 are expected, one by one
    assert true.count("slower") >= 48


def test_a_drift_that_hits_both_alike_is_no_difference():
    # catches: pairs that are not kept together
    rng = np.random.default_rng(4)
    drift = np.linspace(1, 3, 120)
    old, new = (record(drift * noisy(rng, n=120), passes=[12] * 10) for _ in range(2))
    assert verdicts([old], [new], 1.02, paired=True) == ["same"]
    assert verdicts([old], [record(np.array(new.samples_s) * 1.1, passes=[12] * 10)], 1.02, paired=True) == ["slower"]


def test_validity_errors_and_memory_are_compared_too():
    rng = np.random.default_rng(5)
    samples = noisy(rng)

    def one(old, new):
        (found,) = compare([old], [new], threshold=1.05, paired=False)
        return found.verdict, found.validity, found.errors, found.memory, found.regression

    good = record(samples)
    assert one(good, good) == ("same", "same", "same", "same", False)
    assert one(good, record(status="invalid")) == ("unclear", "worse", "same", "same", True)
    assert one(good, record(status="pruned")) == ("unclear", "missing", "same", "same", False)
    assert one(record(status="crashed"), good) == ("unclear", "better", "same", "same", False)
    assert one(good, record(samples, max_error_ratio=0.5)) == ("same", "same", "worse", "same", True)
    assert one(good, record(samples, max_error_ratio=0.05)) == ("same", "same", "same", "same", False)
    assert one(good, record(samples, peak_bytes=2**27)) == ("same", "same", "same", "worse", True)
    busy = record(np.array(samples) * 2, elapsed_s=1.0, others_s=0.5, stolen_s=0.0)
    assert one(good, busy)[0] == "unclear"


def test_a_worker_that_is_made_to_give_way_is_marked():
    # catches: a busy processor that goes unnoticed because a worker that has slept is let in first; a mark on workers
    # that are held to no processor, and give way to their own threads
    samples = noisy(np.random.default_rng(8), n=120)

    def marked(switches, **passes):
        found = record(samples, elapsed_s=1.2, others_s=0.01, stolen_s=0.0, switches=switches, **passes)
        return "interference" in noise(found)

    assert marked([0] * 60 + [1] * 60, passes=[12] * 10)
    assert not marked([0] * 116 + [1] * 4, passes=[12] * 10)
    assert not marked([0] * 60 + [1] * 60)


def write_run(folder, records, **environment):
    """A run folder."""
    plan = {"variants": ["mine"], "seed": 0, "dtype": ["float64"], "threads": [1], "N": [10]}
    machine = {"host": "here", "cpu": "some", "processors": 2}
    described = {"schema": store.SCHEMA, "machine_id": "a", "machine": machine, "plan": plan, "software": {}}
    described |= {"command": "python -m bnbench sweep", "date": "2026-01-01"} | environment
    folder.mkdir()
    (folder / store.ENVIRONMENT).write_text(json.dumps(described))
    (folder / store.JOURNAL).write_text("".join(json.dumps({"schema": store.SCHEMA} | r.row()) + "\n" for r in records))
    return str(folder)


def test_the_command(tmp_path, capsys):
    # catches: an exit code that hides a regression, a refusal that names nothing, output that is no JSON
    rng = np.random.default_rng(6)
    old = write_run(tmp_path / "old", [record(noisy(rng)), record(noisy(rng), N=20)])
    same = write_run(tmp_path / "same", [record(noisy(rng)), record(noisy(rng), N=30)])
    slow = write_run(tmp_path / "slow", [record(noisy(rng, scale=2e-3))], software={"numba": "2"})
    other = write_run(
        tmp_path / "other", [record(noisy(rng))], machine={"host": "here", "cpu": "other", "processors": 2}
    )
    moved = write_run(
        tmp_path / "moved", [record(noisy(rng))], machine={"host": "there", "cpu": "some", "processors": 2}
    )
    assert cli.main(["compare", old, same]) == 0
    assert capsys.readouterr().out.endswith("No regression: 0 slower, 1 the same of 1 cell.\n")
    assert cli.main(["compare", old, slow, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    (cell,) = answer["cells"]
    assert (cell["variant"], cell["N"], cell["verdict"], cell["regression"]) == ("mine", 10, "slower", True)
    assert cell["low"] < cell["ratio"] < cell["high"]
    assert any("numba: none, 2" in note for note in answer["notes"])
    assert "measured in OLD alone: mine at 1 cell" in answer["notes"]
    assert (answer["only_in_old"], answer["only_in_new"], answer["gone"]) == ({"mine": 1}, {}, [])
    assert cli.main(["compare", slow, old, "--markdown"]) == 0
    said = capsys.readouterr().out
    assert "| mine" in said
    assert said.startswith("**Faster: 0 slower, 1 faster of 1 cell.**")
    assert cli.main(["compare", old, other]) == 2
    assert "cpu: some, other" in capsys.readouterr().err
    assert cli.main(["compare", old, moved]) == 0
    assert "host: here, there" in capsys.readouterr().out
    assert cli.main(["compare", old, other, "--force"]) == 0
    assert "forced" in capsys.readouterr().out
    for wrong in (
        ["compare", old], ["compare", old, same, "--threshold", "1"], ["compare", "--interleaved"],
        ["compare", old, same, "--old-ref", "HEAD"], ["compare", "--interleaved", "--old-ref", "HEAD", "--passes", "2"],
        ["compare", old, str(tmp_path / "none")],
    ):  # fmt: skip
        assert cli.main(wrong) == 2, wrong
        assert capsys.readouterr().err.count("\n") == 1


def test_what_was_not_found_out_is_said_and_fails_where_it_must(tmp_path, capsys):
    # catches: "no regression" of cells that nothing is known about; these hidden among those in which nothing differs;
    # a variant that is gone and passes
    rng = np.random.default_rng(9)

    def unclear(count):
        return [record(noisy(rng, n=8, sd=0.3), N=N) for N in range(1, count + 1)]

    gone = record(noisy(rng), variant="other")
    absent = [record(status="unavailable", variant="third", N=N) for N in range(1, 5)]
    few = [write_run(tmp_path / f"few-{side}", unclear(6) + absent) for side in "ab"]
    many = [write_run(tmp_path / f"many-{side}", [*unclear(30), record(noisy(rng), N=99)]) for side in "ab"]
    without = write_run(tmp_path / "without", [record(noisy(rng), N=99)])
    with_it = write_run(tmp_path / "with", [record(noisy(rng), N=99), gone])
    last = "Not known: 0 slower, 6 unclear of 6 cells: nothing can be said about these."
    assert cli.main(["compare", *few]) == 0
    assert capsys.readouterr().out.endswith(last + "\n")
    assert cli.main(["compare", *few, "--json", "--strict"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["answer"] == last
    assert "measured in neither run: 4 records" in answer["notes"]
    assert [cell["measured"] for cell in answer["cells"]] == [True] * 6 + [False] * 4
    for flag in ("--markdown", "--all"):
        assert cli.main(["compare", *many, flag]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert (
            "No regression found: 0 slower, 1 the same, 30 unclear of 31 cells: nothing can be said about the" in said
        )
        assert ("31 cells more: 30 unclear, 1 the same." in said) == (flag == "--markdown")
    assert cli.main(["compare", with_it, without]) == 0
    assert capsys.readouterr().out.endswith("1 the same of 1 cell. Gone from NEW: other.\n")
    assert cli.main(["compare", with_it, without, "--strict", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["gone"] == ["other"]
    assert cli.main(["compare", without, with_it, "--strict"]) == 0
    assert "measured in NEW alone: other at 1 cell" in capsys.readouterr().out


def test_what_is_slower_once_is_no_regression(tmp_path, monkeypatch, capsys):
    # catches: an accident that fails a pull request, a second measurement that is made of other cells or not looked
    # at, a regression that is lost in it
    rng = np.random.default_rng(11)
    asked = []

    def measured(plan, sources, names, *, only, passes, **more):
        asked.append({(name, cell.sizes) for name, cell in only})
        sides = {side: [] for side in interleaved.SIDES}
        for side, name, cell in itertools.product(sides, names, plan.cells()):
            slow = {"matrix-numpy": 1.1, "loops-numba": 1.1 if len(asked) == 1 and cell.problem.N == 20 else 1}[name]
            times = noisy(rng, n=3 * passes, sd=0.003) * (slow if side == "new" else 1)
            sides[side].append(record(times, passes=[3] * passes).having(variant=name, cell=cell))
        return sides

    monkeypatch.setattr(interleaved, "checkout", lambda ref, folder: folder)
    monkeypatch.setattr(interleaved, "interleave", measured)
    command = ["compare", "--interleaved", "--old-ref", "HEAD", "--variants", "matrix-numpy,loops-numba"]
    command += ["--sizes", "10x2x2,20x2x2", "--out", str(tmp_path / "out"), "--quiet"]
    assert cli.main([*command, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    cells = {(cell["variant"], cell["N"]): cell for cell in answer["cells"]}
    slower = [("matrix-numpy", 10), ("matrix-numpy", 20), ("loops-numba", 20)]
    assert asked[1] == {(name, (N, 2, 2)) for name, N in slower}
    assert [cells[key]["verdict"] for key in slower] == ["slower", "slower", "unclear"]
    assert cells["loops-numba", 20]["reason"].startswith("slower at first, and not when measured again (")
    assert all(cells[key]["again"] for key in slower)
    assert cells["loops-numba", 10]["again"] is None
    assert [cell["regression"] for cell in cells.values()].count(True) == 2
    again = [str(tmp_path / "out" / "again" / side) for side in interleaved.SIDES]
    assert cli.main(["compare", *again]) == 3
    assert "2 slower, 1 the same of 3 cells" in capsys.readouterr().out
    asked.clear()
    assert cli.main([*command[:-3], "--out", str(tmp_path / "one"), "--variants", "loops-numba"]) == 0
    assert "No regression found: 0 slower, 1 the same, 1 unclear of 2 cells" in capsys.readouterr().out


@pytest.mark.timed
def test_two_versions_side_by_side(tmp_path):
    # catches: workers that both take the installed package, pairs that are crossed, records without passes
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(bnbench.__file__).parent, tmp_path / "bnbench", ignore=ignored)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    changed = tmp_path / "bnbench" / "variants" / "matrix_numpy.py"
    twice = "\n\n_step = MatrixNumpy.step\nMatrixNumpy.step = lambda self: (_step(self), _step(self), _step(self))\n"
    changed.write_text(changed.read_text() + twice)
    compare_them = [sys.executable, "-m", "bnbench", "compare", "--interleaved", "--variants", "matrix-numpy"]
    compare_them += ["--sizes", "1000x8x8", "--passes", "4", "--json"]

    def compared(*flags):
        return subprocess.run([*compare_them, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)

    done = compared("--old-ref", "HEAD", "--out", "runs")
    assert done.returncode == 3, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["verdict"] == "slower"
    assert 1.5 < cell["ratio"] < 6
    assert 1.5 < cell["again"] < 6
    assert rows(tmp_path / "runs" / "again" / "new")[0]["samples_s"] != rows(tmp_path / "runs" / "new")[0]["samples_s"]
    records = rows(tmp_path / "runs" / "new")
    assert records[0]["variant"] == "matrix-numpy"
    assert len(records[0]["passes"]) == 4
    unknown = compared("--old-ref", "nowhere")
    assert unknown.returncode == 2
    assert "'nowhere'" in unknown.stderr


def test_an_interrupt_leaves_no_empty_runs(tmp_path, monkeypatch, capsys):
    # catches: run folders without a record, which the next comparison to the same --out would be refused for
    def interrupted(*arguments, **more):
        assert (tmp_path / "out" / "old" / store.ENVIRONMENT).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(interleaved, "checkout", lambda ref, folder: folder)
    monkeypatch.setattr(interleaved, "interleave", interrupted)
    command = ["compare", "--interleaved", "--old-ref", "HEAD", "--variants", "matrix-numpy", "--sizes", "10x2x2"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 130
    assert not list((tmp_path / "out").iterdir())


def test_what_was_there_before_is_not_discarded(tmp_path, monkeypatch, capsys):
    # catches: an interrupt or a refusal that takes along what else lies in the folder, a run of one side left behind
    monkeypatch.setattr(interleaved, "checkout", lambda ref, folder: folder)
    command = ["compare", "--interleaved", "--old-ref", "HEAD", "--variants", "matrix-numpy", "--sizes", "10x2x2"]
    for name in ("new", "old"):
        out = tmp_path / f"out-{name}"
        (out / name).mkdir(parents=True)
        (out / name / store.ENVIRONMENT).write_text("{}")
        (out / name / "mine.txt").write_text("mine")
        assert cli.main([*command, "--out", str(out)]) == 2
        assert re.search("allowed is|use ", capsys.readouterr().err)
        assert [path.name for path in out.iterdir()] == [name]
        assert sorted(path.name for path in (out / name).iterdir()) == [store.ENVIRONMENT, "mine.txt"]


def test_a_flag_is_no_ref(tmp_path):
    # catches: git's own flags, which write files, taken for a commit
    with pytest.raises(interleaved.VersionError, match="--output"):
        interleaved.checkout(f"--output={tmp_path / 'written'}", tmp_path)
    assert not list(tmp_path.iterdir())


def test_passes_are_joined_field_by_field():
    # catches: the first pass's clock, threads or algorithm taken for those of all
    def timed(step_s, **more):
        accounts = {"elapsed_s": 1.0, "stolen_s": 0.5, "others_s": 0.0, "switches": [1] * 3, "faults": [0.0] * 3}
        said = {"first_step_s": step_s, "threads_in_force": {"numba": 1}, "interleaved": 4}
        return record([step_s] * 3, **(accounts | said | more))

    judged = record(errors={"dG1": {"error": 0.0}}, reason="ill-conditioned")
    one = timed(1e-3, clock_mhz=[2000, 3000], details={"algorithm": "stored"}, errors={"wrong": {}})
    two = timed(2e-3, clock_mhz=None, details={"algorithm": "stored"}, threads_in_force={"numba": 2}, prepare_s=0.05)
    three = timed(1e-3, clock_mhz=[1000, 2500], details={"algorithm": "one-pass"}, inner_loops=2)
    found = joined(judged, [one, two, three])
    assert found.passes == (3, 3, 3)
    assert found.samples_s == (1e-3,) * 3 + (2e-3,) * 3 + (1e-3,) * 3
    assert found.clock_mhz == (1000, 3000)
    assert found.details == {"algorithm": "stored, one-pass"}
    assert found.threads_in_force == {"numba": 2}
    assert (found.inner_loops, found.prepare_s, found.elapsed_s) == (2, 0.05, 3.0)
    assert (found.errors, found.reason) == (judged.errors, "ill-conditioned")
    assert joined(judged, [two, two]).clock_mhz is None
    assert joined(judged, [one, record(status="timeout")]).status == "timeout"
    cool = {"after": {"held_down": ""}}
    hot = {"after": {"held_down": "power cap"}}
    assert joined(judged, [one.having(clocks=clocks) for clocks in (cool, hot, cool)]).clocks == hot
    assert Record.of(found.row()) == found
    measured = set(Record.__struct_fields__) - {
        "variant",
        "cell",
        "family",
        "device",
        "host",
        "machine",
        "data",
        "status",
    }
    of_the_first = {"reason", "errors", "max_error_ratio"}
    not_measured_there = {"passes", "compile_s", "kernels", "gemm_flops_s", "triad_bytes_s", "limit_s"}
    assert measured - of_the_first - not_measured_there == set(JOINED)


def test_peers_are_left_out_for_what_they_are(monkeypatch):
    # catches: a plug-in from speers.py that is left out, a plug-in's question asked where a hang would cost everything
    def asked(cls):
        raise AssertionError

    known = dict(bnbench.variants()) | {"mine": type("Mine", (), {"__module__": "speers", "unavailable": asked})}
    monkeypatch.setattr(sys.modules["bnbench.variants"], "variants", lambda: known)
    found = beside.own_variants()
    assert "mine" in found
    assert {"fused-numba", "loops-python"} < set(found)
    assert not {"autograd", "torch-eager", "r-loop", "jax-cuda"} & set(found)


def test_what_was_named_and_not_measured_is_no_pass():
    ok, gone = record([1e-3]), record(status="unavailable", reason="too old")
    assert compare_command.not_compared([ok, gone], [ok, ok], ["mine"]) == []
    assert compare_command.not_compared([gone], [ok], ["mine"]) == [
        "mine was measured at no cell on both sides: in OLD unavailable: too old"
    ]
    other = gone.having(variant="other")
    assert compare_command.not_compared([ok, other], [ok, other], []) == []
    assert len(compare_command.not_compared([other, gone], [ok.having(variant="other"), ok], [])) == 1


def test_pairs_stay_together_where_memory_is_short(monkeypatch):
    # catches: both versions sampled one after the other, and compared as if they had been side by side
    plan = Plan(sizes=("1000x8x8",), threads=(1,))
    (cell,) = plan.cells()
    lanes = {f"{name} ({side})": name for side in interleaved.SIDES for name in ("loops-numba", "matrix-numpy")}
    pairs, planned = Pairs(lanes, rounds=12, least=3), planner.Planner(plan, list(lanes), (), timing=True)
    measurements = [Measurement(lane, cell, record()) for lane in lanes]

    def groups():
        return pairs.groups(measurements, fit=planned.fit_together(cell.problem, measurements))

    assert [len(group) for group in groups()] == [4]
    monkeypatch.setattr(planner, "available_bytes", lambda: 0)
    found = [sorted(measurement.lane for measurement in group) for group in groups()]
    assert found == [[f"{name} (new)", f"{name} (old)"] for name in ("loops-numba", "matrix-numpy")]
