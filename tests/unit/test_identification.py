"""Whose running statistics these are: named where it can be known, never wrongly, and said where it cannot."""

import os

import numpy as np
import pytest

import bnbench
from bnbench.running import CONVENTIONS

STREAMS = int(os.environ.get("BNBENCH_STREAMS", 100))  # 2,000 once


KNOWN = {  # of the rows 0, 2 and then 3, 5, 10, by hand
    "pytorch": (0.9 * 0.1 + 0.6, 0.9 * (0.9 + 0.1 * 2) + 0.1 * 13),
    "pytorch-cumulative": (3.5, 7.5),
    "keras": (0.99 * 0.01 + 0.06, 0.99 * (0.99 + 0.01) + 0.01 * 26 / 3),
    "flax": (0.99 * 0.01 + 0.06, 0.99 * (0.99 + 0.01) + 0.01 * 26 / 3),
    "onnx": (0.9 * 0.1 + 0.6, 0.9 * (0.9 + 0.1) + 0.1 * 26 / 3),
    "tensorflow-fused": (0.99 * 0.01 + 0.06, 0.99 * (0.99 + 0.01 * 2) + 0.01 * 13),
    "paper": (3.5, 7.5),
    "population": (4, 11.6),
}


@pytest.mark.parametrize("name", bnbench.CONVENTIONS)
def test_each_convention_by_hand(name):
    # catches: what the frameworks' own tests do, where no framework is installed
    running = bnbench.RunningStatistics(name)
    for rows in ([0.0, 2.0], [3.0, 5.0, 10.0]):
        running.update(np.array(rows)[:, None])
    np.testing.assert_allclose((running.mean[0], running.var[0]), KNOWN[name], rtol=1e-14)


def rule(name):
    """What tells conventions apart in numbers: their defaults aside."""
    return CONVENTIONS[name].weights, CONVENTIONS[name].ddof


def stream(seed):
    """(convention, momentum, start, batches, running), some in float32, with offsets, few batches, rows or columns."""
    random = np.random.default_rng(seed)
    held = CONVENTIONS[str(random.choice(list(CONVENTIONS)))]
    dtype = str(random.choice(["float64", "float32"]))
    p, K = int(random.integers(1, 9)), int(random.choice([1, 2, 3, 10, 100]))
    sizes = random.integers(2 if held.one_row == "refused" else 1, int(random.choice([3, 9, 65])), K)
    offset = float(random.choice([0, 1, 30]))
    batches = [((random.standard_normal((m, p)) + offset) * random.uniform(0.3, 3, p)).astype(dtype) for m in sizes]
    momentum = start = None
    if held.momentum is not None:
        momentum = [None, round(float(random.uniform(0.02, 0.98)), 3)][int(random.integers(2))]
        start = [None, (0.0, 0.0), (0.5, 2.0), (random.standard_normal(p), random.uniform(1, 2, p))][
            int(random.choice(4, p=(0.7, 0.1, 0.1, 0.1)))
        ]
    running = bnbench.RunningStatistics(held.name, momentum, start)
    for Z in batches:
        running.update(Z)
    return held, momentum, start, batches, running


def test_the_right_convention_in_every_stream_and_never_a_wrong_one():
    # catches: m for m - 1, a momentum in the other direction, a local minimum, a tolerance that lets another one in
    counts = {"one rule": 0, "several rules": 0, "unnamed": 0}
    for seed in range(STREAMS):
        held, momentum, start, batches, running = stream(seed)
        given = start if np.ndim(start and start[0]) else None
        found = bnbench.identify(batches, running.mean, running.var, start=given)
        text = f"{seed} {held.name} {momentum} {start}\n{found}"
        for fit in found.fits:  # what is named reproduces the numbers
            again = bnbench.RunningStatistics(fit.name, fit.momentum, fit.start)
            for Z in batches:
                again.update(Z)
            rounding = 1e-4 if batches[0].dtype == np.float32 else 1e-10
            size = max(abs(Z).max() for Z in batches)
            assert (abs(again.mean - running.mean) <= rounding * (1 + size)).all(), text
            assert (abs(again.var - running.var) <= rounding * (1 + running.var.max())).all(), text
        rules = {rule(name) for name in found.names}
        if not found.names:  # a start that is not given takes three columns
            assert start not in (None, given), text
            assert len(running.mean) < 3, text
            counts["unnamed"] += 1
            continue
        assert held.name in found.names, text
        if len(rules) > 1:
            counts["several rules"] += 1
            assert "cannot be told apart" in str(found) or "coincide" in str(found), text
            assert len(batches) == 1 or len(running.mean) < 3 or max(map(len, batches)) < 3 or held.weights == "rows", (
                text
            )
        else:
            counts["one rule"] += 1
        (fit,) = (fit for fit in found.fits if fit.name == held.name)
        if len(rules) == 1 and held.momentum is not None and len(batches) < 10:
            assert fit.momentum == pytest.approx(momentum or held.momentum, rel=1e-3, abs=1e-3), text
    print(counts)


