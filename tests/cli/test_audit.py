"""The audit: the question's figures, the rulings and what they rest on, and the command."""

import json

import numpy as np
import pytest
from conftest import PLUGINS, bnbench
from flint import arb, ctx, fmpq

from bnbench.audit import claims, question
from bnbench.audit.rulings import Evidence, printed
from bnbench.cli import main

RULINGS = {
    "beta-formula": "holds",
    "beta-figures": "wrong",
    "beta-loop": "wrong",
    "gamma1-formula": "wrong",
    "gamma1-figures": "wrong",
    "gamma1-loop": "vacuous",
    "gamma-formula": "wrong",
    "gamma-figures": "wrong",
    "nobn-gradients": "wrong",
    "answer-beta": "holds",
    "answer-gamma": "holds",
    "answer-gamma1": "wrong",
    "kronecker-rule": "wrong",
}


def test_every_printed_figure_is_reproduced():
    """As printed to the last digit, and to 15 digits of the run in R."""
    rows = {row["name"]: row for row in question.reproduce()}
    assert set(question.published()["printed"]) < set(rows)
    assert all(row["reproduced"] for row in rows.values())
    assert min(row["digits"] for row in rows.values()) >= 15
    assert sum(row["printed"] for row in rows.values()) == 4 + 4 + 28 + 28 + 16 + 4 + 4 * 8


def test_reproduction_can_fail(monkeypatch):
    """With the right a' in place of the question's, its figures do not come out."""
    monkeypatch.setattr(question, "ap", lambda v: np.where(v > 0, 1, 0))
    rows = {row["name"]: row for row in question.reproduce()}
    for name in ("drdb", "drdG1", "drdg", "loop_drdb", "loop_drdG1", "loop_drdg"):
        assert not rows[name]["reproduced"]
        assert rows[name]["digits"] < 1


def test_the_rulings_and_their_evidence():
    """What is wrong is proven by an entry outside its enclosure; what holds overlaps it everywhere, and was tried."""
    rulings = claims.rule_all()
    assert {ruling.id: ruling.ruling for ruling in rulings} == RULINGS
    for ruling in rulings:
        assert ruling.reason.endswith(".")
        assert all(evidence.radius < 1e-25 for evidence in ruling.evidence)
        if ruling.ruling == "holds":
            assert ruling.trials == claims.TRIALS
            assert not any(evidence.proven_wrong for evidence in ruling.evidence)
        elif ruling.id not in ("gamma1-loop", "answer-gamma1", "kronecker-rule"):
            assert ruling.evidence[0].proven_wrong


@pytest.mark.parametrize("gradient", ["dbeta", "dgamma", "dG1"])
def test_a_formula_with_a_mistake_is_never_let_hold(gradient):
    """A factor of 1 + 1e-20 on the true formula is ruled wrong, and a right one is not."""
    with ctx.workprec(512):
        right = claims.settle("right", "", gradient, lambda q: q.N * getattr(q, gradient), "", "")
        off = 1 + arb("1e-20")
        wrong = claims.settle("wrong", "", gradient, lambda q: q.N * getattr(q, gradient) * off, "", "")
    assert right.ruling == "holds"
    assert wrong.ruling == "wrong"


def test_a_ruling_its_evidence_does_not_bear_is_refused():
    """No reason can be mere words."""
    true = np.array([arb(2)], object)
    same, apart = Evidence("", true, true), Evidence("", true + 1, true)
    for ruling, evidence in (("wrong", same), ("holds", apart), ("vacuous", apart)):
        with pytest.raises(AssertionError):
            claims.settled("some-claim", "", ruling, "", [evidence], "")


def test_figures_wrong_in_the_twelfth_digit_are_wrong_and_right_ones_never():
    """1000 true entries as decimal texts of 12 to 17 digits, right, and with the twelfth digit one off."""
    random = np.random.default_rng(0)
    entries = [
        ball
        for _, _, enclosure in claims.random_problems()
        for part in (enclosure.gradients.dG1, enclosure.gradients.dgamma, enclosure.gradients.dbeta)
        for ball in part.flat
        if not ball.contains(0)
    ]
    assert len(entries) > 100
    for _ in range(1000):
        with ctx.workprec(256):
            true = random.choice(entries) * fmpq(int(random.integers(1, 10**6)), int(random.integers(1, 10**6)))
            digits = int(random.integers(12, 18))
            text = true.mid().str(digits, radius=False)
        evidence = Evidence("", printed([text]), np.array([true], object))
        assert not evidence.proven_wrong, (text, true)
        figures, _, exponent = text.partition("e")
        place = [i for i, c in enumerate(figures) if c.isdigit()]
        leading = next(n for n, i in enumerate(place) if figures[i] != "0")
        if len(place) < leading + 12:
            continue  # its trailing zeros are not printed
        at = place[leading + 11]
        digit = int(figures[at])
        other = str(digit + 1 if digit == 0 or (digit < 9 and random.random() < 0.5) else digit - 1)
        planted = figures[:at] + other + figures[at + 1 :] + ("e" + exponent if exponent else "")
        assert Evidence("", printed([planted]), np.array([true], object)).proven_wrong, (planted, true)


def test_the_command_writes_its_pages(tmp_path):
    """All pages, the JSON of the contract, exit code 0."""
    done = bnbench("audit", "--json", "--out", tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["id"]: row["ruling"] for row in found} == RULINGS
    assert all(row["reason"] and row["evidence"] for row in found)
    for name in ("audit.md", "audit.html", "audit.json"):
        text = (tmp_path / "audit" / name).read_text("utf-8")
        assert all(identity in text for identity in RULINGS)
        assert str(tmp_path) not in text
    assert {path.suffix for path in (tmp_path / "audit" / "plots").iterdir()} == {".png", ".svg"}
    assert json.loads((tmp_path / "audit" / "audit.json").read_text("utf-8")) == found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--formula", "nowhere.py"), "there is no such file"),
        (("--formula", PLUGINS / "wrong.py", "--ddof", "9", "--N", "5"), "allowed is N > ddof"),
        (("--formula", PLUGINS / "wrong.py", "--activation", "swish"), "activation is 'swish'"),
        (("--formula", PLUGINS / "wrong.py", "--linear", "1,2"), "allowed with --formula is one number"),
        (("--formula", PLUGINS / "wrong.py", "--loss", "huber"), "allowed are squared, logistic, poisson"),
        (("--formula", PLUGINS / "wrong.py", "--out", "x"), "--out cannot be used with --formula"),
        (("--N", "5"), "--N needs --formula"),
        (("--out", "/proc/nowhere"), "cannot be written"),
    ],
)
def test_wrong_input_is_one_line(arguments, said, tmp_path, monkeypatch, capfd):
    """Exit code 2, one line, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *map(str, arguments)]) == 2
    found = capfd.readouterr()  # formulas are tried in a process of their own
    assert said in found.err
    assert (found.out, len(found.err.splitlines())) == ("", 1)
    assert not list(tmp_path.iterdir())
