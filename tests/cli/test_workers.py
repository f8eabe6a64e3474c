"""Workers and what may come of them: what they answer, how they die, what they leave, and what counts as judged."""

import gc
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import PLUGINS, bnbench

import bnbench as package
from bnbench import temporary
from bnbench.commands.sweep import not_judged
from bnbench.measure import deaths, given, worker
from bnbench.measure.child import Child, ChildError
from bnbench.measure.interference import Interference, Sample
from bnbench.measure.judge import LOADED, PREPARED, TIMED, Judge
from bnbench.measure.protocol import ANSWERS, read
from bnbench.problem import Problem
from bnbench.record import Cell, Record
from bnbench.reference import reference
from bnbench.validation import judge, parts_of

ODD = '''
"""A child that answers what no child should."""

import os
import pickle
import signal
import sys
import time
from multiprocessing.connection import Connection

from bnbench.measure.child import serve

def raw(*parts):
    for part in parts:
        os.write(int(sys.argv[1]), part)
    time.sleep(60)

def message(content):
    return len(content).to_bytes(4, "big") + content

def spin():
    while True:
        pass

serve({
    "half": lambda: raw((1000).to_bytes(4, "big"), b"half"),
    "no length": lambda: raw(b"\\xff\\xf0hello"),
    "no pickle": lambda: raw(message(b"hello")),
    "no pair": lambda: raw(message(pickle.dumps(3))),
    "no status": lambda: raw(message(pickle.dumps((False, ("fine", "why"))))),
    "a stranger": lambda: raw(message(b"cnowhere\\nAtAll\\n.")),
    "two": lambda: raw(2 * message(pickle.dumps((True, None)))),
    "a lambda": lambda: lambda: None,
    "large": lambda: bytes(3 * 2**20),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "spin": spin,
})
'''


@pytest.fixture
def odd(tmp_path):
    """Starts a child that answers what no child should."""
    (tmp_path / "odd.py").write_text(ODD)
    started = []

    def start():
        started.append(Child("odd", [], os.environ | {"PYTHONPATH": str(tmp_path)}, 2**33))
        return started[-1]

    yield start
    for child in started:
        child.kill()


def test_whatever_comes_over_the_pipe_is_an_answer_or_its_childs_failure(odd):
    # catches: a traceback of the sweep, or a wait without end, for what a plug-in wrote, forked or could not pickle
    child = odd()
    assert child.ask("large", timeout=60) == bytes(3 * 2**20)
    with pytest.raises(ChildError) as found:
        child.ask("a lambda", timeout=60)
    assert (found.value.status, child.alive) == ("failed", True)
    for do, status, word in (
        ("half", "timeout", "no answer"),
        ("no length", "crashed", "it begins with"),
        ("no pickle", "crashed", "cannot be read"),
        ("no pair", "crashed", "cannot be read"),
        ("no status", "crashed", "is no failure"),
        ("a stranger", "crashed", "nowhere"),
        ("two", "crashed", "more than one"),
        ("SIGKILL", "crashed", "by whom is not known"),
    ):
        child = odd() if not child.alive else child
        with pytest.raises(ChildError) as found:
            child.ask(do, timeout=0.5 if do == "half" else 60)
        assert (found.value.status, word in found.value.reason) == (status, True), (do, found.value.reason)
        assert "\n" not in found.value.reason
        assert not child.alive


def test_what_is_known_of_a_death_is_said():
    # catches: every SIGKILL called a lack of memory, signals without a name, an account read twice for one death
    seen = deaths.Seen(os.getpid())
    assert deaths.explain(signal.SIGKILL, seen, short=2**20)[0] == "crashed"
    seen.look(2**30)
    assert deaths.explain(signal.SIGKILL, seen, short=2**20) == (
        "crashed", "killed by SIGKILL, by whom is not known; at least 1 GiB of memory were left"
    )  # fmt: skip
    assert deaths.explain(signal.SIGKILL, seen, short=2**31)[0] == "out-of-memory"
    assert "signal 40" in deaths.explain(40, seen, short=0)[1]
    assert "SIGSEGV" in deaths.explain(signal.SIGSEGV, seen, short=0)[1]
    deaths.Seen.expected_kills -= 1
    assert deaths.explain(signal.SIGKILL, seen, short=0)[0] == "out-of-memory"
    assert deaths.explain(signal.SIGKILL, seen, short=0)[0] == "crashed"
    seen.cpu_limit_s, seen.cpu_s = 10.0, 9.5
    status, reason = deaths.explain(signal.SIGKILL, seen, short=2**31)
    assert (status, "limit of processor time (ulimit -t: 10 s)" in reason) == ("crashed", True)