def batches_of(*sizes, p=4, seed=0):
    random = np.random.default_rng(seed)
    return [random.standard_normal((m, p)) * np.arange(1, p + 1) + 2 for m in sizes]


@pytest.mark.parametrize(
    ("made", "sizes", "rules", "words"),
    [
        (("pytorch", 1.0), (8, 9, 5), {"pytorch", "tensorflow-fused"}, "the last batch's"),
        (("keras", 0.0), (8, 9, 5), {"keras", "flax", "onnx"}, "the last batch's"),
        (("keras", 1.0), (8, 5), {"pytorch", "tensorflow-fused", "keras", "flax", "onnx"}, "the numbers are the start"),
        (("paper", None), (8,), {"pytorch-cumulative", "paper", "pytorch", "tensorflow-fused"}, "there is one batch"),
        (("population", None), (8,), {"population", "keras", "flax", "onnx"}, "there is one batch"),
        (("keras", None), (1, 1, 1), {"keras", "flax", "onnx", "tensorflow-fused"}, "variance 0 either way"),
        (("keras", None), (4, 1), {"keras", "flax", "onnx"}, "1 of 2 batches has one row"),
        (("pytorch-cumulative", None), (4, 4), {"pytorch-cumulative", "paper"}, "one rule"),
    ],
)  # fmt: skip
def test_where_conventions_coincide_all_are_named_and_it_is_said(made, sizes, rules, words):
    # catches: one of several named alone, or none, a momentum of 0 or 1 that is missed
    batches, running = batches_of(*sizes), bnbench.RunningStatistics(*made)
    for Z in batches:
        running.update(Z)
    found = bnbench.identify(batches, running.mean, running.var)
    assert set(found.names) == rules, str(found)
    assert words in str(found)


def test_defaults_come_first_and_what_is_given_is_used():
    # catches: an estimate before a default; a momentum that is given and changed, a start that is ignored
    batches, start = batches_of(30, 40, 50), (np.arange(4.0), np.arange(1.0, 5))
    running = bnbench.RunningStatistics("onnx", start=start)
    for Z in batches:
        running.update(Z)
    assert bnbench.identify(batches, running.mean, running.var).names == []
    found = bnbench.identify(batches, running.mean, running.var, start=start)
    assert found.names == ["onnx", "keras", "flax"]
    assert [fit.momentum for fit in found.fits] == [0.9] * 3
    given = bnbench.identify(batches, running.mean, running.var, start=start, momentum=0.9)
    assert set(given.names) == {"onnx", "keras", "flax"}
    assert bnbench.identify(batches, running.mean, running.var, start=start, momentum=0.1).names == []


def test_numbers_that_nobody_makes_have_no_name():
    # catches: a tolerance through which anything passes; batches in another order
    batches, running = batches_of(9, 8, 12, 9), bnbench.RunningStatistics()
    for Z in batches:
        running.update(Z)
    off = 1 + 1e-6 * np.arange(4)
    for mean, var in ((running.mean, running.var * off), (running.mean * off, running.var)):
        found = bnbench.identify(batches, mean, var)
        assert not found.names
        assert found.nearest[0].name == "pytorch"
        assert found.nearest[0].momentum == pytest.approx(0.1, rel=1e-3)
    assert not bnbench.identify(batches[::-1], running.mean, running.var).names


