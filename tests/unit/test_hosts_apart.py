"""Runs over several hosts, made up: hosts are shown beside each other, and a run of one host as ever."""

from pathlib import Path

import pytest
from records import FOUR, RECORD, frame, timed, typed, write

from bnbench import store
from bnbench.commands.summary import ending
from bnbench.compare import history, runs, verdicts
from bnbench.report import analysis, answers, build, html, markdown, tables

# On the fast host the matrix form wins by 4, on the slow one loops by 2: each of the slow one's times is the longest.
MEDIANS = {("fast", "loops-numba"): 4e-5, ("fast", "matrix-numpy"): 1e-5}
MEDIANS |= {("slow", "loops-numba"): 1e-3, ("slow", "matrix-numpy"): 2e-3}
FAMILY = {"loops-numba": "loops", "matrix-numpy": "matrix"}
SAMPLES = [1 + 1e-4 * place for place in range(9)]


def over_hosts(**factors):
    """Records of both hosts at two sizes, each host's times multiplied by a factor."""
    return [
        timed(
            variant, FAMILY[variant], N, [factors.get(host, 1) * N * s * one for one in SAMPLES], host=host, threads=1
        )
        for (host, variant), s in MEDIANS.items()
        for N in (10, 100)
    ]


def run_of(described, folder, records):
    """A run over hosts on disk, read back."""
    hosts = {record["host"]: described for record in records}
    return runs.read(write(folder, described | {"hosts": hosts, "token": "0"}, records))


def test_hosts_are_never_ranked_as_if_they_were_one():
    # catches: winners, ratios and medians over the times of two machines
    table = frame(over_hosts())
    parts = analysis.parts(table)
    assert [part.short for part in parts] == ["host fast", "host slow"]
    won = {part.short: {row["winner"] for row in analysis.winners(part.table)} for part in parts}
    assert won == {"host fast": {"matrix-numpy"}, "host slow": {"loops-numba"}}
    assert [row["verdict"] for part in parts for row in analysis.crossover(part.table).to_dict("records")] == [
        *["lost", "lost", "won", "won"]
    ]
    verdict = answers.which_is_fastest(table).verdict
    assert "in 0 of 2 cells with host fast (lose in 2), and in 2 of 2 cells with host slow (lose in 0)" in verdict
    assert answers.scope(table) == "2 variants on 2 cells on 2 hosts: 8 of 8 records ok."
    ratios = tables.over_hosts(table)
    assert ratios.heads == ("variant", "cells", "fast", "slow", "most apart", "at N × p1 × p2")
    assert [text.text for text in ratios.rows[0]] == ["loops-numba", "2", "4.0", "0.50", "8.0×", "10 × 4 × 8"]
    assert "half differ between hosts by a factor below 8.0" in answers.which_is_fastest(table).lines[0]


def test_a_report_of_several_hosts_names_them_everywhere(tmp_path, described, capsys):
    # catches: a plot of one host that replaces another's, a machine that is the wrong one, hosts under one heading
    run = run_of(described, tmp_path / "run", over_hosts())
    table, _ = build(run.records, run.environment, run.folder, "bnbench sweep")
    names = {path.name for path in (run.folder / "plots").iterdir()}
    assert {"winner-hostfast.png", "winner-hostslow.png"} <= names
    assert not any("host" not in name for name in names)
    page = (run.folder / "report.html").read_text("utf-8")
    assert all(f"{host}: {described['machine']['cpu']}" in page for host in ("fast", "slow"))
    assert '<h2 id="over-hosts">Ratios over hosts</h2>' in page
    assert '<th scope="col" data-filter="sorted">host</th>' in page
    ending(table, run.folder)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("fast ", "slow "))] == [
        *[["fast", "10"], ["fast", "100"], ["slow", "10"], ["slow", "100"]]
    ]


