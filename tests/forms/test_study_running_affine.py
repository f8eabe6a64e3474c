"""The studies `running` and `affine`: every verdict can fail, and what they rest on is checked another way."""

import numpy as np
import pytest

import bnbench
from bnbench.study import affine, running
from bnbench.study.base import Cells

SMALL = {
    "running": {"columns": 1000, "seeds": 3, "epochs": 3, "samples": 40, "rounds": 2},
    "affine": {"activations": ("identity", "relu"), "draws": 1, "seeds": 3, "widths": (8,)},
}


def scaled(function, factor):
    return lambda *arguments: factor * function(*arguments)


PLANTED = {  # a study's theory, by the name that it has in the module, and a wrong one
    "running": {
        "bias": scaled(running.bias, 1.05),
        "start_left": scaled(running.start_left, 1.000001),
        "noise": scaled(running.noise, 2),
        "lag": scaled(running.lag, 1.1),
        "jensen": scaled(running.jensen, 1.05),
        "sampling": scaled(running.sampling, 2),
        "AT_REST": 0.5,
    },
    "affine": {
        "added": lambda activation: 1,
        "IDENTITIES": {name: (text, factor + 1e-10) for name, (text, factor) in affine.IDENTITIES.items()},
        "LOST": dict.fromkeys(affine.LOST, 10.0),
        "ON_FEATURES": dict.fromkeys(affine.ON_FEATURES, 1.01),
    },
}


@pytest.mark.parametrize("name", ["running", "affine"])
def test_every_claim_is_refuted_by_a_wrong_constant(name, tmp_path, monkeypatch):
    # catches: a verdict that cannot fail, a claim whose theory is read off what was measured, cells that hold theory
    module = {"running": running, "affine": affine}[name]
    monkeypatch.setitem(module.PRESETS, "quick", SMALL[name])
    with Cells(tmp_path / "cells.jsonl") as cells:
        right = module.run("quick", cells).claims
        computed, shown = len(cells.rows), set()
        assert computed == module.count("quick")
        assert not [one for one in right if one.verdict == "refuted"]
        for theory, wrong in PLANTED[name].items():
            with monkeypatch.context() as planted:
                planted.setattr(module, theory, wrong)
                claims = module.run("quick", cells).claims
            moved = {place for place, one in enumerate(claims) if one.theory != right[place].theory}
            assert moved
            assert {claims[place].verdict for place in moved} == {"refuted"}, [claims[place] for place in moved]
            shown |= moved
        assert len(cells.rows) == computed
    assert shown == set(range(len(right)))


@pytest.mark.parametrize("activation", ["leaky-relu", "identity", "gaussian"])
def test_certified_ranks_are_those_of_numerical_differences(activation):
    # catches: a Jacobian of other parameters than it says, a bound from above that is too low
    X, *theta = (part.astype(float) for part in affine.rational_net(np.random.default_rng([3, 0])))
    start = np.concatenate([part.ravel() for part in theta])

    def outputs(flat):
        G, gamma, beta, out = np.split(flat, np.cumsum([part.size for part in theta])[:-1])
        return bnbench.predict(X, G.reshape(theta[0].shape), gamma, beta, out, activation=activation, eps=0.0)

    steps = 1e-5 * np.eye(len(start))
    columns = [(outputs(start + step) - outputs(start - step)) / 2e-5 for step in steps]
    J = np.stack([*columns, np.ones(len(X))], axis=1)
    assert affine.ranks(activation, 0)["with"] == [np.linalg.matrix_rank(J, tol=1e-7)] * 2


def test_the_bias_of_sorted_rows_is_what_batches_differ_by():
    # catches: theory for sorted rows that is read off the program's own batches
    values = np.arange(12.0)
    between = values.reshape(-1, 4).mean(axis=1).var()
    assert running.bias("paper", "sorted", 4, values) == pytest.approx(4 / 3 * (1 - between / values.var()), rel=1e-12)
