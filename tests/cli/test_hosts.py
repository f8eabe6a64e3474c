"""A sweep over hosts as a user runs it: two workers of Dask's on this machine, told apart by their names."""

import _thread
import contextlib
import hashlib
import json
import logging
import os
import signal
import threading
import time
from pathlib import Path

import pandas
import pytest
from conftest import TESTS

from bnbench import store
from bnbench.commands import on_host
from bnbench.compare import runs

distributed = pytest.importorskip("distributed")

HOSTS = ("alpha", "beta")
VARIANTS = ("matrix-numpy", "loops-python")
SIZES = ("10x4x4", "20x4x4")
FLAGS = [f"--sizes={','.join(SIZES)}", f"--variants={','.join(VARIANTS)}", "--threads=1", "--sampling=0.05"]
# In the clean process alone: its environment is noted, and the machine's limit, which takes seconds, is left out.
CUSTOMIZED = """
import json, os, sys
if "bnbench.commands.on_host" in sys.orig_argv and "sweep" in sys.orig_argv:
    with open({noted!r}, "a") as file:
        file.write(json.dumps(dict(os.environ)) + "\\n")
    from bnbench.measure.crew import Crew
    Crew.roofs = lambda self, settings, stage: {{}}
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Where workers and their clean processes put what is temporary."""
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def cluster(room):
    noted = room / "environments.jsonl"
    (room / "sitecustomize.py").write_text(CUSTOMIZED.format(noted=str(noted)))
    path = os.pathsep.join([str(room), str(TESTS.parent)])
    options = {"nthreads": 1, "env": {"PYTHONPATH": path, "TMPDIR": str(room)}, "local_directory": str(room)}
    workers = {name: {"cls": distributed.Nanny, "options": options | {"name": name}} for name in HOSTS}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0", "port": 0, "host": "127.0.0.1"}}
    with distributed.SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


def synced(room, host):
    """A host's journal while it is being written, once it has a record."""
    of_host = hashlib.sha256(host.encode()).hexdigest()[:8]
    return [path for path in room.glob(f"bnbench-sweep-*-{of_host}/journal.jsonl") if path.stat().st_size]


@contextlib.contextmanager
def once(condition, act):
    """Meanwhile waits in a thread until a condition holds, then acts once."""

    def watch():
        while not over.wait(0.02):
            if found := condition():
                act(found)
                return

    over = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def complete(out):
    """Whether each host has each variant and cell once, and is in the table by its name."""
    table = pandas.read_csv(out / "summary.csv")
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    keys = [(line["host"], line["variant"], line["N"]) for line in lines]
    wanted = {(host, variant, int(size.split("x")[0])) for host in HOSTS for variant in VARIANTS for size in SIZES}
    assert (table["status"] == "ok").all()
    return sorted(keys) == sorted(wanted) and sorted(zip(table.host, table.variant, table.N, strict=True)) == sorted(
        keys
    )


@pytest.mark.exhaustive
def test_a_host_that_dies_costs_its_cells_and_resume_makes_them(cluster, room, tmp_path, command, bare):
    # catches: a lost host's task run on the other host, a sweep that waits for it for ever, cells made twice or under
    # the wrong name, what the nanny set in the process that is timed, folders left on the hosts
    out = tmp_path / "run"

    def kill(_):
        with distributed.Client(cluster, set_as_default=False) as client:
            pids = client.run(lambda dask_worker: (dask_worker.name, os.getpid()))
            os.kill(dict(pids.values())["beta"], signal.SIGKILL)

    with once(lambda: synced(room, "beta"), kill):
        done = command("sweep", "--dask", cluster.scheduler_address, *FLAGS, "--out", out)
    assert done.returncode == 1, done.stderr
    assert "beta was lost" in done.stderr
    assert f"--dask {cluster.scheduler_address} --resume --out {out}" in done.stderr
    records, _ = store.read_journal(out)
    assert [record.host for record in records] == ["alpha"] * 4

    cluster.wait_for_workers(2)
    (journal,) = synced(room, "beta")
    kept = journal.read_bytes()
    done = command("sweep", "--dask", cluster.scheduler_address, "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    assert complete(out)
    stored = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    before = [json.loads(line)["samples_s"] for line in kept.splitlines()]
    assert [line["samples_s"] for line in stored if line["host"] == "beta"][: len(before)] == before
    assert not [*room.glob("bnbench-sweep-*")]

    environments = [json.loads(line) for line in (room / "environments.jsonl").read_text().splitlines()]
    with distributed.Client(cluster, set_as_default=False) as client:
        of_worker = client.run(lambda: dict(os.environ))
    assert all(set(on_host.OF_NANNY) <= set(environment) for environment in of_worker.values())
    assert not any(set(on_host.OF_NANNY) & set(environment) for environment in environments)
    assert len(environments) == 4

    assert list(runs.by_host(runs.read(out))) == [*HOSTS]
    assert command("compare", out, out).returncode == 0
    refused = command("sweep", "--resume", "--out", out)
    assert (refused.returncode, "was made with --dask" in refused.stderr) == (2, True)


def test_hosts_with_another_version_are_refused(cluster, tmp_path, command, monkeypatch):
    # catches: runs of two versions merged as if they were of one, and a folder begun for what is refused
    monkeypatch.setattr(on_host, "own_identity", lambda: {"version": "9.9 (0123)"})
    done = command("sweep", "--dask", cluster.scheduler_address, *FLAGS, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "hosts need the bnbench that is here, 9.9 (0123); alpha has " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_a_host_refuses_is_said_with_its_name(cluster, tmp_path, command):
    # catches: a traceback, or an empty run, where the flags are wrong on the hosts
    done = command("sweep", "--dask", cluster.scheduler_address, "--N=none", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "bnbench: alpha: --N is 'none'; allowed is a whole number" in done.stderr
    assert not (tmp_path / "run" / "environment.json").exists()


def test_an_address_without_a_scheduler_is_refused(tmp_path, command, monkeypatch):
    # catches: a traceback of Dask's
    from bnbench.commands import hosts

    monkeypatch.setattr(hosts, "CONNECTING_S", 0.2)
    for address in ("tcp://127.0.0.1:1", "nowhere://x"):
        done = command("sweep", "--dask", address, *FLAGS, "--out", tmp_path / "run")
        assert (done.returncode, "where no Dask scheduler answers" in done.stderr) == (2, True), done.stderr


@pytest.mark.exhaustive
def test_an_interrupt_stops_the_hosts_and_keeps_what_they_have(cluster, room, tmp_path, command, bare):
    # catches: sweeps that go on on the hosts when nobody waits for them, and records that are lost with them
    out = tmp_path / "run"
    with once(lambda: synced(room, "alpha"), lambda _: _thread.interrupt_main()):
        done = command("sweep", "--dask", cluster.scheduler_address, *FLAGS, "--out", out)
    assert done.returncode == 130, done.stderr
    records, _ = store.read_journal(out)
    assert {record.host for record in records} == {"alpha"}
    until = time.monotonic() + 20
    while any("on_host" in arguments for arguments in map(arguments_of, Path("/proc").glob("[0-9]*"))):
        assert time.monotonic() < until
        time.sleep(0.1)
    done = command("sweep", "--dask", cluster.scheduler_address, "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    assert complete(out)


def arguments_of(process):
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_text()
    return ""
