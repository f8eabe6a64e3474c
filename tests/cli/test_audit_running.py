"""`audit --running`, as a newcomer calls it."""

import json

import numpy as np
import pytest

import bnbench


@pytest.fixture
def parts():
    """Batches, and PyTorch's statistics of them."""
    random, running = np.random.default_rng(0), bnbench.RunningStatistics("pytorch", 0.25)
    batches = [random.standard_normal((m, 3)) for m in (4, 6, 2)]
    for Z in batches:
        running.update(Z)
    return batches, {"mean": running.mean, "var": running.var}


def test_every_layout_of_a_file_is_named(parts, command, tmp_path):
    # catches: arrays in the order of their names' letters (arr_10 before arr_2), an exit code that says fine of others
    batches, statistics = parts
    padded = np.zeros((3, 6, 3))
    for place, Z in enumerate(batches):
        padded[place, : len(Z)] = Z
    layouts = [
        {f"batch_{place + 8}": Z for place, Z in enumerate(batches)},
        {"batches": np.concatenate(batches), "sizes": [4, 6, 2]},
        {"batches": padded, "sizes": [4, 6, 2]},
        {f"arr_{place}": Z for place, Z in enumerate(batches)} | {"momentum": 0.25},
        {f"arr_{place}": Z for place, Z in enumerate(batches)} | {"start_mean": np.zeros(3), "start_var": np.ones(3)},
    ]
    for layout in layouts:
        np.savez(tmp_path / "mine.npz", **layout, **statistics)
        found = command("audit", "--running", tmp_path / "mine.npz")
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.startswith("mine.npz: these are the running statistics of pytorch")
        assert "momentum 0.25" in found.stdout
    found = command("audit", "--running", tmp_path / "mine.npz", "--json")
    answer = json.loads(found.stdout)
    assert answer["names"] == ["pytorch", "tensorflow-fused"]
    assert answer["fits"][0]["momentum"] == 0.25
    np.savez(tmp_path / "mine.npz", **layouts[0], mean=statistics["mean"], var=statistics["var"] * 1.01)
    found = command("audit", "--running", tmp_path / "mine.npz")
    assert found.returncode == 1
    assert "no convention that is known reproduces" in found.stdout


def test_what_cannot_be_read_is_one_line_and_2(parts, command, tmp_path):
    # catches: a traceback of NumPy's or zipfile's, a pickle that is run
    batches, statistics = parts
    file = tmp_path / "mine.npz"
    for held, words in (
        ({"mean": 1}, "has mean and no var; allowed are"),
        (statistics, "and no batches; allowed are"),
        ({**statistics, "batches": batches[0]}, "batches has shape (4, 3) without sizes"),
        ({**statistics, "batches": batches[0], "sizes": [3]}, "1 sizes add up to 3"),
        ({**statistics, "batches": batches[0], "sizes": [-4]}, "sizes has shape"),
        ({**statistics, "batches": batches[0], "arr_0": batches[0]}, "has batches and arr_0; allowed is one"),
        ({**statistics, "others": batches[0]}, "has others; allowed are"),
        ({**statistics, "arr_0": batches[0], "start_mean": 0}, "has one of start_mean and start_var"),
        ({**statistics, "arr_0": batches[0], "momentum": [1, 2]}, "momentum has shape (2,)"),
        ({**statistics, "arr_0": np.array([{}, None], object)}, "holds Python objects"),
        ({**statistics, "arr_0": batches[0][:, :2]}, "mean has shape (3,)"),
    ):
        np.savez(file, **held)
        refused(command("audit", "--running", file), words)
    file.write_bytes(b"PK\x03\x04 and no more")
    refused(command("audit", "--running", file), "cannot be read")
    file.write_text("mean,var\n")
    refused(command("audit", "--running", file), "allowed are mean, var")
    refused(command("audit", "--running", tmp_path / "none.npz"), "there is no such file")
    refused(command("audit", "--running", file, "--eps", "1"), "--eps cannot be used with --running")
    refused(command("audit", "--running", file, "--proof"), "--running cannot be used with --proof")
    refused(command("audit", "--running", ""), "running is empty")


def refused(found, words):
    assert found.returncode == 2, found
    assert words in found.stderr
    assert found.stderr.count("\n") == 1
