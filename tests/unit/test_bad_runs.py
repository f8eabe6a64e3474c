"""Folders that are no good run: whatever reads one says so in one line with exit code 2, and writes nothing."""

import json
import re

import pytest
from records import RECORD, SETTINGS, content, write

from bnbench import store
from bnbench.cli import main


def environment_is(text):
    """Damage: environment.json is this text, or bytes, or what a function makes of the content it had."""

    def damage(folder):
        path = folder / store.ENVIRONMENT
        now = json.dumps(text(json.loads(path.read_text()))) if callable(text) else text
        path.write_bytes(now if isinstance(now, bytes) else now.encode())

    return damage


def without(name):
    return environment_is(lambda found: {key: value for key, value in found.items() if key != name})


def has(**changes):
    return environment_is(lambda found: found | changes)


def record_is(change):
    """Damage: the first record of the journal has these fields, or is this text or these bytes."""

    def damage(folder):
        path = folder / store.JOURNAL
        first, rest = path.read_bytes().split(b"\n", 1)
        if isinstance(change, dict):
            first = json.dumps(json.loads(first) | change).encode()
        path.write_bytes((first if isinstance(change, dict) else change) + b"\n" + rest)

    return damage


def lacks(name):
    def damage(folder):
        path = folder / store.JOURNAL
        records = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in r.items() if k != name}) + "\n" for r in records))

    return damage


