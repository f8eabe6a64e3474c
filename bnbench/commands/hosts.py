"""`sweep --dask`: the same sweep on every host of a Dask cluster, and their records in one run.

    asked      each worker says its name, machine and version; other versions are refused before anything runs
    running    one task a host, pinned to its worker, never retried or stolen; of a machine's workers one at a time
    returned   its records are stored here, and then its folder there is deleted
    lost       its worker is gone: what its sweep had synced stays in its folder, and `--resume` goes on with it

Dask carries flags out and records back; nothing of it is between a timer and its clock.
"""

import contextlib
import hashlib
import re
import secrets
import shlex
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnbench import store
from bnbench.commands import on_host
from bnbench.commands.common import (
    FAULT,
    FILES,
    INTERRUPTED,
    OK,
    UsageError,
    command_line,
    conclude,
    default_folder,
    flags_given,
    needs_workers,
    write_report,
)
from bnbench.commands.progress import clock
from bnbench.commands.terminal import console, listed, wrapped
from bnbench.measure import environment
from bnbench.report import units
from bnbench.temporary import TemporaryFolder

RESOURCE = "bnbench"  # workers that declare it are the hosts; else those with a name are, and one of each machine
POLL_S = 0.5
STOPPING_S = 30.0  # that hosts have to hand back what they have when the sweep is interrupted
CONNECTING_S, RETURNING_S = 10.0, 60.0


@dataclass
class Host:
    """A worker on which a sweep is run.

    Attributes:
        boot: the same for hosts that are on one machine, whose sweeps would disturb each other.
    """

    name: str
    address: str
    boot: str
    resources: dict[str, float]
    version: str
    machine: dict[str, Any]
    software: dict[str, str]
    task: Any = None
    begun_s: float = field(default_factory=time.monotonic)


def run(options: Namespace) -> int:
    """`sweep --dask`."""
    if options.dry_run:
        raise UsageError("--dry-run is given with --dask; allowed is one of them, for each host makes its own plan")
    needs_workers()
    described = {}
    if options.resume and (Path(options.out) / store.ENVIRONMENT).exists():
        described = store.read_environment(options.out)
    words = flags(options, described.get("command", ""))
    with connected(options.dask) as client:
        hosts = found(client)
        described = described or new_environment(options)
        folder = Path(options.out) if options.out else default_folder(described)
        try:
            journal = store.Journal(folder, described, resume=options.resume)
        except store.StoreError as error:
            raise UsageError(error) from error
        with journal:
            sweep = Sweep(client, journal, described, hosts, words, quiet=options.quiet)
            try:
                sweep.run()
            except KeyboardInterrupt:
                sweep.interrupt()
            again = f"bnbench sweep --dask {options.dask} --resume --out {shlex.quote(str(folder))}"
            if sweep.interrupted:
                sweep.say(f"interrupted; {len(journal.records)} records are kept. To go on:\n  {again}", always=True)
                return INTERRUPTED
            if not journal.records:
                journal.discard()
                raise UsageError("; ".join(sweep.faults) or "no host has handed back a record")
            frame, remarks = write_report(folder, journal.records)
        for remark in [*sweep.incomplete(), *remarks]:
            sweep.say(f"note: {remark}")
    if sweep.lost:
        sweep.say(f"not complete: {listed(sweep.lost)} did not finish. To go on:\n  {again}", always=True)
    for fault in sweep.faults:
        print(f"bnbench: {fault}", file=sys.stderr)
    return max(conclude(frame, folder, options.json), FAULT if sweep.faults or sweep.lost else OK)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "--dask needs Dask's distributed, which is not installed; pip install 'bnbench[dask]' adds it"
        ) from error
    try:
        client = Client(address, timeout=CONNECTING_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--dask is {address!r}, where no Dask scheduler answers ({type(error).__name__}); "
            "allowed is an address such as tcp://10.0.0.1:8786"
        ) from error
    try:
        yield client
    except OSError as error:
        if type(error).__module__.startswith("distributed"):  # CommClosedError
            raise UsageError(f"the Dask scheduler at {address} is gone; --resume goes on") from error
        raise
    finally:
        client.close(timeout=2)


