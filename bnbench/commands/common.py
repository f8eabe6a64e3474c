"""What the commands share: exit codes, the error of wrong input, folders, the end of a run."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from bnbench.measure.data import Table
    from bnbench.measure.plan import Plan
    from bnbench.record import Record
    from bnbench.variants import Variant

OK, FAULT, USAGE, REGRESSION, INTERRUPTED = 0, 1, 2, 3, 130
RESULTS = "results"
FILES = ("plugin", "data", "config")  # flags


class UsageError(Exception):
    """Wrong input; the message is one line that says what was given and what is allowed."""


def needs_workers() -> None:
    """Refuse what measures or verifies where worker processes cannot be driven and limited as it takes."""
    import importlib.util

    absent = [f"os.{name}" for name in ("killpg", "setsid", "sysconf") if not hasattr(os, name)]
    absent += [name for name in ("fcntl", "resource") if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            f"variants are measured and verified in processes of their own, which need a POSIX system (there is no "
            f"{absent[0]}); what works here: the library, list, audit, doctor, report, history and compare OLD NEW"
        )


def as_text(argument: str) -> str:
    """A word of the command line as UTF-8, where Python kept its bytes because the locale could not decode them."""
    try:
        return argument.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return argument


def load_variants(plugins: Iterable[str] | None) -> Mapping[str, type["Variant"]]:
    """The registry with these plug-ins in it."""
    from bnbench.variants import PluginError, load_plugin, variants

    try:
        for plugin in plugins or ():
            load_plugin(plugin)
        return variants()
    except (PluginError, ValueError) as error:  # ValueError: no file can have such a name
        raise UsageError(error) from error


def saved_plan(plan: "Plan", table: "Table | None") -> dict:
    """The plan as environment.json keeps it: names of files, not their paths, and a hash of the data."""
    import dataclasses

    from bnbench.variants import variants

    saved = dataclasses.asdict(plan)
    saved["variants"] = plan.variants or tuple(variants())
    saved["plugins"] = tuple(Path(plugin).name for plugin in plan.plugins)
    for field in dataclasses.fields(plan):
        if (
            field.name in ("named", "held", "no_header", "decimal", "memory", "passes")
            and saved[field.name] == field.default
        ):
            del saved[field.name]  # as runs have it that know no other
    saved["data"] = table.name if table else ""
    saved["data_digest"] = table.digest if table else ""
    return json.loads(json.dumps(saved))


def default_folder(saved: Mapping) -> Path:
    """results/<date>-<host>-<short id>, a name that is not taken."""
    import hashlib
    import platform
    import time

    now = time.strftime("%Y-%m-%d")
    short = hashlib.sha256(f"{time.time_ns()}{saved}".encode()).hexdigest()[:6]
    return Path(RESULTS) / f"{now}-{platform.node() or 'host'}-{short}"


def command_line(command: str, options: argparse.Namespace, leave_out: Iterable[str] = ()) -> str:
    """The command that does a run again: its flags without the folder, files by name."""
    words = [f"python -m bnbench {command}"]
    for flag, text in flags_given(options, leave_out, lambda path: path.name):
        between = "=" if text.startswith("-") else " "
        words.append(f"{flag}{between}{shlex.quote(text)}" if text else flag)
    return " ".join(words)


def flags_given(
    options: argparse.Namespace, leave_out: Iterable[str], path: Callable[[Path], object]
) -> Iterator[tuple[str, str]]:
    """Every flag that says what is done with its text, "" where it takes none; a file is as `path` has it."""
    for name, value in vars(options).items():
        if name in ("command", "out", "resume", "json", "quiet", "journal_only", *leave_out) or value in (None, False):
            continue
        for item in value if isinstance(value, list) else [value]:
            text = "" if item is True else str(path(Path(item)) if name in FILES else item)
            yield f"--{name.replace('_', '-')}", text


def write_report(folder: str | Path, records: list["Record"]) -> tuple["pd.DataFrame", list[str]]:
    """Tables, plots and the HTML page of a run; its summary as a frame, and remarks."""
    from bnbench import store
    from bnbench.measure.roofline import with_best
    from bnbench.report import build

    environment = store.read_environment(folder)
    by_host = {host: [record for record in records if record.host == host] for host in environment.get("hosts", {})}
    records = with_best([record for record in records if record.host not in by_host], environment.get("rooflines", []))
    for host, own in by_host.items():
        records += with_best(own, environment["hosts"][host].get("rooflines", []))
    order = {name: place for place, name in enumerate(environment["plan"].get("variants", ()))}
    records = sorted(records, key=lambda record: order.get(record.variant, len(order)))
    return build(records, environment, folder, environment["command"])


def quiet_flag(command: argparse.ArgumentParser) -> None:
    """Add --quiet to a command that shows how it gets on."""
    command.add_argument("--quiet", action="store_true", help="show no progress and no notes, only what came out")


def print_json(value: Any) -> None:
    """Print as JSON; in letters that standard output's encoding has."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    print(json.dumps(value, indent=1, ensure_ascii=not encoding.startswith("utf")))


def conclude(frame: "pd.DataFrame", folder: Path, as_json: bool, *, judge: bool = True) -> int:
    """Say what came out and where it lies; the exit code."""
    from bnbench.commands.summary import ending
    from bnbench.report.tables import plain_rows

    if as_json:
        print_json(plain_rows(frame))
    else:
        ending(frame, folder)
    return exit_code(frame["status"]) if judge else OK


def exit_code(statuses: Iterable[str]) -> int:
    """1 where a variant was invalid, failed or crashed."""
    from bnbench.record import FAULTS

    return FAULT if any(status in FAULTS for status in statuses) else OK
