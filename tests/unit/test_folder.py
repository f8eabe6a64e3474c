"""What bnbench writes into: folders of its own, in which it touches what it wrote itself and nothing else."""

import json
import os
import shutil

import pytest
from records import FINISHED, SETTINGS, content, little_room, typed, write

from bnbench import folder as module
from bnbench import store
from bnbench.cli import main
from bnbench.folder import Folder, FolderError

PICTURE = b"\x89PNG of a holiday"
AUDIT = ["audit", "--out", "own"]
REPORT = ["report", "own"]
HISTORY = ["history", "one", "two", "--force", "--out", "own"]
SWEEP = ["sweep", *SETTINGS, "--out", "own"]
RESUME = [*SWEEP, "--resume"]


def a_picture_in(name):
    def change(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PICTURE)

    return change


def plots_are_a_link(folder):
    folder.mkdir(exist_ok=True)
    os.symlink(folder.parent / "pictures", folder / "plots")


def the_folder_is_a_link(folder):
    if folder.exists():
        folder.rename(folder.parent / "elsewhere")
    else:
        shutil.copytree(folder.parent / "pictures", folder.parent / "elsewhere")
    os.symlink(folder.parent / "elsewhere", folder)


def a_file_is_a_link(name):
    def change(folder):
        folder.mkdir(exist_ok=True)
        os.symlink(folder.parent / "pictures" / "holiday.png", folder / name)

    return change


def a_list_of_another(folder):
    folder.mkdir(exist_ok=True)
    (folder / module.MANIFEST).write_text('{"files": ["mine"]}')


CASES = [  # what is asked, whether the folder is a run before, what is done to it, a word of the refusal
    (REPORT, True, a_picture_in("plots/holiday.png"), "holiday.png was not written by bnbench"),
    (REPORT, True, a_picture_in("notes.txt"), "notes.txt was not written by bnbench"),
    (REPORT, True, plots_are_a_link, "plots is a symbolic link"),
    (REPORT, True, the_folder_is_a_link, "own is a symbolic link"),
    (REPORT, True, a_file_is_a_link("report.html"), "report.html is a symbolic link"),
    (REPORT, True, a_list_of_another, "written.json is not a list of what bnbench wrote"),
    ([*REPORT, "--pyperf", "own/new.json"], True, plots_are_a_link, "plots is a symbolic link"),
    (RESUME, True, a_picture_in("plots/holiday.png"), "holiday.png was not written by bnbench"),
    (RESUME, True, plots_are_a_link, "plots is a symbolic link"),
    (SWEEP, False, a_picture_in("plots/winner.png"), "winner.png was not written by bnbench"),
    (SWEEP, False, a_picture_in("summary.csv"), "summary.csv was not written by bnbench"),
    (SWEEP, False, a_picture_in("journal.jsonl"), "own holds a run already"),
    (SWEEP, False, the_folder_is_a_link, "own is a symbolic link"),
    (HISTORY, False, a_picture_in("history.csv"), "history.csv was not written by bnbench"),
    (HISTORY, False, a_picture_in("plots/history.png"), "history.png was not written by bnbench"),
    (HISTORY, False, a_picture_in("thesis.tex"), "thesis.tex was not written by bnbench"),
    (HISTORY, False, plots_are_a_link, "plots is a symbolic link"),
    (AUDIT, False, a_picture_in("audit.html"), "audit.html was not written by bnbench"),
    (AUDIT, False, a_file_is_a_link("audit.md"), "audit.md is a symbolic link"),
    (AUDIT, False, the_folder_is_a_link, "own is a symbolic link"),
]


@pytest.mark.parametrize(("arguments", "is_run", "change", "word"), CASES)
def test_what_is_not_bnbenchs_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys, described, arguments, is_run, change, word
):  # fmt: skip
    # catches: pictures deleted, by way of a link too; a table of somebody's overwritten; a part written before the line
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holiday.png").write_bytes(PICTURE)
    for name in ("one", "two") if arguments is HISTORY else ["own"] if is_run else []:
        write(tmp_path / name, described)
    change(tmp_path / "own")
    before = content(tmp_path)
    code = main(arguments)
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert word in said.err
    assert content(tmp_path) == before


def test_a_list_leads_to_no_file_outside(tmp_path, capsys, described):
    # catches: a run from elsewhere whose list has a file of the reader's, with the digest that it has everywhere
    victim = tmp_path / "victim.png"
    victim.write_bytes(PICTURE)
    folder = write(tmp_path / "own", described)
    for name in ("plots/../../victim.png", "../victim.png", str(victim), "plots/..", ".hidden"):
        files = {name: [module._digest(PICTURE)]}
        (folder / module.MANIFEST).write_text(json.dumps({"written by": "bnbench", "files": files}))
        assert main(["report", str(folder)]) == 2
        assert "is not a list of what bnbench wrote" in capsys.readouterr().err
    assert victim.read_bytes() == PICTURE


def test_a_kill_at_any_moment_leaves_a_folder_that_is_known(tmp_path, monkeypatch):
    # catches: a list that is behind the files, so that bnbench does not know its own
    replace, left = os.replace, 0

    def killed(source, target):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    for after in range(6):
        for attempt in ("first", "second", "third"):
            left = after % 3
            try:
                Folder(tmp_path / "own").claim().put("summary.csv", f"{after} {attempt}")
            except KeyboardInterrupt:
                continue
    left = 2
    Folder(tmp_path / "own").claim().put("summary.csv", "at last")
    assert sorted(content(tmp_path / "own")) == ["summary.csv", module.MANIFEST]
    assert (tmp_path / "own" / "summary.csv").read_text() == "at last"


def test_a_full_disk_costs_no_record_and_leaves_no_half(tmp_path, described):
    # catches: half a line in the journal, a traceback, a summary that is cut off, temporary files left behind
    folder = tmp_path / "own"
    first, second = typed(FINISHED)
    with store.Journal(folder, described, resume=False) as journal:
        journal.append(first)
        whole = content(folder)
        with little_room(len(whole[store.JOURNAL]) + 100):
            with pytest.raises(store.StoreError, match=r"^[^\n]*1 records are kept. To go on: --resume[^\n]*$"):
                journal.append(second)
            with pytest.raises(FolderError, match=r"environment.json cannot be written: File too large"):
                store.add_rooflines(folder, [{"dtype": "float64", "threads": 1, "pad": "x" * 4096}])
        assert content(folder) == whole


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000 + "y", "a\0b"])
@pytest.mark.parametrize("arguments", [AUDIT, HISTORY, SWEEP])
def test_a_name_that_no_file_can_have_is_one_line(tmp_path, monkeypatch, capsys, described, arguments, name):
    # catches: a traceback for an --out that is too long
    monkeypatch.chdir(tmp_path)
    if arguments is HISTORY:
        for run in ("one", "two"):
            write(tmp_path / run, described)
    before = content(tmp_path)
    assert main([name if word == "own" else word for word in arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1), said
    assert "cannot be written" in said.err
    assert len(said.err) < 600
    assert content(tmp_path) == before
