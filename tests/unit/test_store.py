"""The journal: what is written survives, what is torn is said, what is foreign is refused."""

import json

import pytest

from bnbench import store
from bnbench.measure import environment
from bnbench.problem import Problem
from bnbench.record import Cell, Record


def new(plan=None):
    return store.new_environment({"machine": environment.machine()}, plan or {"N": (10, 20)}, "bnbench sweep")


def record(N, variant="loops-numba", **more):
    return Record(variant=variant, cell=Cell(Problem(N, 2, 2)), status="ok", **more)


def test_records_survive_and_infinities_are_null(tmp_path):
    with store.Journal(tmp_path, new(), resume=False) as journal:
        journal.append(record(10, samples_s=(1.5, 2.0), compile_s=float("inf")))
        journal.append(record(20))
    records, remarks = store.read_journal(tmp_path)
    assert not remarks
    assert [r.cell.problem.N for r in records] == [10, 20]
    assert records[0].samples_s == (1.5, 2.0)
    assert records[0].compile_s is None


def test_torn_last_line_is_dropped_and_said(tmp_path):
    with store.Journal(tmp_path, new(), resume=False) as journal:
        journal.append(record(10))
        journal.append(record(20))
    path = tmp_path / store.JOURNAL
    path.write_bytes(path.read_bytes()[:-7])
    records, remarks = store.read_journal(tmp_path)
    assert [r.cell.problem.N for r in records] == [10]
    assert "torn" in remarks[0]
    with store.Journal(tmp_path, new(), resume=True) as journal:
        assert "torn" in journal.remarks[0]
        journal.append(record(20))
    records, remarks = store.read_journal(tmp_path)
    assert [r.cell.problem.N for r in records] == [10, 20]
    assert not remarks


def refuse(tmp_path, message, environment=None, resume=True):
    with pytest.raises(store.StoreError, match=message):
        store.Journal(tmp_path, environment or new(), resume=resume)


def test_foreign_runs_are_refused(tmp_path):
    with store.Journal(tmp_path, new(), resume=False) as journal:
        journal.append(record(10))
        refuse(tmp_path, "being written by another sweep")
    refuse(tmp_path, "holds a run already", resume=False)
    refuse(tmp_path, r"begun with N \[10, 20\], not \[10\]", new({"N": (10,)}))
    path = tmp_path / store.ENVIRONMENT
    mine = json.loads(path.read_text())
    path.write_text(json.dumps(mine | {"machine_id": "0", "machine": mine["machine"] | {"cpu": "Z80"}}))
    refuse(tmp_path, "another machine .*cpu Z80 there")
    path.write_text(json.dumps(mine | {"schema": 99}))
    refuse(tmp_path, "schema 99")
    path.write_text("{")
    refuse(tmp_path, "not JSON")


@pytest.mark.parametrize("line", [b"nonsense", b'{"schema": 1}', b"[]", b'{"schema": 2, "variant": "x"}'])
def test_a_broken_line_before_the_last_is_refused(tmp_path, line):
    with store.Journal(tmp_path, new(), resume=False) as journal:
        journal.append(record(10))
    path = tmp_path / store.JOURNAL
    path.write_bytes(line + b"\n" + path.read_bytes())
    with pytest.raises(store.StoreError, match="line 1 is"):
        store.read_journal(tmp_path)


def test_what_was_measured_has_six_digits_and_what_was_asked_for_all():
    # catches: a cell that is another one when it is resumed, a record that is another one when it is read
    cell = Cell(Problem(10, 2, 2, eps=1.23456789e-5))
    row = Record(variant="matrix-numpy", cell=cell, status="ok", samples_s=(1.23456789e-6, 2e-6)).row()
    assert (row["eps"], row["samples_s"]) == (1.23456789e-5, [1.23457e-6, 2e-6])
    assert Record.of(row).row() == row
