"""A run on disk: environment.json once, then journal.jsonl, one synced line a record.

A record is final: a (variant, cell) has one, and `--resume` does what has none. A line that a kill tore off is
dropped, and said; anything else that is not a record of this schema and machine is refused.
"""

import fcntl
import json
import math
import os
from pathlib import Path

from bnbench.measure.environment import machine, machine_id
from bnbench.measure.plan import AXES

SCHEMA = 1
JOURNAL = "journal.jsonl"
ENVIRONMENT = "environment.json"
STATUSES = (
    "ok",
    "invalid",
    "failed",
    "crashed",
    "timeout",
    "out-of-memory",
    "unsupported",
    "unavailable",
    "pruned",
)
FAULTS = ("invalid", "failed", "crashed")  # what makes a sweep end with exit code 1


class StoreError(Exception):
    """A run folder cannot be used; the message is one line."""


def key(record: dict) -> tuple:
    """What a record is the only one of: its variant and its cell."""
    return (record["variant"], *(record[axis] for axis in AXES), record["seed"])


def read_environment(folder: str | Path) -> dict:
    """The environment.json of a run.

    Raises:
        StoreError: it is missing, no JSON, or of another schema.
    """
    path = Path(folder) / ENVIRONMENT
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise StoreError(f"{folder} is no run: {ENVIRONMENT} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise StoreError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else None
        raise StoreError(f"{path} is of schema {schema}; this version reads schema {SCHEMA}")
    return content


def read_journal(folder: str | Path) -> tuple[list[dict], list[str]]:
    """The records of a run, and remarks (a torn last line).

    Raises:
        StoreError: there is no journal, or a line before the last is not a record, or is of another schema.
    """
    path = Path(folder) / JOURNAL
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"{folder} is no run: {JOURNAL} cannot be read ({error.strerror})") from error
    torn, remarks, records = lines.pop(), [], []
    if torn:
        remarks.append(f"the last line of {JOURNAL} is torn ({len(torn)} bytes) and left out")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            schema = record["schema"]
            if schema != SCHEMA:
                raise StoreError(f"{path} line {number} is of schema {schema}; this version reads schema {SCHEMA}")
            key(record)
            if record["status"] not in STATUSES:
                raise KeyError(f"status {record['status']}")
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} line {number} is not a record: {error}") from error
        records.append(record)
    return records, remarks


class Journal:
    """The journal of a run that is being made; use it as a context manager."""

    def __init__(self, folder: str | Path, environment: dict, *, resume: bool):
        """Create or reopen a run folder.

        Raises:
            StoreError: the folder cannot be written, holds a run and resume is off, or its run is of another
                schema, machine or plan, or is being written by another process.
        """
        self.folder = Path(folder)
        self.path = self.folder / JOURNAL
        self.records: list[dict] = []
        self.remarks: list[str] = []
        self.machine = environment["machine_id"]
        exists = self.path.exists() or (self.folder / ENVIRONMENT).exists()
        if exists and not resume:
            raise StoreError(f"{folder} holds a run already; allowed is --resume, or another --out")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "ab")  # noqa: SIM115  - closed by __exit__
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self.folder / ENVIRONMENT).exists():
                self._check(read_environment(folder), environment)
            else:
                write_atomically(self.folder / ENVIRONMENT, json.dumps(environment, indent=1))
            self.records, self.remarks = read_journal(folder)
            self._cut_torn_line()
        except BlockingIOError:
            self.file.close()
            raise StoreError(f"{folder} is being written by another sweep") from None
        except StoreError:
            self.file.close()
            raise

    def _check(self, found, wanted):
        if found["machine_id"] != wanted["machine_id"]:
            here, there = machine(), found.get("machine", {})
            differing = ", ".join(f"{k} {there.get(k)} there, {here[k]} here" for k in here if here[k] != there.get(k))
            raise StoreError(f"{self.folder} was made on another machine ({differing}); allowed is another --out")
        for name, value in wanted["plan"].items():
            if found["plan"].get(name) != value:
                raise StoreError(
                    f"{self.folder} was begun with {name} {found['plan'].get(name)}, not {value}; "
                    "allowed is --resume with the same settings, or another --out"
                )

    def _cut_torn_line(self):
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def append(self, record: dict) -> dict:
        """Write one record, synced to disk before this returns; the record as written."""
        record = {"schema": SCHEMA, "machine": self.machine} | _finite(record)
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        self.file.write(line)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.records.append(record)
        return record


def new_environment(description: dict, plan: dict, command: str) -> dict:
    """The content of environment.json for a new run."""
    return {
        "schema": SCHEMA,
        "machine_id": machine_id(description["machine"]),
        "command": command,
        "plan": json.loads(json.dumps(plan)),
        **description,
    }


def add_rooflines(folder: str | Path, rooflines: list[dict]):
    """Append what was measured of the machine's limit to a run's environment.json."""
    content = read_environment(folder)
    content["rooflines"] = content.get("rooflines", []) + rooflines
    write_atomically(Path(folder) / ENVIRONMENT, json.dumps(content, indent=1) + "\n")


def write_atomically(path: Path, text: str):
    """Write a file so that a reader sees the old one or the new one, never a part."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text)
    os.replace(temporary, path)


def _finite(value):
    """The value with NaN and infinities as None, which JSON has no names for."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
