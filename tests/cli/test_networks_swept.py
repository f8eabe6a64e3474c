"""Networks through the command line: what a plug-in is asked for, what is judged, and what the tables say."""

import collections
import json

import pandas
from conftest import PLUGINS, bnbench

SIZE = ("--N", "40", "--p1", "5", "--p2", "4")
PLUGIN = ("--plugin", str(PLUGINS / "networks.py"))
OWN = "every-network,any-loss,squared-alone,deep-and-wrong"


def test_each_is_asked_for_what_it_takes_and_judged_on_that():
    # catches: a keyword that is not passed, a plug-in asked for what it cannot know, a layer that is not judged
    axes = "--depth", "1,2", "--loss", "squared,logistic", "--linear", "0,2", "--units", "0,3"
    held = "--activation", "tanh", "--normalization", "batch", "--dtype", "float64", "--regime", "fresh"
    names = f"matrix-numpy,matrix-kronecker,{OWN}"
    result = bnbench("verify", *SIZE, *axes, *held, *PLUGIN, "--variants", names, "--json")
    assert result.returncode == 1, result.stderr
    rows = json.loads(result.stdout)
    assert len(rows) == 6 * 16
    counts = collections.Counter((row["variant"], row["status"]) for row in rows)
    assert counts == {
        ("matrix-numpy", "ok"): 16,
        ("every-network", "ok"): 16,
        ("matrix-kronecker", "ok"): 1, ("matrix-kronecker", "unsupported"): 15,
        ("any-loss", "ok"): 2, ("any-loss", "unsupported"): 14,
        ("squared-alone", "ok"): 1, ("squared-alone", "unsupported"): 15,
        ("deep-and-wrong", "ok"): 1, ("deep-and-wrong", "invalid"): 1, ("deep-and-wrong", "unsupported"): 14,
    }  # fmt: skip
    (wrong,) = (row for row in rows if row["status"] == "invalid")
    assert wrong["depth"] == 2
    assert "dG2 is off by 0.001 of its size" in wrong["reason"]
    said = {(row["variant"], row["reason"]) for row in rows if row["status"] == "unsupported"}
    assert ("matrix-kronecker", "loss is logistic; it supports squared") in said
    assert ("any-loss", "depth is 2; it supports 1") in said


def test_tables_and_page_say_which_network(tmp_path):
    # catches: an axis that a table drops, so that networks are ranked as if they were one
    axes = "--depth", "1,2", "--loss", "logistic", "--sampling", "0.01"
    out = tmp_path / "run"
    result = bnbench("sweep", *SIZE, *axes, "--variants", "matrix-numpy,autograd", "--out", str(out))
    assert result.returncode == 0, result.stderr
    table = pandas.read_csv(out / "summary.csv")
    assert set(zip(table["variant"], table["depth"], table["loss"], table["status"], strict=True)) == {
        (name, depth, "logistic", "ok") for name in ("matrix-numpy", "autograd") for depth in (1, 2)
    }
    assert "depth 2" in result.stdout
    page = (out / "report.html").read_text()
    assert "2 hidden layers" in page
    assert "logistic loss" in page


def test_verify_takes_frozen_statistics():
    # catches: an axis that verify drops, frozen statistics that no variant is asked for
    axes = "--normalization", "frozen", "--activation", "tanh,leaky-relu", "--depth", "3", "--loss", "poisson"
    result = bnbench("verify", "--N", "30", *axes, "--variants", "matrix-numpy", "--json")
    assert result.returncode == 0, result.stdout
    said = {(row["depth"], row["loss"], row["normalization"], row["status"]) for row in json.loads(result.stdout)}
    assert said == {(3, "poisson", "frozen", "ok")}


def test_a_table_whose_outcome_the_loss_has_no_place_for_is_one_line(tmp_path):
    # catches: a sweep that begins, and fails in every cell
    (tmp_path / "t.csv").write_text("a,y\n1,0\n2,3\n4,1\n")
    given = "--data", str(tmp_path / "t.csv"), "--target", "y", "--loss", "squared,logistic"
    result = bnbench("sweep", *given, "--out", str(tmp_path / "run"))
    assert result.returncode == 2
    assert "y[1] is 3.0 (1 such entries); with loss='logistic' allowed are numbers from 0 to 1" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_table_in_which_a_unit_has_no_effect_is_one_line(tmp_path):
    # catches: cells that are called ok because nothing bounds the rounding of an infinite effect
    (tmp_path / "t.csv").write_text("a,y\n1,0\n2,3\n4,1\n")
    given = "--data", str(tmp_path / "t.csv"), "--target", "y", "--loss", "poisson", "--units", "3"
    result = bnbench("sweep", *given, "--out", str(tmp_path / "run"))
    assert result.returncode == 2
    assert "every y of unit 0 is 0 (1 such units); with loss='poisson' no effect minimises the loss" in result.stderr
    assert len(result.stderr.splitlines()) == 1
