"""Machines that are not like this one: a quota of processors, no /proc, few files, Windows. All made up."""

import os

import psutil
import pytest

from bnbench.measure import cgroup, environment, interference
from bnbench.measure.noise import noise
from bnbench.measure.plan import Plan
from bnbench.problem import Problem
from bnbench.record import Cell, Record
from bnbench.store import new_environment


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A function that makes files of control groups up, by their path from /sys/fs/cgroup on."""

    def make(membership, **files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "root" / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        cgroup._limited.cache_clear()

    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "root")
    yield make
    cgroup._limited.cache_clear()


def test_a_quota_is_in_every_account(groups, monkeypatch):
    # catches: a container with half a processor timed on all of them, and nobody told
    monkeypatch.setattr(environment, "processors", lambda: 8)
    groups("0::/\n", cpu_DOT_max="50000 100000\n", cpu_DOT_stat="nr_throttled 3\nthrottled_usec 2500000\n")
    assert (cgroup.quota(), cgroup.held_s()) == (0.5, 2.5)
    assert environment.default_threads() == 1
    assert Plan().threads == (1,)
    found = environment.describe()
    assert found["machine"]["processor_quota"] == 0.5
    assert any("a control group's quota gives this process 0.5 of 8 processors" in text for text in found["warnings"])
    without = {name: value for name, value in found["machine"].items() if name != "processor_quota"}
    assert new_environment(found, {}, "")["machine_id"] != environment.machine_id(without)

    before = interference.Usage.now()
    groups("0::/\n", cpu_DOT_stat="throttled_usec 3500000\n")
    assert before.until(interference.Usage.now()).stolen_s >= 1
    measured = {"samples_s": (1e-3,) * 9, "elapsed_s": 4.0, "stolen_s": 1.0, "others_s": 0.0}
    record = Record(variant="mine", cell=Cell(Problem(10, 2, 2)), status="ok", **measured)
    assert "interference" in noise(record)


@pytest.mark.parametrize(
    ("membership", "files", "found"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu_DOT_max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a__cpu_DOT_max": "150000 100000", "a__b__cpu_DOT_max": "400000 100000"}, 1.5),
        ("0::/of/the/host\n", {"cpu_DOT_max": "300000 100000"}, 3.0),  # a container that sees its group as the root
        ("4:memory:/x\n2:cpu,cpuacct:/x\n0::/\n", {
            "cpu,cpuacct__x__cpu_DOT_cfs_quota_us": "50000", "cpu,cpuacct__x__cpu_DOT_cfs_period_us": "100000",
            "cpu__x__cpu_DOT_cfs_quota_us": "50000", "cpu__x__cpu_DOT_cfs_period_us": "100000",
        }, 0.5),
        ("1:cpu:/\n", {"cpu__cpu_DOT_cfs_quota_us": "-1", "cpu__cpu_DOT_cfs_period_us": "100000"}, None),
        ("", {"cpu_DOT_max": "nonsense"}, None),
    ],
)  # fmt: skip
def test_quotas_of_both_versions_are_found(groups, membership, files, found):
    groups(membership, **files)
    assert cgroup.quota() == found
    assert environment.default_threads() == max(1, min(environment.processors(), int(found or 10**6)))


def test_what_others_used_is_all_that_was_used_less_ones_own():
    # catches: a process's own work taken for somebody's in its way
    before = interference.Usage(10.0, 100.0, 3.0, 5.0, 7)
    found = before.until(interference.Usage(12.0, 103.0, 3.5, 6.5, 9))
    assert (found.others_s, found.stolen_s, found.switches) == (1.5, 0.5, 2)
    assert before.until(interference.Usage(12.0, 0.0, 3.0, 6.5, 9)).others_s == 0  # where the system does not say


def test_what_the_system_does_not_say_is_left_out(monkeypatch):
    # catches: a traceback where /proc or /sys are not mounted, or a function of POSIX is missing
    def nothing(*_, **__):
        raise FileNotFoundError("/proc/meminfo")

    for name in ("virtual_memory", "swap_memory", "cpu_count", "sensors_battery"):
        monkeypatch.setattr(psutil, name, nothing)
    monkeypatch.setattr(psutil.Process, "children", nothing)
    monkeypatch.setattr(environment, "_read", lambda path: "")
    monkeypatch.delattr(os, "getloadavg")
    found = environment.describe()
    assert found["machine"]["memory_gib"] > 0
    assert found["load_average"] == []
    assert interference.children() == ()
