"""Runs as they are read for a comparison, and what forbids one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnbench import store
from bnbench.measure.fingerprints import MEASURING
from bnbench.record import ADDED, Record

FREE = (  # of it: may differ
    *("variants", "named", "plugins", "N", "p1", "p2", "sizes", "memory", "keep_memory", "passes"),
    *("time_budget", "timeout"),
)


@dataclass(frozen=True)
class Run:
    """A run folder's content."""

    folder: Path
    environment: dict[str, Any]
    records: list[Record]
    remarks: list[str]

    @property
    def interleaved(self) -> str:
        """What names the sweep in which this run was made beside another version; "" where it was made alone."""
        return self.environment.get("interleaved", "")

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each variant, and of what measures them, the fingerprint; none in runs of before 2026-12."""
        return self.environment.get("fingerprints", {})


def read(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        StoreError: it is no run of this schema, or holds no record.
    """
    environment = store.read_environment(folder)
    records, remarks = store.read_journal(folder)
    if not records:
        raise store.StoreError(f"{folder} is a run without a record: {store.JOURNAL} is empty")
    return Run(Path(folder), environment, records, [f"{folder}: {remark}" for remark in remarks])


def paired(old: Run, new: Run) -> bool:
    """Whether two runs were made side by side."""
    return bool(old.interleaved) and old.interleaved == new.interleaved


def by_host(run: Run) -> dict[str, Run]:
    """A run over several hosts as a run of each, by name; any other is under "".

    That over a single host is as if it had been made there without Dask.
    """
    hosts = run.environment.get("hosts")
    if hosts is None:
        return {"": run}
    if len(hosts) == 1:
        records = [record.having(host=None) for record in run.records]
        return {"": replace(run, environment=next(iter(hosts.values())), records=records)}
    return {
        name: Run(run.folder / name, own, [record for record in run.records if record.host == name], run.remarks)
        for name, own in hosts.items()
    }


def differences(old: Run, new: Run) -> list[str]:
    """What of the machine or the settings differs, as "name: of OLD, of NEW"; a comparison needs it to be the same.

    Of runs over hosts it is what differs on those that both have.
    """
    return _over_hosts(old, new, _differences)


def software(old: Run, new: Run) -> list[str]:
    """What of the software and the host's name differs: worth knowing, and often what a comparison is made for."""
    return _over_hosts(old, new, _software)


def _over_hosts(old: Run, new: Run, differ: Callable[[Run, Run], list[str]]) -> list[str]:
    before, after = by_host(old), by_host(new)
    if not (both := [host for host in before if host in after]):
        return [f"hosts: {_say([*filter(None, before)])}, {_say([*filter(None, after)])}"]
    return [f"{host} {said}".lstrip() for host in both for said in differ(before[host], after[host])]


def _differences(old: Run, new: Run) -> list[str]:
    machines = [run.environment["machine"] | {"host": ""} for run in (old, new)]
    return _differing(*machines) + _settings(old, new)


def _settings(old: Run, new: Run) -> list[str]:
    """What differs of the settings that make times what they are."""
    added = {name: [value] for name, value in ADDED.items()}  # axes that an older run does not name
    plans = [added | run.environment["plan"] for run in (old, new)]
    kept = [{name: value for name, value in plan.items() if name not in FREE} for plan in plans]
    return _differing(*kept)


def measured_otherwise(old: Run, new: Run) -> list[str]:
    """What of the way of measuring is known to differ, in words."""
    made = [run.fingerprints.get(MEASURING) for run in (old, new)]
    code = ["bnbench's own measuring: it was changed"] if all(made) and made[0] != made[1] else []
    settings = [{name: run.environment["plan"].get(name) for name in ("passes", "memory")} for run in (old, new)]
    return code + _differing(*settings) + _settings(old, new)


def _software(old: Run, new: Run) -> list[str]:
    known = [
        run.environment.get("software", {}) | {"host": run.environment["machine"].get("host")} for run in (old, new)
    ]
    return _differing(*known)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two descriptions differ; a setting that an older run does not know counts as off."""
    names = [name for name in dict.fromkeys([*one, *other]) if (one.get(name) or None) != (other.get(name) or None)]
    return [f"{name}: {_say(one.get(name))}, {_say(other.get(name))}" for name in names]


def _say(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