def test_the_variance_that_flax_loses_is_named_flax_or_nobody():
    # catches: E[x²] - E[x]² taken for a convention of its own
    random = np.random.default_rng(0)
    for offset, names in ((30, ["flax"]), (1e4, [])):
        mean, var = np.zeros(3, "f"), np.ones(3, "f")
        batches = [(random.standard_normal((8, 3)) + offset).astype("f") for _ in range(6)]
        for Z in batches:
            now = Z.mean(axis=0)
            mean = np.float32(0.8) * mean + np.float32(0.2) * now
            var = np.float32(0.8) * var + np.float32(0.2) * ((Z * Z).mean(axis=0) - now * now)
        found = bnbench.identify(batches, mean, np.maximum(var, 0))
        assert found.names == names, str(found)
        assert "E[x²] - E[x]²" in str(found)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"batches": []}, "batches is empty"),
        ({"batches": 3.0}, "batches is of type float; allowed is a list of arrays"),
        ({"batches": [np.ones((2, 3)), np.ones((2, 4))]}, r"batches\[1\] has 4 columns"),
        ({"batches": [np.ones((2, 3)), np.full((2, 3), np.nan)]}, r"batches\[1\]\[0, 0\] is nan"),
        ({"mean": np.ones(2)}, r"mean has shape \(2,\); with batches of 3 columns allowed is \(3,\)"),
        ({"var": -np.ones(3)}, "var has -1.0; allowed are numbers of at least 0"),
        ({"var": [1, np.inf, 1]}, "var has inf"),
        ({"momentum": 2}, "momentum is 2; allowed is a number from 0 to 1"),
        ({"start": 3}, r"start is 3; allowed is \(mean, variance\)"),
    ],
)
def test_a_bad_call_says_what_is_allowed(changed, words):
    # catches: a traceback of NumPy's, an array that is broadcast until it fits
    call = {"batches": [np.eye(3)], "mean": np.ones(3), "var": np.ones(3)}
    with pytest.raises(ValueError, match=words):
        bnbench.identify(**call | changed)


@pytest.mark.parametrize(
    ("settings", "Z", "words"),
    [
        (("torch",), np.eye(3), "convention is 'torch'; allowed are pytorch, pytorch-cumulative, keras"),
        (("keras", 1.5), np.eye(3), "momentum is 1.5; allowed is a number from 0 to 1"),
        (("paper", 0.1), np.eye(3), "momentum is 0.1; paper has none, allowed is None"),
        (("population", None, (0, 1)), np.eye(3), r"start is \(0, 1\); population has none"),
        (("keras", None, ([0, 0], [1, 1])), np.eye(3), "Z has 3 columns; .* allowed are 2"),
        (("keras", None, ([0, 0], [1, -1])), np.eye(3), "the start's variance has -1"),
        (("pytorch",), np.ones((1, 3)), "Z has one row"),
        (("pytorch",), np.ones(3), r"Z has shape \(3,\)"),
        (("pytorch",), np.full((2, 2), np.inf), r"Z\[0, 0\] is inf"),
    ],
)  # fmt: skip
def test_a_bad_update_says_what_is_allowed(settings, Z, words):
    # catches: NaN that is averaged for ever, a start that is broadcast
    def call():
        bnbench.RunningStatistics(*settings).update(Z)

    with pytest.raises(ValueError, match=words):
        call()


def test_before_the_first_batch_and_after():
    # catches: a count of batches for one of rows, a start that is not handed out, a float64 answer for float32
    running = bnbench.RunningStatistics("keras", start=(0.5, 2))
    assert (running.mean, running.var, running.count) == (0.5, 2, 0)
    with pytest.raises(ValueError, match="no batch has been seen, and paper has no start"):
        bnbench.RunningStatistics("paper").mean  # noqa: B018
    for rows in (3, 1):
        running.update(np.ones((rows, 2), "f"))
    assert (running.count, running.batches, running.mean.dtype, running.mean.shape) == (4, 2, np.float32, (2,))
    assert set(bnbench.CONVENTIONS) == set(KNOWN)