def test_a_limit_of_processor_time_is_recognised(tmp_path):
    # catches: a limit that the parent does not know of, an account that is gone with the process
    (tmp_path / "odd.py").write_text(ODD)
    script = (
        "import os, resource\n"
        "from bnbench.measure.child import Child, ChildError\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (4, 4))\n"
        "try:\n"
        "    Child('odd', [], dict(os.environ), 2**33).ask('spin', timeout=60)\n"
        "except ChildError as error:\n"
        "    print(error.status, error.reason)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(package.__file__).parents[1]}"},
    )  # fmt: skip
    assert found.stdout == "crashed ended by SIGKILL at its limit of processor time (ulimit -t: 4 s)\n"


@pytest.fixture
def serving(monkeypatch):
    """A worker of a variant in this process."""
    monkeypatch.setattr(worker, "limit_memory", lambda limit: None)

    def start(cls):
        found = worker.Worker("matrix-numpy")
        found.cls = cls
        return found

    yield start
    gc.unfreeze()


def test_every_answer_is_what_the_protocol_says(serving):
    # catches: a request without a type for its answer, a type that refuses a good one or takes a bad one
    problem = Problem(30, 3, 2)
    one = serving(package.variants()["matrix-numpy"])
    arguments = {do: {} for do in ANSWERS} | {
        "survey": {"problem": problem, "regime": "fresh"},
        "load": {"problem": problem, "table": None, "memory_limit": 0},
        "open": {"problem": problem, "regime": "fresh", "threads": 1},
        "derive": {"problem": problem, "regime": "fresh", "held": ()},
        "sample": {"inner_loops": 2, "step_s": 1e-4},
    }
    for do in ANSWERS:
        answer = getattr(one, do)(**arguments[do])
        read(do, answer)
        wrong = [[], {}, "a", (1.0, 2), math.nan, {"peak_bytes": True}]
        if isinstance(answer, dict):
            wrong += [answer | {name: bad} for name, value in answer.items() if name not in ("answer", "clock_mhz")
                      for bad in (None, math.nan, "a", True, [1]) if type(bad) is not type(value)]  # fmt: skip
            wrong += [answer | {"more": 1}]
        for other in wrong:
            if do not in ("derive", "device_times"):
                with pytest.raises(ValueError, match=r"."):
                    read(do, other)
    for took, accounts in ((math.nan, {}), (1.0, {"switches": "x"}), (1.0, {"elapsed_s": math.inf}), (-1.0, {})):
        with pytest.raises(ValueError, match=r"."):
            read("sample", Sample(took, Interference(**accounts)))
    with pytest.raises(ValueError, match=r"."):
        read("device_times", {"cold_s": math.nan, "clocks": {}})


def test_what_a_plugin_says_of_itself_becomes_text_and_numbers(serving):
    # catches: an object of a plug-in's that reaches the journal, a time that is none, a NaN in the memory model
    matrix_numpy = package.variants()["matrix-numpy"]

    class Odd(matrix_numpy):
        device_times = lambda self: {"cold_s": np.float32(2), "variant": "another"}  # noqa: E731
        details = lambda self: {1: object}  # noqa: E731
        use_threads = lambda self, threads: {"pool": np.int8(threads)}  # noqa: E731
        needs_bytes = classmethod(lambda cls, problem, regime: 10.0**300)

    problem = Problem(30, 3, 2)
    one = serving(Odd)
    read("survey", one.survey(problem, "fresh"))
    one.load(problem, None, 0)
    read("open", one.open(problem, "fresh", 1))
    read("reload", one.reload())
    assert one.device_times().keys() == {"cold_s", "clocks"}
    Odd.needs_bytes = classmethod(lambda cls, problem, regime: math.nan)
    with pytest.raises(ValueError, match="NaN"):
        one.survey(problem, "fresh")
    Odd.unsupported = classmethod(lambda cls, problem, regime: 3)
    with pytest.raises(TypeError, match=r"unsupported\(\) gives 3"):
        one.survey(problem, "fresh")
    Odd.unsupported = classmethod(lambda cls, problem, regime: "a\nb\0\x1b[31m\udcff é")
    assert one.survey(problem, "fresh")["unsupported"] == r"a b\x00\x1b[31m\udcff é"
    one.variant.time = lambda count: 0.0
    with pytest.raises(ValueError, match="no clock"):
        one.calibrate()
    one.variant.time = lambda count: 0.12 * count  # a sample of its own: calibration has made it, with its accounts
    found = one.calibrate()
    read("calibrate", found)
    ((took, accounts),) = found["samples"]
    assert (took, accounts.elapsed_s > 0) == (0.12, True)
    for took in (math.nan, -1.0, math.inf):
        one.variant.time = lambda count, took=took: took
        with pytest.raises(ValueError, match=r"time\(1\) is"):
            one.calibrate()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to a processor")
