"""What reports and histories write, plots and all: beside what is there already, on a full disk, of a torn journal."""

import json
import re
import shutil

import pytest
from records import FINISHED, RECORD, content, little_room, write

from bnbench import folder as module
from bnbench import store
from bnbench.cli import main

REPORT = ["report", "own"]


def test_a_torn_last_line_is_a_remark(tmp_path, monkeypatch, capsys, described):
    # catches: a run that a kill cut short refused, or its loss not said; and the good run refused, so that all is
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good", described)
    torn = write(tmp_path / "torn", described) / store.JOURNAL
    torn.write_bytes(torn.read_bytes()[:-9])
    for arguments in (["compare", "good", "torn"], ["history", "good", "torn", "--out", "new"], ["report", "torn"]):
        code = main(arguments)
        said = capsys.readouterr()
        assert code == 0, said
        assert "is torn" in said.out + said.err, arguments


def test_half_a_character_is_no_reason_to_lose_a_report(tmp_path, capsys, described):
    # catches: a plug-in's error with the name of a file in another encoding, at which no page could be written
    bad = RECORD | {"status": "failed", "reason": "no \udcff\ud800", "details": {"\udcff": "\udcff"}, "N": 30}
    folder = write(tmp_path / "run", described, [*FINISHED, bad])
    assert main(["report", str(folder)]) == 0
    assert "no \\udcff\\ud800" in (folder / "summary.csv").read_text("utf-8")
    other = write(tmp_path / "\udcff\udce9", described)
    assert main(["history", str(folder), str(other), "--force", "--out", str(tmp_path / "history")]) == 0
    assert "\\udcff\\udce9" in (tmp_path / "history" / "history.html").read_text("utf-8")


def test_a_run_of_an_older_version_is_reported_on_and_again(tmp_path, monkeypatch, capsys, described):
    # catches: own folders refused (no list yet, a hidden file, an export or a history in it), stale plots that stay
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "own", described)
    (folder / "plots").mkdir()
    for name in ("summary.csv", "plots/winner-of-another-setting.svg"):
        (folder / name).write_text("of an older version")
    (folder / ".directory").write_text("of a file manager")
    assert main([*REPORT, "--pyperf", "own/samples.json"]) == 0
    assert (folder / "summary.csv").read_text().startswith("variant,")
    assert not (folder / "plots" / "winner-of-another-setting.svg").exists()
    drawn = content(folder)
    shutil.copytree(folder, tmp_path / "two")
    assert main(["history", "own", "two", "--force", "--out", "own"]) == 0
    assert main(["history", "own", "two", "--force", "--out", "own"]) == 0
    assert main(REPORT) == 0
    now = content(folder)
    assert {name: now[name] for name in drawn if name != module.MANIFEST} == {
        name: found for name, found in drawn.items() if name != module.MANIFEST
    }
    assert "history.html" in now

    (folder / "summary.csv").write_text("edited,by,hand\n")
    before = content(folder)
    capsys.readouterr()
    assert main(REPORT) == 2
    assert "summary.csv was changed since bnbench wrote it" in capsys.readouterr().err
    assert content(folder) == before


def test_a_journal_goes_on_in_its_own_folder_and_leaves_the_rest(tmp_path, described):
    # catches: a resumed run refused for what its report wrote; what was begun in vain taken away with more than itself
    folder = write(tmp_path / "own", described)
    assert main(["report", str(folder)]) == 0
    with store.Journal(folder, described, resume=True) as journal:
        assert len(journal.records) == len(FINISHED)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / ".hidden").write_text("mine")
    store.Journal(begun, described, resume=False).discard()
    assert content(begun) == {".hidden": b"mine"}
    store.Journal(tmp_path / "new", described, resume=False).discard()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("room", [100, 3000, 20_000, 60_000])
def test_a_report_on_a_full_disk_is_one_line_and_what_was_there_stays(tmp_path, capsys, described, room):
    folder = write(tmp_path / "own", described)
    with little_room(room):
        code = main(["report", str(folder), "--pyperf", str(tmp_path / "new.json")])
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert re.search(r"cannot be written: (File too large|No space)", said.err)
    for name in (found for found in content(tmp_path) if found.endswith((".svg", ".json", ".html"))):
        text = (tmp_path / name).read_text()
        assert text.rstrip().endswith(("</svg>", "}", "</html>")), name
        if name.endswith(".json"):
            json.loads(text)
    assert not [name for name in content(tmp_path) if ".bnbench-" in name]