def a_file_instead(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("{}")


def drop(name):
    return lambda folder: (folder / name).unlink()


def a_folder_instead(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


BINARY = bytes(range(256)) * 8
DAMAGES = {
    "a file": (a_file_instead, "cannot be"),
    "no environment": (drop(store.ENVIRONMENT), "No such file"),
    "environment is a folder": (a_folder_instead(store.ENVIRONMENT), "Is a directory"),
    "journal is a folder": (a_folder_instead(store.JOURNAL), "Is a directory"),
    "environment truncated": (environment_is('{"schema": 1, "machi'), "not JSON"),
    "environment empty": (environment_is(""), "not JSON"),
    "environment binary": (environment_is(BINARY), "not JSON"),
    "environment too deep": (environment_is("[" * 100_000), "not JSON: it is nested too deeply"),
    "environment another program's": (environment_is('{"name": "left-pad", "version": "1.0.0"}'), "not bnbench's"),
    "environment a list": (environment_is("[1, 2]"), "not bnbench's"),
    "environment older": (has(schema=0), "schema 0, made by another version of bnbench"),
    "environment newer": (has(schema=2), "schema 2, made by another version of bnbench"),
    "environment's schema a word": (has(schema="one"), "schema one, made by another version"),
    "no plan": (without("plan"), "it has no plan"),
    "no machine": (without("machine"), "it has no machine"),
    "no machine_id": (without("machine_id"), "it has no machine_id"),
    "no command": (without("command"), "it has no command"),
    "a plan of another kind": (has(plan=[1]), "plan: expected an object, got a list"),
    "variants of another kind": (has(plan={"variants": [{}]}), "plan.variants[0]: expected text, got an object"),
    "machine of another kind": (has(machine="vm"), "machine: expected an object, got text"),
    "software of another kind": (has(software=3), "software: expected an object, got a whole number"),
    "a date that is none": (has(date="yesterday"), "yesterday"),
    "memory of another kind": (has(machine={"memory_gib": "16"}), "machine.memory_gib: expected a number, got text"),
    "a date outside the calendar": (has(date="0001-01-01T00:00:00+14:00"), "out of range"),
    "a number for rates": (has(rooflines=[1e9]), "rooflines[0]: expected an object, got a number"),
    "a rate of 0": (
        has(rooflines=[{"dtype": "float64", "threads": 1, "gemm_flops_s": 0, "triad_bytes_s": 1}]),
        "rooflines[0].gemm_flops_s: expected a number >= 1.0",
    ),
    "rates of another kind": (has(rooflines=[{"dtype": "float64"}]), "it has no gemm_flops_s"),
    "journal binary": (record_is(BINARY), "not JSON"),
    "journal another program's": (record_is(b'{"event": "login", "user": "me"}'), "line 1 is not bnbench's"),
    "a line that is no JSON": (record_is(b"nonsense"), "line 1 is not JSON"),
    "a number for a record": (record_is(b"17"), "line 1 is not bnbench's"),
    "a record of a newer schema": (record_is({"schema": 2}), "line 1 is of schema 2, made by another version"),
    "no variant": (lacks("variant"), "it has no variant"),
    "no N": (lacks("N"), "it has no N"),
    "no regime": (lacks("regime"), "it has no regime"),
    "no seed": (lacks("seed"), "it has no seed"),
    "no status": (lacks("status"), "it has no status"),
    "an unknown status": (record_is({"status": "fine"}), "status is 'fine'"),
    "N is text": (record_is({"N": "ten"}), "N is 'ten'"),
    "N is a list": (record_is({"N": [10]}), "N is [10]"),
    "p1 is 0": (record_is({"p1": 0}), "p1 is 0"),
    "eps is null": (record_is({"eps": None}), "eps is None"),
    "an unknown dtype": (record_is({"dtype": "float16"}), "dtype is 'float16'"),
    "threads are text": (record_is({"threads": "2"}), "threads is '2'"),
    "threads beyond any table": (record_is({"threads": 10**30}), "threads is 1000"),
    "sizes beyond any table": (record_is({"N": 10**30}), "N p1 p2 is above"),
    "variant is a number": (record_is({"variant": 3}), "variant: expected text, got a whole number"),
    "reason is a list": (record_is({"reason": []}), "reason: expected text, got a list"),
    "a negative sample": (record_is({"samples_s": [1e-3, -1e-3]}), "samples_s[1]: expected a number >= 1e-15"),
    "a sample of 0": (record_is({"samples_s": [0.0]}), "samples_s[0]: expected a number >= 1e-15"),
    "a sample NaN": (record_is({"samples_s": [float("nan")]}), "it holds NaN"),
    "a sample infinite": (
        record_is(json.dumps(RECORD | {"samples_s": [7]}).replace("[7]", "[1e999]").encode()),
        "samples_s[0]: ",
    ),
    "a sample of text": (record_is({"samples_s": ["1 ms"]}), "samples_s[0]: expected a number, got text"),
    "samples of another kind": (record_is({"samples_s": 1e-3}), "samples_s: expected a list, got a number"),
    "bytes that are text": (
        record_is({"peak_bytes": "1 MiB"}),
        "peak_bytes: expected a whole number, got text",
    ),
    "loops that are no whole number": (
        record_is({"inner_loops": 1.5}),
        "inner_loops: expected a whole number, got",
    ),
    "errors of another kind": (record_is({"errors": [1]}), "errors: expected an object, got a list"),
    "text for an error": (record_is({"errors": {"loss": "x"}}), "errors[...]: expected an object, got text"),
    "an error of text": (
        record_is({"errors": {"dG1": {"error": "big"}}}),
        "errors[...][...]: expected a number, got",
    ),
    "passes that do not add up": (record_is({"passes": [4, 4]}), "passes are of 8 samples together; there are 9"),
    "one clock": (record_is({"clock_mhz": [3000]}), "clock_mhz"),
    "the same record twice": (lambda folder: write_again(folder), "are those of line 1"),
}


def write_again(folder):
    path = folder / store.JOURNAL
    path.write_bytes(path.read_bytes() + path.read_bytes())


NOT_FOR_RESUME = {  # what a kill may leave behind: --resume begins there
    "an empty folder": (lambda folder: [path.unlink() for path in folder.iterdir()], "No such file"),
    "no journal": (drop(store.JOURNAL), "No such file"),
    "an empty journal": (lambda folder: (folder / store.JOURNAL).write_text(""), "without a record"),
    "only a torn line": (lambda folder: (folder / store.JOURNAL).write_text('{"schema": 1, '), "without a record"),
    "not there": (lambda folder: [path.unlink() for path in folder.iterdir()] and folder.rmdir(), "No such file"),
}
READERS = {
    "report": [["report", "BAD"], ["report", "BAD", "--pyperf", "new.json"]],
    "compare": [["compare", "BAD", "good"], ["compare", "good", "BAD", "--force"]],
    "history": [["history", "good", "BAD", "--out", "new"], ["history", "BAD", "good", "--force", "--out", "new"]],
    "resume": [["sweep", *SETTINGS, "--resume", "--out", "BAD"]],
}
CASES = [pytest.param(reader, *case, id=f"{reader}: {name}") for name, case in DAMAGES.items() for reader in READERS]
CASES += [
    pytest.param(reader, *case, id=f"{reader}: {name}")
    for name, case in NOT_FOR_RESUME.items()
    for reader in READERS
    if reader != "resume"
]


@pytest.mark.parametrize(("reader", "damage", "word"), CASES)
def test_a_bad_run_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, described, reader, damage, word):
    # catches: a traceback, a damaged run that passes for a good one, a message without the path or the fault,
    # a file written into, or beside, what was refused
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good", described)
    damage(write(tmp_path / "BAD", described))
    before = content(tmp_path)
    for arguments in READERS[reader]:
        code = main(arguments)
        said = capsys.readouterr()
        assert (code, said.out, said.err.count("\n")) == (2, "", 1), said
        assert word in said.err
        assert "BAD" in said.err
        assert content(tmp_path) == before


def test_a_run_of_another_machine_is_not_resumed(tmp_path, described, capsys):
    # catches: records of one machine joined to a journal of another
    folder = write(tmp_path / "run", described)
    path = folder / store.JOURNAL
    path.write_text(re.sub(r'"machine": "\w+"', '"machine": "0"', path.read_text()))
    before = content(tmp_path)
    assert main(["sweep", *SETTINGS, "--resume", "--out", str(folder)]) == 2
    assert "records of another machine" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_a_new_host_name_is_no_other_machine(tmp_path, described, capsys):
    # catches: runs of containers and of continuous integration, a host name each, that are never resumed or compared
    moved = described | {"machine": described["machine"] | {"host": "0123abcd"}, "machine_id": "of another version"}
    folder, here = write(tmp_path / "run", moved), write(tmp_path / "here", described)
    assert main(["sweep", *SETTINGS, "--resume", "--out", str(folder), "--dry-run"]) == 0
    with store.Journal(folder, described, resume=True) as journal:
        assert journal.machine == "of another version"
    assert main(["compare", str(folder), str(here)]) == 0
    assert "host: 0123abcd" in capsys.readouterr().out


def test_limits_of_every_device_are_read(tmp_path, described):
    # catches: a check of folders that refuses what a sweep on a GPU writes
    rates = {"when": "start", "dtype": "float64", "gemm_flops_s": 1e12, "triad_bytes_s": 1e11}
    both = [rates | {"threads": 2}, rates | {"device": "cuda"}]
    folder = write(tmp_path / "run", described | {"rooflines": both})
    assert store.read_environment(folder)["rooflines"] == both
