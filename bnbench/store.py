"""A run on disk: environment.json once, then journal.jsonl, one synced line a record.

A (variant, cell) has one record, in a sweep over hosts one on each, and `--resume` does what has none. A later line
replaces it where it was pruned for lack of a time budget, and where another pass adds its samples. A line that a kill
tore off is dropped, and said; anything else that is not a record of this schema and machine is refused.
"""

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from bnbench.folder import ENVIRONMENT, JOURNAL, MANIFEST, Folder, FolderError, told, write_whole
from bnbench.measure.child import plain_line
from bnbench.measure.environment import machine, machine_id
from bnbench.record import KEPT, Count, Number, Rate, Record, typed

SCHEMA = 1


class Machine(msgspec.Struct):
    """What tells machines apart."""

    host: str = ""
    system: str = ""
    cpu: str = ""
    processors: Count = 0
    memory_gib: Number = 0


class SavedPlan(msgspec.Struct):
    """Of the settings of a run those that are read."""

    variants: list[str] = []


class Roofline(msgspec.Struct):
    """Rates of a machine, with so many threads or on a device."""

    dtype: str
    gemm_flops_s: Rate
    triad_bytes_s: Rate
    when: str = ""
    threads: Count | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.threads is None and self.device is None:
            raise ValueError("it has no threads")


class Description(msgspec.Struct):
    """Of environment.json what is read."""

    machine_id: str
    machine: Machine
    plan: SavedPlan
    command: str
    date: str | None = None
    software: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    interleaved: str = ""
    side: str = ""
    rooflines: list[Roofline] = []
    table: dict[str, Any] = {}
    hosts: dict[str, "Description"] = {}  # of a sweep over hosts: each one's own, as far as they came back
    token: str = ""

    def __post_init__(self) -> None:
        if self.date:
            datetime.fromisoformat(self.date).astimezone(UTC)


MAY_CHANGE = ("time_budget", "named", "passes")  # of the plan, when a run is resumed


class StoreError(FolderError):
    """A run folder cannot be used; the message is one line."""


def read_environment(folder: str | Path) -> dict[str, Any]:
    """The environment.json of a run.

    Raises:
        StoreError: it is missing, no JSON, or of another schema.
    """
    path = Path(folder) / ENVIRONMENT
    try:
        content = _loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{folder} is no run: {ENVIRONMENT} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise StoreError(f"{path} is not JSON: {error}") from error
    _check_schema(content, str(path))
    try:
        typed(content, Description)
    except (ValueError, OverflowError) as error:  # OverflowError: a date outside the calendar
        raise StoreError(f"{path} is not what describes a run: {error}") from error
    return content


def read_journal(folder: str | Path) -> tuple[list[Record], list[str]]:
    """The records of a run, and remarks (a torn last line).

    Raises:
        StoreError: there is no journal, or a line before the last is not a record, or is of another schema.
    """
    path = Path(folder) / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"{folder} is no run: {JOURNAL} cannot be read ({error.strerror})") from error
    torn, remarks = lines.pop(), []
    older = {"memory": KEPT} if _keeps_memory(folder) else {}
    latest: dict[tuple, tuple[int, Record]] = {}
    if torn:
        remarks.append(f"the last line of {JOURNAL} is torn ({len(torn)} bytes) and left out")
    for number, line in enumerate(lines, 1):
        where = f"{path} line {number}"
        try:
            row = _loads(line)
        except ValueError as error:
            raise StoreError(f"{where} is not JSON: {error}") from error
        _check_schema(row, where)
        try:
            record = Record.of(older | row)
        except (ValueError, OverflowError) as error:
            raise StoreError(f"{where} is not a record: {error}") from error
        first, before = latest.pop((record.host, record.key), (number, record))
        if first != number and not record.replaces(before):
            raise StoreError(f"{where} is not a record: its variant and cell are those of line {first}")
        latest[record.host, record.key] = number, record
    return [record for _, record in latest.values()], remarks


def _keeps_memory(folder: str | Path) -> bool:
    """Whether a run of before memory was an axis kept what was freed."""
    try:
        return read_environment(folder)["plan"].get("keep_memory") is True
    except StoreError:
        return False