def test_a_run_of_one_host_looks_as_ever(capsys):
    # catches: a host's name in the tables, plots and pages of those who have but one
    plain, named = (tables.frame(typed(FOUR), host=host) for host in ("", "somewhere"))
    assert list(named["host"].unique()) == ["somewhere"]
    for render in (markdown.page, lambda table: html.page(table, [], {}, "bnbench sweep")):
        assert render(named) == render(plain)
    assert [part.suffix for part in analysis.parts(named)] == [""]
    shown = [ending(table, Path("run")) or capsys.readouterr().out for table in (plain, named)]
    assert shown[0] == shown[1]
    assert not tables.over_hosts(named)


def test_compare_takes_the_same_host_of_both_runs(tmp_path, described, command):
    # catches: one host's times compared with the other's, and a slower host that the other makes up for
    old = run_of(described, tmp_path / "old", over_hosts())
    new = run_of(described, tmp_path / "new", over_hosts(slow=1.5))
    found = verdicts.compare(old.records, new.records, threshold=1.05, paired=False)
    assert {(each.cell["host"], each.verdict) for each in found} == {("fast", "same"), ("slow", "slower")}
    assert not runs.differences(old, new)
    done = command("compare", old.folder, new.folder)
    assert (done.returncode, "4 slower (2 by the machine), 4 the same of 8 cells" in done.stdout) == (3, True), (
        done.stdout
    )

    other = described | {"machine": described["machine"] | {"cpu": "another"}}
    moved = runs.Run(new.folder, new.environment | {"hosts": {"fast": described, "slow": other}}, new.records, [])
    assert runs.differences(old, moved) == [f"slow cpu: {described['machine']['cpu']}, another"]
    alone = runs.Run(new.folder, described, [], [])
    assert runs.differences(old, alone) == ["hosts: fast slow, none"]


def test_a_single_host_of_dask_is_compared_with_a_plain_run(tmp_path, described, command):
    # catches: a machine that cannot be compared with itself once it was asked by Dask
    of_fast = [record for record in over_hosts() if record["host"] == "fast"]
    plain = write(tmp_path / "plain", described, [record | {"host": None} for record in of_fast])
    done = command("compare", plain, run_of(described, tmp_path / "dask", of_fast).folder)
    assert (done.returncode, "0 slower, 4 the same of 4 cells" in done.stdout) == (0, True), done.stderr


def test_history_has_each_host_as_a_run(tmp_path, described):
    # catches: a line of a plot that goes from one machine's time to another's
    run_of(described, tmp_path / "first", over_hosts())
    run_of(described | {"date": "2027-01-01T00:00:00+0000"}, tmp_path / "second", over_hosts(fast=2))
    table = history.table(history.read([tmp_path / "first", tmp_path / "second"]))
    assert list(table["run"].unique()) == ["first/fast", "first/slow", "second/fast", "second/slow"]
    found = set(zip(table["run"], table["verdict"], table["against"], strict=True))
    assert found >= {("second/fast", "slower", "first/fast"), ("second/slow", "same", "first/slow")}
    assert table.groupby("machine")["run"].nunique().to_list() == [2, 2]


def test_a_journal_has_a_record_of_each_host(tmp_path, described):
    # catches: hosts' records that replace each other, and a host's machine that becomes that of the command
    folder = run_of(described, tmp_path / "run", over_hosts()).folder
    twice = (folder / "journal.jsonl").read_text().splitlines()[0] + "\n"
    with store.Journal(folder, described | {"hosts": {}, "plan": {}}, resume=True) as journal:
        assert len(journal.records) == 8
        more = typed([RECORD | {"host": "third", "machine": "theirs"}])[0]
        assert journal.append(more).machine == "theirs"
    assert len(store.read_journal(folder)[0]) == 9
    with pytest.raises(store.StoreError, match="was made with --dask"):
        store.Journal(folder, described, resume=True)
    with open(folder / "journal.jsonl", "a") as file:
        file.write(twice)
    with pytest.raises(store.StoreError, match="its variant and cell are those of line 1"):
        store.read_journal(folder)


def test_a_hosts_name_leads_nowhere():
    # catches: a plot that a stored name puts outside its folder
    table = frame([record | {"host": f"../../{record['host']}"} for record in over_hosts()])
    assert [part.suffix for part in analysis.parts(table)] == ["-host....fast", "-host....slow"]