def test_a_worker_is_held_to_its_processors_until_its_cell_is_closed(serving):
    # catches: a worker that stays on one processor at a later cell, whose threads are more
    allowed = os.sched_getaffinity(0)
    one = serving(package.variants()["matrix-numpy"])
    try:
        for held, closes in ([min(allowed)], True), ([min(allowed)], False), (None, False):
            one.load(Problem(30, 3, 2), None, 0)
            one.open(Problem(30, 3, 2), "fresh", 1)
            one.reload()
            one.calibrate(held)
            assert os.sched_getaffinity(0) == set(held or allowed)
            if closes:
                one.close()
                assert os.sched_getaffinity(0) == allowed
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_the_other_parameters_have_other_signs_everywhere(normalization):
    # catches: a second verdict at which a mistake in a sign, or a parameter that is kept, hides
    for dtype in ("float32", "float64"):
        problem = Problem(12, 5, 1, "tanh", normalization, dtype=dtype)
        batch = given.protected(problem.sample())
        other = given.protected(given.other_parameters(batch, problem))
        for name, mine, theirs in zip(batch._fields[2:], batch[2:], other[2:], strict=True):
            if mine is not None:
                assert mine.dtype == theirs.dtype, name
                assert (np.sign(mine) * np.sign(theirs) == -1).all(), name
                assert not np.isclose(mine, -theirs).any(), name
                assert not any(array.flags.writeable for array in (mine, theirs)), name
        assert other.X is batch.X
        own = reference(batch, problem)
        for exchanged in range(2, 6):
            if batch[exchanged] is not None:
                mixed = batch._replace(**{batch._fields[exchanged]: other[exchanged]})
                conventions = {"activation": "tanh", "normalization": normalization, "variant": "matrix-numpy"}
                assert not judge(parts_of(package.gradients(*mixed, **conventions)), own, problem).valid


def test_a_digest_sees_what_flags_cannot_keep_off():
    # catches: an array that is left out, a change that adds up to nothing
    batch = Problem(6, 3, 2).sample()
    before = given.digest(batch)
    assert given.changed(batch, before) == ""
    batch.X[[0, 1]] = batch.X[[1, 0]]
    batch.beta[1] = -batch.beta[1]
    assert given.changed(batch, before) == "X, beta"


def test_the_judge_tells_ignored_parameters_from_wrong_ones():
    problem = Problem(20, 3, 2, "tanh")
    court = Judge()  # that has not been referred to the problem: one that died is started anew within a cell
    own = problem.sample()
    other = given.other_parameters(own, problem)
    at_own, at_other = (
        parts_of(package.gradients(*batch, activation="tanh", variant="matrix-numpy")) for batch in (own, other)
    )

    def ruled(answer, stage):
        return court.judge(answer, problem, None, stage)

    assert ruled(at_other, PREPARED).valid
    assert ruled(at_own, LOADED).valid
    assert "they are ignored" in ruled(at_other, LOADED).reason
    assert ruled(at_other, TIMED).reason.startswith("after it was timed: ")
    assert not ruled(at_own, PREPARED).valid


def test_temporary_folders_outlive_nobody(tmp_path, monkeypatch):
    # catches: what a kill leaves behind for good; another's folder, one in use or what a link leads to removed
    monkeypatch.setattr(temporary.tempfile, "tempdir", str(tmp_path))
    script = (
        "from bnbench.temporary import TemporaryFolder as F; import time; print(F().path, flush=True); time.sleep(60)"
    )
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    killed, living = (Path(owner.stdout.readline().strip()) for owner in owners)
    (killed / "below").mkdir()
    (killed / "below" / "file").write_text("x")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    (tmp_path / (temporary.PREFIX + "link")).symlink_to(kept)
    (tmp_path / (temporary.PREFIX + "file")).write_text("x")
    temporary.clear()
    assert killed.exists()
    owners[0].kill()
    owners[0].wait()
    with temporary.TemporaryFolder() as mine:
        assert not killed.exists()
        assert living.exists()
        assert mine.stat().st_mode & 0o077 == 0
        assert (kept / "file").exists()
    assert not mine.exists()
    owners[1].kill()
    owners[1].wait()


SLOW = """
import os, pathlib, time
import bnbench

@bnbench.variant("slow", family="matrix")
def step(*arrays, **conventions):
    time.sleep(0.02)
    with open(os.environ["STEPS"], "a") as steps:
        steps.write("x")
    return bnbench.gradients(*arrays, variant="matrix-numpy", **conventions)
"""