def _loads(text: bytes) -> Any:
    """JSON without the NaN and infinities that it has no names for; ValueError for anything else.

    What cannot be printed, such as half a character or what moves a terminal's cursor, becomes its escape.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}")

    try:
        return _printable(json.loads(text, parse_constant=refuse))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isprintable() else plain_line(value)
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _check_schema(content: Any, where: str) -> None:
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema is None:
        raise StoreError(f"{where} is not bnbench's: it says no schema; allowed is what a sweep wrote")
    if schema != SCHEMA or isinstance(schema, bool):
        raise StoreError(
            f"{where} is of schema {schema}, made by another version of bnbench, which can read it; "
            f"this version reads schema {SCHEMA}"
        )


class Journal:
    """The journal of a run that is being made; use it as a context manager."""

    def __init__(self, folder: str | Path, environment: dict[str, Any], *, resume: bool) -> None:
        """Create or reopen a run folder.

        Raises:
            StoreError: the folder cannot be written, holds a run and resume is off, or its run is of another
                schema, machine or plan, or is being written by another process.
        """
        self.folder = Path(folder)
        self.path = self.folder / JOURNAL
        self._records: dict[tuple, Record] = {}
        self.remarks: list[str] = []
        self.machine = environment["machine_id"]
        with told(self.folder):
            exists = self.path.exists() or (self.folder / ENVIRONMENT).exists()
        if exists and not resume:
            raise StoreError(f"{folder} holds a run already; use --resume or another --out")
        if exists:
            self._check_folder(environment)  # before anything is written
        claimed = Folder(self.folder).claim()
        with told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115  - closed by __exit__
        try:
            unlocked = lock(self.file, self.folder)
            claimed.begin()
            if (self.folder / ENVIRONMENT).exists():
                self._check(there := read_environment(folder), environment)
                changed = {name: value for name, value in environment["plan"].items() if name in MAY_CHANGE}
                if there["plan"] | changed != there["plan"]:
                    write_json(self.folder / ENVIRONMENT, there | {"plan": there["plan"] | changed})
            else:
                write_json(self.folder / ENVIRONMENT, environment)
            records, remarks = read_journal(folder)
            self._records = {(record.host, record.key): record for record in records}
            self.remarks = unlocked + remarks
            self._cut_torn_line()
        except BaseException:
            self.file.close()
            raise

    def _check_folder(self, environment: dict[str, Any]) -> None:
        """Refuse what cannot be resumed; a kill may have left an empty journal, or none, or no environment."""
        if (self.folder / ENVIRONMENT).exists():
            self._check(there := read_environment(self.folder), environment)
            self.machine = there["machine_id"]  # older versions made another of the same machine
        if self.path.exists() and (records := read_journal(self.folder)[0]):
            if not (self.folder / ENVIRONMENT).exists():
                read_environment(self.folder)
            if any(not record.host and (record.machine or self.machine) != self.machine for record in records):
                raise StoreError(f"{self.path} has records of another machine; use another --out")

    def _check(self, there: dict[str, Any], wanted: dict[str, Any]) -> None:
        if ("hosts" in there) != ("hosts" in wanted):
            how = "with" if "hosts" in there else "without"
            raise StoreError(f"{self.folder} was made {how} --dask; resume it {how} --dask, or use another --out")
        if "hosts" not in there and machine_id(there["machine"]) != machine_id(wanted["machine"]):
            here, there = machine(), there.get("machine", {})
            differing = ", ".join(f"{k} {there.get(k)} there, {here[k]} here" for k in here if here[k] != there.get(k))
            raise StoreError(f"{self.folder} was made on another machine ({differing}); use another --out")
        for name, value in wanted["plan"].items():
            if name not in MAY_CHANGE and there["plan"].get(name) != value:
                raise StoreError(
                    f"{self.folder} was begun with {name} {there['plan'].get(name)}, not {value}; "
                    "leave the flag out, or use another --out"
                )

    def _cut_torn_line(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
        self.size = whole

    @property
    def records(self) -> list[Record]:
        """The last record of each variant and cell."""
        return list(self._records.values())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def append(self, record: Record) -> Record:
        """Write one record, synced to disk before this returns; the record as written."""
        record = record if record.host else record.having(machine=self.machine)
        left = line = _line(record)
        try:
            while left:
                left = left[self.file.write(left) :]
            os.fsync(self.file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self.size)  # no half of a line
            raise StoreError(
                f"{self.path} cannot be written: {error.strerror}; {len(self.records)} records are kept. "
                f"To go on: --resume --out {self.folder}"
            ) from error
        self.size += len(line)
        self._records[record.host, record.key] = record
        return record

    def discard(self) -> None:
        """Close the journal and remove what was begun: a run that has no records is none."""
        self.file.close()
        with told(self.folder):
            for name in (JOURNAL, ENVIRONMENT, MANIFEST):
                (self.folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody else's, of hidden names
                self.folder.rmdir()


def lock(file: IO[bytes], folder: Path) -> list[str]:
    """Keep other processes from writing the same journal while the file is open; remarks where that cannot be done.

    Raises:
        StoreError: another process is writing it.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(f"{folder} is being written by another sweep") from None
    except (ImportError, OSError):  # another system, a file system without locks
        return [f"{JOURNAL} cannot be locked here: begin no second sweep in {folder}"]
    return []


def as_files(environment: dict[str, Any], records: list[Record]) -> tuple[bytes, bytes]:
    """The content of environment.json and journal.jsonl of a run on one of several hosts, as that host has it."""
    lines = b"".join(_line(record.having(host=None)) for record in records)
    return json.dumps(environment).encode(), lines


def _line(record: Record) -> bytes:
    return json.dumps({"schema": SCHEMA} | record.row(), allow_nan=False).encode() + b"\n"


def new_environment(description: dict[str, Any], plan: dict[str, Any], command: str) -> dict[str, Any]:
    """The content of environment.json for a new run."""
    return {
        "schema": SCHEMA,
        "machine_id": machine_id(description["machine"]),
        "command": command,
        "plan": json.loads(json.dumps(plan)),
        **description,
    }


def add_rooflines(folder: str | Path, rooflines: list[dict[str, Any]]) -> None:
    """Append what was measured of the machine's limit to a run's environment.json."""
    content = read_environment(folder)
    content["rooflines"] = content.get("rooflines", []) + rooflines
    write_json(Path(folder) / ENVIRONMENT, content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole; FolderError where that fails."""
    with told(path):
        write_whole(path, json.dumps(content, indent=1).encode() + b"\n")
