"""Studies: verdicts that can fail, theory in closed form, cells that are resumed, and what the command says."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from bnbench.cli import main
from bnbench.folder import FolderError
from bnbench.problem import ACTIVATIONS
from bnbench.study import Cells, page, remedies, saturation, signal, verdict

COLUMNS = {"activation", "normalization", "sigma_w2", "sigma_b2", "width", "batch", "depth", "predicted", "measured"}
COLUMNS |= {"low", "high"}
TINY = saturation.Plan((3, 2), ((32, 64),), (64, 8, 3), (32, 5, 2), 200, 4, (2,), 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a study of a few seconds in it, and what the command printed."""
    patch = pytest.MonkeyPatch()
    patch.setitem(saturation.PLANS, "quick", TINY)
    patch.setattr(saturation, "WIDE", (96, 128))
    patch.setattr(remedies, "ROWS", 256)
    yield tmp_path_factory.mktemp("study") / "out"
    patch.undo()


def study(folder, capsys, *words):
    assert main(["study", "saturation", "--preset", "quick", "--out", str(folder), "--json", *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return found


def test_a_study_is_complete_and_resumes_where_it_stopped(folder, capsys, monkeypatch):
    # catches: a key or column that is missing, NaN in the JSON, cells counted wrong, a resumed study that computes
    # again or says something else, a line torn by a kill that is taken for a cell
    found = study(folder, capsys)
    assert set(found) == {"study", "question", "answer", "claims", "table"}
    assert all(COLUMNS <= set(row) for row in found["table"])
    assert {row["activation"] for row in found["table"]} == set(ACTIVATIONS)
    assert all(set(claim) == {"text", "theory", "measured", "low", "high", "verdict"} for claim in found["claims"])
    names = {path.name for path in folder.rglob("*.*")}
    assert {"saturation.md", "saturation.html", "saturation.csv", "saturation-map.png", "saturation-map.svg"} <= names
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == saturation.count("quick")
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    computed = []
    trained = remedies.trained
    monkeypatch.setattr(remedies, "trained", lambda *place: computed.append(place) or trained(*place))
    monkeypatch.setattr(saturation.Point, "norms", None)  # every other cell is there
    monkeypatch.setattr(page, "write", lambda *given: None)
    assert study(folder, capsys, "--resume") == found
    assert len(computed) == 1
    assert main(["study", "saturation", "--out", str(folder)]) == 2
    assert main(["study", "saturation", "--resume", "--preset", "default", "--out", str(folder)]) == 2


def test_every_claim_can_be_refuted(folder):
    # catches: a verdict that does not depend on theory's constant, a tolerance so wide that nothing fails
    table = pd.read_csv(folder / "saturation.csv", keep_default_na=False, na_values=[""])
    table["remedy"] = table["remedy"].fillna("")
    table[["low", "high"]] = np.stack([0.999 * table["measured"], 1.001 * table["measured"]], axis=1)
    right = saturation.claims(table.assign(predicted=table["measured"]))
    assert len(right) > 20
    assert {claim.verdict for claim in right} <= {"holds", "undecided"}  # undecided: (B-2)/(B-3) is nearly 1
    for wrong in (1.1, 0.9):
        assert {claim.verdict for claim in saturation.claims(table.assign(predicted=wrong * table["measured"]))} == {
            "refuted"
        }


def test_a_verdict_holds_only_where_all_of_the_interval_is_within():
    # catches: an interval that is wide enough for anything called a proof, a tolerance on the wrong side, a NaN
    cases = {(0.99, 1.01): "holds", (0.9, 1.1): "undecided", (1.03, 1.2): "refuted", (0.8, 0.97): "refuted"}
    cases |= {(math.nan, math.nan): "undecided", (-math.inf, math.inf): "undecided", (1.01, 1.2): "undecided"}
    assert {ends: verdict(1.0, *ends, 0.02) for ends in cases} == cases


def test_theory_is_that_of_closed_forms():
    # catches: a quadrature that a kink or a narrow peak misleads, a' for a'^2, a mean that is not taken off, the
    # critical line of another network
    assert signal.explosion("relu") == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)
    assert signal.explosion("identity") == pytest.approx(1, rel=1e-12)
    gaussian = 3**-1.5 / (3**-0.5 - 0.5)
    assert signal.explosion("gaussian") == pytest.approx(gaussian, rel=1e-12)
    assert min(map(signal.explosion, ACTIVATIONS)) > 1 - 1e-12  # Gaussian Poincaré
    q = np.geomspace(1e-3, 1e3, 13)
    mean, square, slope = signal.moments("gaussian", q)
    np.testing.assert_allclose([mean, square, slope], [(1 + q) ** -0.5, (1 + 2 * q) ** -0.5, q * (1 + 2 * q) ** -1.5])
    assert signal.critical("gaussian") == pytest.approx(3 + 2 * math.sqrt(2), rel=1e-10)
    assert [signal.critical(name) for name in ("relu", "identity", "tanh")] == pytest.approx([2, 1, 1], rel=1e-6)
    assert signal.chi("relu", 1.3, 0.2) == pytest.approx(0.65)
    for name in ("tanh", "gaussian", "sigmoid"):  # points of the line are fixed points with χ₁ = 1
        weight, bias = signal.critical_line(name, 5.0 if name == "gaussian" else 50.0)
        assert signal.chi(name, weight, bias) == pytest.approx(1, rel=1e-5)


def test_what_is_measured_is_the_factor_of_theory():
    # catches: a norm of another layer, factors upside down, biases left out, a start that is not the fixed point
    for point in (
        saturation.Point("gaussian", "batch", 3.0, 0.0, 128, 256, 5, 4),
        saturation.Point("tanh", "none", 1.8, 0.2, 256, 32, 8, 4),
        saturation.Point("gaussian", "none", 4.0, 0.0, 256, 32, 8, 4, "LSUV"),
    ):
        assert np.mean(point.factors()["factors"]) == pytest.approx(point.predicted, rel=0.04)


def test_a_step_of_the_scaled_activation_is_that_of_its_own_weights():
    # catches: a·θ(z) trained as a larger Γ with the rate of the small one, LARS that divides by nothing
    parts, slopes = [np.full((2, 2), 3.0)], [np.zeros((2, 2))]
    remedies.lars({}, parts, slopes, 0.1)
    assert np.isfinite(parts[0]).all()
    slopes = [np.ones((2, 2))]
    remedies.lars({}, parts, slopes, 0.5)
    np.testing.assert_allclose(parts[0], 1.5)


def test_cells_refuse_what_is_no_study(tmp_path):
    # catches: a journal of a sweep that is taken for cells
    (tmp_path / "journal.jsonl").write_text('{"schema": 1, "variant": "a"}\n')
    with pytest.raises(FolderError, match="line 1 is no cell"):
        Cells(tmp_path / "journal.jsonl")