STOPPED = """
import numpy as np
from bnbench.measure.data import Table
from bnbench.measure.plan import Plan
from bnbench.measure.cell import Scope
from bnbench.measure.scheduler import Sweep

X = np.random.default_rng(0).normal(size=(40, 3))
plan = Plan(sizes=("40x3x2",), variants=("slow",), plugins=("slow.py",), threads=(1,), timeout=3.0, sampling_s=1.0)
from bnbench.variants import load_plugin
load_plugin("slow.py")
table, scope = Table(X, X[:, 0].copy(), "t", ""), Scope(limit=False)
with Sweep(plan, lambda record: record, table=table, scope=scope) as sweep:
    (record,) = sweep.run()
print(record.status, record.reason)
"""


def test_a_stopped_sweep_goes_on_and_leaves_nothing_behind(tmp_path):
    # catches: Ctrl-Z and fg counted against a variant's time; a copy of the table that a kill would leave in TMPDIR
    (tmp_path / "slow.py").write_text(SLOW)
    temporary, steps = tmp_path / "tmp", tmp_path / "steps"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(temporary), "STEPS": str(steps)},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (steps.exists() and steps.stat().st_size > 25):
            time.sleep(0.02)
        assert not list(temporary.iterdir())
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=120)[0]
    assert said == "ok \n"
    assert not list(temporary.iterdir())


NOT_JUDGED = """
import time
import bnbench

def asked(name, **methods):
    class Asked(bnbench.Variant):
        family = "matrix"
        step = result = lambda self: None
    Asked.name = name
    for method, function in methods.items():
        setattr(Asked, method, classmethod(function) if method != "prepare" else function)
    bnbench.variant(name, family="matrix")(Asked)

def large(self, *arguments):
    raise MemoryError("none left")

asked("hangs-when-asked", unsupported=lambda cls, problem, regime: time.sleep(600))
asked("takes-nothing", unsupported=lambda cls, problem, regime: "not this one")
asked("is-not-here", unavailable=lambda cls: "somewhere else")
asked("needs-more", prepare=large)
"""


def test_what_was_named_and_not_judged_is_no_pass(tmp_path):
    # catches: exit code 0 for what nobody has looked at; a question to a plug-in that hangs and takes the sweep along
    (tmp_path / "none.py").write_text(NOT_JUDGED)
    names = {"hangs-when-asked": "timeout", "takes-nothing": "unsupported", "is-not-here": "unavailable"}
    names |= {"needs-more": "out-of-memory"}
    size = ["--N", "9", "--p1", "2", "--p2", "2", "--activation", "relu", "--normalization", "batch"]
    size += ["--dtype", "float64", "--regime", "fresh"]
    done = bnbench(
        "verify", "--plugin", "none.py", "--variants", ",".join(names), *size, "--timeout", "3", cwd=tmp_path
    )
    assert done.returncode == 1
    for name, status in names.items():
        assert f"bnbench: {name} was judged at no cell; {status} at N=9" in done.stderr, done.stderr
    assert done.stderr.count("was judged at no cell") == len(names)
    pruned = bnbench(
        "sweep", "--variants", "matrix-numpy", "--time-budget", "0.01", "--out", tmp_path / "run", *size, bare=True
    )
    assert pruned.returncode == 1
    assert "matrix-numpy was judged at no cell; pruned" in pruned.stderr


def test_what_counts_as_judged():
    def record(variant, status, **more):
        return Record(variant=variant, status=status, cell=Cell(Problem(1, 1, 1)), reason="why", **more)

    part = [record("a", "ok"), record("a", "timeout"), record("b", "ok")]
    assert not not_judged(part, ["a", "b"])
    assert not_judged(part, ["a", "b"], everywhere=True) == [
        "a was not judged at 1 of 2 cells; timeout at N=1, p1=1, p2=1: why"
    ]
    assert not not_judged(part, [], everywhere=True)
    assert not not_judged([record("a", "timeout", max_error_ratio=0.1)], ["a"], everywhere=True)
    assert not not_judged([record("a", "ok"), record("a", "unsupported")], ["a"], everywhere=True)
    assert not not_judged([record("a", "crashed")], ["a"]), "said by the exit code of faults"
    assert not_judged([record("a", "pruned"), record("b", "unavailable")], []) == [
        "nothing was judged; a pruned at N=1, p1=1, p2=1: why"
    ]


def test_a_limit_on_data_lets_no_wrong_plugin_pass():
    # catches: workers that die of a limit below their own, and a check that then finds nothing wrong
    command = f"ulimit -d {5 * 2**20}; exec {sys.executable} -m bnbench verify --plugin {PLUGINS / 'wrong.py'}"
    command += " --variants wrong-sign --N 9 --p1 2 --p2 2 --activation relu --normalization batch --dtype float64"
    done = subprocess.run(["bash", "-c", command + " --json"], capture_output=True, text=True, check=False)
    assert (done.returncode, '"invalid"' in done.stdout) == (1, True), (done.stdout, done.stderr)
