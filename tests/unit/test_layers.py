"""Anybody's layer in its own conventions: right is right, wrong is never, and the term and factor are read."""

import dataclasses
import re

import numpy as np
import pytest
from layer_zoo import closed_form, course_forward, held_constant
from layer_zoo_calls import ZOO  # both zoos

import bnbench


# catches: a right layer of an unusual style or convention called wrong, a wrong one called right, a factor misread
@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.layer.__name__)
def test_a_layer_as_people_write_it(entry):
    found = bnbench.check_layer(entry.layer, layout=entry.layout)
    text = str(found)
    assert found.correct == entry.correct, text
    assert (not found.mistakes) == entry.correct
    for name, value in entry.about.items():
        assert getattr(found.conventions, name) == value, text
    for name, factor in entry.terms.items():
        assert found.terms.get(name) == factor, text
    for words in (*entry.says, *entry.remarks):
        assert words in text, text


def _normalised(x, gamma, beta, eps):
    xc = x - x.mean(0)
    s = np.sqrt((xc**2).mean(0) + eps)
    return gamma * xc / s + beta, (xc / s, s, gamma)


def _backward(dout, cache, a=1.0, b=1.0, c=1.0):
    xhat, s, gamma = cache
    dx = gamma / s * (a * dout - b * dout.mean(0) - c * xhat * (dout * xhat).mean(0))
    return dx, (dout * xhat).sum(0), dout.sum(0)


# catches: a tolerance under which a small mistake hides, whatever the size of eps
@pytest.mark.parametrize("eps", [0.1, 1e-5, 1e-8, 1e-12])
@pytest.mark.parametrize("off", [1e-5, -1e-4])
def test_a_small_mistake_is_found(eps, off):
    def forward(x, gamma, beta):
        return _normalised(x, gamma, beta, eps)

    assert bnbench.check_layer(forward, _backward).correct
    for part in "abc":
        found = bnbench.check_layer(forward, lambda dout, cache, part=part: _backward(dout, cache, **{part: 1 + off}))
        assert not found.correct
        assert part in found.findings["dx"].split(" = ")[0]


# catches: an eps of the backward that is not told from the forward's where both are tiny against the variance
@pytest.mark.parametrize(("forward_eps", "backward_eps"), [(0.0, 1e-8), (1e-12, 1e-8), (1e-5, 2e-5), (1e-8, 0.0)])
def test_an_eps_that_differs_is_said_with_its_numbers(forward_eps, backward_eps):
    def forward(x, gamma, beta):
        return _normalised(x, gamma, beta, forward_eps)[0], (x, gamma)

    def backward(dout, cache):
        return _backward(dout, _normalised(*cache, 0.0, backward_eps)[1])

    found = bnbench.check_layer(forward, backward)
    assert not found.correct
    assert found.conventions.eps == pytest.approx(forward_eps)
    said = "forgotten" if backward_eps == 0 else f"{backward_eps:g}".replace("e-0", "e-")
    assert said in found.findings["dx"], str(found)


# catches: a layer judged at one eps alone, so that one built into the backward passes
def test_a_chosen_eps_is_the_one_it_is_judged_at():
    def backward(dout, cache):
        x, _, mu, var, _, gamma, _ = cache
        s = np.sqrt(var + 1e-5)
        return _backward(dout, ((x - mu) / s, s, gamma))

    assert not bnbench.check_layer(course_forward, backward).correct
    at = bnbench.check_layer(course_forward, backward, eps=1e-5)
    assert at.correct, str(at)
    assert at.conventions.eps == 1e-5
    assert not bnbench.check_layer(course_forward, backward, eps=1e-3).correct


# catches: an error without the line of the author's code
def test_what_the_code_raises_is_shown_with_its_line():
    def backward(dout, cache):
        raise RuntimeError("not today")

    found = bnbench.check_layer(course_forward, backward)
    assert not found.correct
    assert "RuntimeError: not today, in test_layers.py line" in found.mistakes[0]
    assert 'raise RuntimeError("not today")' in found.mistakes[0]

    def broken(x, gamma, beta):
        return x @ gamma[:2], None

    found = bnbench.check_layer(broken, backward)
    assert "forward raises ValueError" in found.mistakes[0]
    assert "return x @ gamma[:2], None" in found.mistakes[0]