def found(client: Any) -> list[Host]:
    """The hosts of a cluster, by name.

    Raises:
        UsageError: there are none, two have one name, or one has another bnbench than this.
    """
    from bnbench.commands.on_host import identity

    answers, own = client.run(identity, on_error="return"), on_host.own_identity()["version"]
    for address, answer in answers.items():
        if isinstance(answer, BaseException):
            raise UsageError(f"the bnbench of worker {address} cannot be asked: {type(answer).__name__}: {answer}")
    if others := [f"{given['name']} has {given['version']}" for given in answers.values() if given["version"] != own]:
        raise UsageError(f"hosts need the bnbench that is here, {own}; {', '.join(sorted(others))}")
    hosts = [Host(**given, address=address) for address, given in answers.items()]
    if any(RESOURCE in host.resources for host in hosts):
        hosts = [host for host in hosts if RESOURCE in host.resources]
    chosen: dict[str, Host] = {}
    machines = {host.boot for host in hosts if host.name != host.address}
    for host in hosts:
        if host.name == host.address:  # nobody named it
            if host.boot in machines:
                continue
            machines.add(host.boot)
            host.name = host.machine["host"]
        host.name = re.sub(r"[^\w.@-]+", "-", host.name)
        if host.name in chosen:
            raise UsageError(f"two hosts are named {host.name}; give their workers names: dask worker --name NAME")
        chosen[host.name] = host
    if not chosen:
        raise UsageError("the Dask cluster has no worker; start some: dask worker ADDRESS")
    return sorted(chosen.values(), key=lambda host: host.name)


def new_environment(options: Namespace) -> dict[str, Any]:
    """What describes a run over hosts before any of them is done; `machine` is the one it was begun on."""
    described = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": environment.machine(),
        "software": environment.software(),
    }
    begun = store.new_environment(described, {}, command_line("sweep", options))
    return begun | {"token": secrets.token_hex(8), "hosts": {}}


def flags(options: Namespace, command: str) -> list[str]:
    """The flags that each host gets: those given, and of a run that is resumed those of its command; whole paths."""
    given = vars(options).copy()
    if command:
        from bnbench.cli import parser

        for name, value in vars(parser().parse_args(shlex.split(command)[3:])).items():
            if given.get(name) in (None, False) and value not in (None, False):
                if name in FILES:
                    raise UsageError(f"the run was made with --{name}, whose path it does not keep: give it again")
                given[name] = value
    pairs = flags_given(Namespace(**given), ("dask",), Path.resolve)
    return [f"{flag}={text}" if text else flag for flag, text in pairs]


