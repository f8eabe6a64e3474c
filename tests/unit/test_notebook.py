"""How results show themselves in a notebook."""

from xml.etree import ElementTree

import numpy as np
from layer_zoo import ZOO

import bnbench
from bnbench.problem import Gradients
from bnbench.validation import Verdict


def shown(result):
    """The line above, the rows as texts and the notes of what a notebook is given; fails where it is no valid HTML."""
    page = ElementTree.fromstring(result._repr_html_())  # every element closed, every < and & escaped
    assert {one.tag for one in page.iter()} <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "p"}
    rows = [[cell.text for cell in row] for row in page.iterfind("table/tbody/tr")]
    heads = [cell.text for cell in page.iterfind("table/thead/tr/th")]
    assert {len(row) for row in rows} <= {len(heads)}
    return page.find("strong").text, rows, [note.text for note in page.iterfind("p")]


def test_gradients_show_shapes_and_norms():
    # catches: arrays printed out in full, a layer of several or ∂R/∂X left out, None that raises
    one = Gradients(0.25, np.array([[3.0, -4.0]]), None, None, np.array([2.0, 0.0]), dX=np.ones((2, 1)))
    assert shown(one) == (
        "loss 0.25",
        [["dG1", "1 × 2", "5", "4"], ["dG2", "2", "2", "2"], ["dX", "2 × 1", "1.414", "1"]],
        [],
    )
    pair = [np.ones(3), np.ones(1)]
    deep = Gradients(1.0, [np.ones((2, 3)), np.ones((3, 1))], pair, pair, np.ones(1))
    names = ["dG1[0]", "dG1[1]", "dgamma[0]", "dgamma[1]", "dbeta[0]", "dbeta[1]", "dG2"]
    assert [row[0] for row in shown(deep)[1]] == names


def test_a_layers_verdict_shows_what_is_wrong():
    # catches: a verdict, a finding or a note that is missing, or there twice
    for layer in (next(entry.layer for entry in ZOO if entry.correct is kind) for kind in (True, False)):
        verdict = bnbench.check_layer(layer.forward, layer.backward)
        first, rows, notes = shown(verdict)
        assert rows == [[name, text] for name, text in verdict.findings.items()]
        lines = [first, *(f"  {name}: {text}" for name, text in rows), *(f"  {note}" for note in notes)]
        assert lines == str(verdict).split("\n")


def test_a_verdict_on_numbers_shows_errors_and_tolerances_escaped():
    # catches: a plug-in's own words taken for HTML, a valid answer whose caveat is lost
    entry = {"error": 1e-3, "tolerance": 2e-3, "ratio": 0.5}
    assert shown(Verdict("", {"dG1": entry})) == ("valid", [["dG1", "0.001", "0.002", "0.5"]], [])
    assert shown(Verdict("<script>alert('&')</script>"))[0] == "invalid: <script>alert('&')</script>"
    unbounded = Verdict("", {"dG1": entry | {"tolerance": np.inf}})
    assert shown(unbounded)[2] == [unbounded.caution]


def test_checks_formulas_and_statistics_show_themselves():
    # catches: an object of the library that a notebook shows as its repr, a page long
    first, rows, notes = shown(bnbench.can_fail(lambda forward, backward: True))
    assert first == "this check lets 30 of 30 planted mistakes through:"
    assert len(rows) == 30
    assert notes[0].startswith("what to change: compare dx, dγ and dβ")

    def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
        raise ValueError("a < b & c")

    said = bnbench.diagnose(step)
    first, rows, _ = shown(said)
    assert first == said.headline
    assert len(rows) == len(said.cases)
    assert "a < b & c" in rows[0][2]

    batches = [np.random.default_rng(k).normal(size=(20, 3)) for k in range(5)]
    running = bnbench.RunningStatistics("keras")
    for batch in batches:
        running.update(batch)
    found = bnbench.identify(batches, running.mean, running.var)
    assert shown(found)[1][0][0] == "keras"
    assert "new = 0.99·old + 0.01·batch" in shown(found)[1][0][2]