# catches: a guess where nothing can be read
def test_what_cannot_be_read_is_said_and_judged_by_differences():
    def forward(x, gamma, beta):  # the median is no mean
        s = np.abs(x - np.median(x, 0)).mean(0)
        return gamma * (x - x.mean(0)) / s + beta, (x, s, gamma)

    def backward(dout, cache):
        x, s, gamma = cache
        return gamma / s * (dout - dout.mean(0)), (dout * (x - x.mean(0)) / s).sum(0), dout.sum(0)

    found = bnbench.check_layer(forward, backward)
    assert not found.correct
    assert found.conventions.statistics == ""
    assert "could not be read" in str(found)
    assert found.findings["dgamma"] == found.findings["dbeta"] == "right"

    def layer_norm(x, gamma, beta):
        xc = x - x.mean(1, keepdims=True)
        s = np.sqrt((xc**2).mean(1, keepdims=True) + 1e-5)
        return gamma * xc / s + beta, (xc / s, s, gamma)

    def layer_norm_backward(dout, cache):
        xhat, s, gamma = cache
        d = dout * gamma
        dx = (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True)) / s
        return dx, (dout * xhat).sum(0), dout.sum(0)

    found = bnbench.check_layer(layer_norm, layer_norm_backward)
    assert found.correct, str(found)
    assert "layer normalisation" in str(found)


# catches: a layout that is not the one said, taken for a mistake without a word
def test_another_layout_is_hinted_at():
    def forward(x, gamma, beta):
        _N, C, _H, _W = x.shape
        xc = x - x.mean((0, 2, 3), keepdims=True)
        s = np.sqrt((xc**2).mean((0, 2, 3), keepdims=True) + 1e-5)
        return gamma.reshape(1, C, 1, 1) * xc / s + beta.reshape(1, C, 1, 1), (xc / s, s, gamma)

    found = bnbench.check_layer(forward, lambda dout, cache: dout)
    assert "with layout 'NCHW' it does not" in found.mistakes[0]


# catches: inputs that are judged as if they were others; a wrong word that is no error
@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((course_forward, 3), {}, "backward is 3; allowed is a function"),
        ((closed_form.forward,), {}, "backward is missing"),
        ((course_forward, _backward), {"layout": "HWC"}, "layout is 'HWC'; allowed are NC, CN, NHWC, NCHW"),
        ((course_forward, _backward), {"eps": -1.0}, "eps is -1.0"),
        ((lambda X, y, G1, gamma, beta, G2: 0, _backward), {}, "bnbench.diagnose"),
    ],
)
def test_wrong_input_is_one_line(arguments, options, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        bnbench.check_layer(*arguments, **options)
    assert "\n" not in str(error.value)


# catches: a verdict that JSON cannot hold, or that leaves the contract's names out
def test_the_verdict_has_the_contracts_fields():
    found = bnbench.check_layer(held_constant)
    plain = found.plain()
    assert {"correct", "conventions", "findings", "mistakes"} <= set(plain)
    assert {"statistics", "ddof", "eps", "eps_place"} <= set(plain["conventions"])
    assert {field.name for field in dataclasses.fields(found)} >= {"correct", "conventions", "findings", "mistakes"}
    assert str(bnbench.check_layer(closed_form)).startswith(
        "right; ddof=0, eps=1e-5 inside the root (an argument), as PyTorch"
    )


# catches: a layer whose arrays are changed under it, or which is called with another's state
def test_overwritten_arrays_and_prints_are_no_mistake_and_said(capsys):
    def backward(dout, cache):
        print("debugging")
        dx = _backward(dout.copy(), cache)
        dout *= 0
        return dx

    found = bnbench.check_layer(lambda x, gamma, beta: _normalised(x, gamma, beta, 1e-3), backward)
    assert found.correct, str(found)
    assert "overwrites its argument dout" in str(found)
    assert capsys.readouterr().out == ""