class Sweep:
    """The tasks on the hosts, and what they hand back.

    Attributes:
        faults: what went wrong on a host, a sentence each.
        lost: the hosts that did not finish.
    """

    def __init__(
        self,
        client: Any,
        journal: store.Journal,
        described: dict[str, Any],
        hosts: list[Host],
        words: list[str],
        *,
        quiet: bool,
    ) -> None:
        self.client, self.journal, self.described, self.words, self.quiet = client, journal, described, words, quiet
        self.waiting, self.running = list(hosts), list[Host]()
        self.faults: list[str] = []
        self.lost: list[str] = []
        self.interrupted = False
        self.console = console(stderr=True)
        for remark in [*journal.remarks, *differing(hosts)]:
            self.say(f"note: {remark}")
        counts = Counter(record.host for record in journal.records)
        for name in set(described["hosts"]) - {host.name for host in hosts}:
            self.say(f"{name}: is not in the cluster; its {units.plural(counts[name], 'record')} are kept")
            self.lost += [name] * (counts[name] < max(counts.values(), default=0))

    def say(self, text: str, *, always: bool = False) -> None:
        """Print a text to standard error; an indented line stays whole."""
        if always or not self.quiet:
            lines = (line if line.startswith("  ") else wrapped(line, self.console.width) for line in text.split("\n"))
            self.console.print("\n".join(lines), markup=False, soft_wrap=True)

    def run(self) -> None:
        """Have every host do its sweep."""
        while self.waiting or self.running:
            busy = {host.boot for host in self.running}
            for host in [*self.waiting]:
                if host.boot not in busy:
                    busy.add(host.boot)
                    self.begin(host)
            self.collect()
            time.sleep(POLL_S)

    def begin(self, host: Host) -> None:
        """Send a host its sweep, with the records it has made before."""
        self.waiting.remove(host)
        files, about = {}, f"{host.machine['cpu']}, {units.plural(host.machine['processors'], 'processor')}"
        if known := self.described["hosts"].get(host.name):
            own = [record for record in self.journal.records if record.host == host.name]
            about += f"; {units.plural(len(own), 'record')} there already"
            files = dict(zip(on_host.KEPT, store.as_files(known, own), strict=True))
        exclusive = {"resources": {RESOURCE: 1}} if RESOURCE in host.resources else {}
        host.begun_s = time.monotonic()
        host.task = self.client.submit(
            on_host.sweep, self.name(host), self.words, files, key=f"bnbench-{self.name(host)}-{secrets.token_hex(4)}",
            workers=[host.address], allow_other_workers=False, pure=False, retries=0, **exclusive,
        )  # fmt: skip
        self.running.append(host)
        self.say(f"{host.name}: begins ({about})")

    def name(self, host: Host) -> str:
        """What names the run's folder on a host."""
        return f"{self.described['token']}-{hashlib.sha256(host.name.encode()).hexdigest()[:8]}"

    def collect(self) -> None:
        """Take what hosts have handed back, and note those whose workers are gone."""
        there = self.client.nthreads()
        for host in [*self.running]:
            if host.task.status == "pending" and host.address in there:
                continue
            try:
                returned = None if host.task.status == "pending" else host.task.result(timeout=RETURNING_S)
                why = "its worker is gone"
            except Exception as error:  # whatever its worker met, or the way from there
                returned, why = None, f"{type(error).__name__}: {error}"
            if returned is None:
                host.task.cancel()
                self.lost.append(host.name)
                self.faults.append(f"{host.name} was lost after {clock(time.monotonic() - host.begun_s)}: {why}")
                self.say(f"{self.faults[-1]}; --resume makes its records")
            else:
                self.take(host, returned)
            self.running.remove(host)

    def take(self, host: Host, returned: on_host.Returned) -> None:
        """Store what a host has handed back, then have it delete its folder."""
        records = []
        if len(returned.files) == len(on_host.KEPT):
            with TemporaryFolder() as room:
                for name, content in returned.files.items():
                    (room / name).write_bytes(content)
                self.described["hosts"][host.name] = of_host = store.read_environment(room)
                records = [record.having(host=host.name) for record in store.read_journal(room)[0]]
            self.described["plan"] = self.described["plan"] or of_host["plan"]
            store.write_json(self.journal.folder / store.ENVIRONMENT, self.described)
            stored = {record.key: record for record in self.journal.records if record.host == host.name}
            for record in records:
                if record != stored.get(record.key):
                    self.journal.append(record)
            self.client.run(on_host.forget, self.name(host), workers=[host.address], on_error="ignore")
        took = clock(time.monotonic() - host.begun_s)
        ok = sum(record.status == "ok" for record in records)
        self.say(f"{host.name}: {ok} of {units.plural(len(records), 'record')} ok after {took}")
        if returned.code not in (OK, INTERRUPTED):
            lines = [line for line in returned.said.splitlines() if line.strip()]
            if not lines and returned.code != FAULT:  # which the records tell
                lines = [f"the sweep ended with status {returned.code}"]
            self.faults += [f"{host.name}: {line.removeprefix('bnbench: ')}" for line in lines]
        if returned.code not in (OK, FAULT):
            self.lost.append(host.name)

    def interrupt(self) -> None:
        """End the sweeps on all hosts, and store what they have."""
        self.interrupted, self.waiting = True, []
        self.say("stopping the hosts", always=True)
        with contextlib.suppress(KeyboardInterrupt):
            for host in self.running:
                self.client.run(on_host.stop, self.name(host), workers=[host.address], on_error="ignore")
            until = time.monotonic() + STOPPING_S
            while self.running and time.monotonic() < until:
                self.collect()
                time.sleep(POLL_S)

    def incomplete(self) -> list[str]:
        """What a time budget left out."""
        left = sum(record.lacked_time for record in self.journal.records)
        return [f"the time budget left out {left} records; --resume with another --time-budget makes them"] * bool(left)


def differing(hosts: list[Host]) -> list[str]:
    """What of the software is not the same on all hosts, and which of them are on one machine, a sentence each."""
    remarks = []
    for package in dict.fromkeys(name for host in hosts for name in host.software):
        versions = {host.name: host.software.get(package, "not installed") for host in hosts}
        if len(set(versions.values())) > 1:
            said = ", ".join(f"{version} on {name}" for name, version in versions.items())
            remarks.append(f"hosts differ in {package}: {said}")
    for boot in dict.fromkeys(host.boot for host in hosts):
        names = [host.name for host in hosts if host.boot == boot]
        if len(names) > 1:
            remarks.append(f"{listed(names)} are on one machine, and are swept one after the other")
    return remarks
