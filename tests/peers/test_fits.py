"""The estimators beside PyTorch, step by step, and beside linearmodels' panel regression."""

import copy

import numpy as np
import pandas as pd
import pytest

import bnbench

pytest.importorskip("sklearn")
from bnbench.estimators.parameters import Places
from bnbench.estimators.solvers import epochs_of


def panel(seed, units=60, rows=600, q=3):
    """An unbalanced, unsorted panel whose effects go with its linear terms; (X, W, y, unit)."""
    random = np.random.default_rng(seed)
    unit = random.permutation(np.concatenate([np.arange(units), random.integers(0, units, rows - units)]))
    level = random.normal(size=units)[unit]
    X = random.normal(size=(rows, 4)) + 0.5 * level[:, None]
    W = random.normal(size=(rows, q)) * [1, 20, 0.1] + level[:, None] + 0.3 * X[:, :1]
    shock = random.normal(size=units)[unit] * W[:, 0]  # errors that go together within a unit
    y = W @ [1.0, -0.2, 3.0] + 5 * level + 0.5 * shock + random.normal(size=rows)
    return X, W, y, unit


def names(unit):
    """Labels of text that are not in the order of their numbers."""
    return np.array([f"{(7 * place) % 61:02d} of {place}" for place in range(unit.max() + 1)])[unit]


@pytest.mark.parametrize("how", ["constant inputs", "an infinite penalty"])
@pytest.mark.parametrize("seed", range(3))
def test_without_a_hidden_part_delta_is_that_of_panelols(how, seed):
    # catches: y or W demeaned over all rows, scores that are not added up in a unit, N for N - k
    panels = pytest.importorskip("linearmodels.panel")
    X, W, y, unit = panel(seed)
    labels, time = names(unit), pd.Series(unit).groupby(unit).cumcount()
    if how == "constant inputs":
        X = np.ones_like(X)
    found = bnbench.BatchNormRegressor(
        (5,), random_state=seed, max_iter=2000, tol=1e-13, output_penalty=0.0 if how == "constant inputs" else 1e12
    )
    found.fit(X, y, pd.DataFrame(W, columns=["a", "b", "c"]), labels)
    index = pd.MultiIndex.from_arrays([labels, time])
    data = pd.DataFrame(np.column_stack([y, W]), index=index, columns=["y", "a", "b", "c"])
    known = panels.PanelOLS(data["y"], data[["a", "b", "c"]], entity_effects=True).fit(
        cov_type="clustered", cluster_entity=True
    )
    np.testing.assert_allclose(found.delta_, known.params, rtol=1e-6)
    np.testing.assert_allclose(found.linear_table()["std_error"], known.std_errors, rtol=1e-3)
    effects = known.estimated_effects["estimated_effects"].groupby(level=0).first()
    shift = 0 if how == "an infinite penalty" else np.mean(list(found.effects_.values())) - effects.mean()
    np.testing.assert_allclose(pd.Series(found.effects_)[effects.index] - shift, effects, rtol=1e-4, atol=1e-4)


def in_torch(settings, start, data, batches, loss):
    """50 steps of torch.optim.Adam on the network in PyTorch's words; (losses, parameters by name)."""
    import torch

    F = torch.nn.functional
    X, y, W, unit = (None if part is None else torch.from_numpy(part) for part in data)
    theta = {name: [torch.tensor(part, requires_grad=True) for part in parts] for name, parts in start.items()}
    optimizer = torch.optim.Adam([part for parts in theta.values() for part in parts], lr=settings["learning_rate"])
    losses = []
    for rows in batches:
        rows = slice(None) if rows is None else rows
        A = X[rows]
        for G, gamma, beta in zip(theta["G1"], theta["gamma"], theta["beta"], strict=True):
            A = F.batch_norm(A @ G, None, None, gamma, beta, training=True, eps=1e-5)
            A = torch.relu(A) if settings["activation"] == "relu" else torch.tanh(A)
        eta = A @ theta["G2"][0] + sum(theta["intercept"])
        if W is not None:
            eta = eta + W[rows] @ theta["delta"][0]
        if loss == "logistic":
            value = F.binary_cross_entropy_with_logits(eta, y[rows])
        else:
            rest = y[rows] - eta
            if unit is not None:
                D = F.one_hot(unit[rows]).double()
                rest = rest - D @ ((D.T @ rest) / D.sum(0).clamp(min=1))
            value = (rest**2).mean()
        for name, penalty in (("G1", "hidden_penalty"), ("G2", "output_penalty"), ("delta", "linear_penalty")):
            value = value + settings.get(penalty, 0.0) * sum((part**2).sum() for part in theta[name])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses, {name: [part.detach().numpy() for part in parts] for name, parts in theta.items()}


CASES = {
    "all rows": ("squared", {"hidden": (8,), "activation": "relu", "batch_size": None, "max_iter": 50}, False, False),
    "minibatches": ("squared", {"hidden": (8,), "activation": "tanh", "batch_size": 64, "max_iter": 5}, True, False),
    "units": ("squared", {"hidden": (6,), "activation": "tanh", "batch_size": 64, "max_iter": 5}, True, True),
    "two layers": (
        "logistic",
        {"hidden": (7, 5), "activation": "tanh", "batch_size": 60, "max_iter": 5, "hidden_penalty": 0.01,
         "output_penalty": 0.02, "linear_penalty": 0.03},
        True, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_fifty_steps_of_adam_are_pytorchs(case, monkeypatch):
    # catches: Adam's bias correction, a penalty on γ, β or the intercept, a penalty halved, a bias node that learns,
    # a unit that is split between two minibatches
    pytest.importorskip("torch")
    loss, settings, linear, units = CASES[case]
    settings = settings | {"learning_rate": 0.01}
    X, W, y, unit = panel(5)
    y, W, unit = y - y.mean(), W / W.std(axis=0) if linear else None, unit if units else None
    seen = {}
    original = Places.start

    def start(self, random, *rest):
        theta = original(self, random, *rest)
        seen.update(places=self, theta=theta.copy(), random=copy.deepcopy(random))
        return theta

    monkeypatch.setattr(Places, "start", start)
    kind = bnbench.BatchNormRegressor if loss == "squared" else bnbench.BatchNormClassifier
    y = (y > 0).astype(float) if loss == "logistic" else y
    found = kind(solver="adam", tol=0.0, random_state=3, **settings)
    with pytest.warns(match="has not converged"):
        found.fit(X, y, W, unit)
    G, gamma, beta, out, delta = seen["places"].parts(seen["theta"])
    nodes = len(out) - (not units)
    begun = {
        "G1": [*G[:-1], G[-1][:, :nodes]],
        "gamma": [*gamma[:-1], gamma[-1][:nodes]],
        "beta": [*beta[:-1], beta[-1][:nodes]],
        "G2": [out[:nodes]],
        "delta": [] if delta is None else [delta],
        "intercept": [] if units else [np.array(out[-1])],
    }
    epochs = epochs_of(seen["random"], len(y), settings["batch_size"], 2, unit)
    batches = [rows for _ in range(settings["max_iter"]) for rows in next(epochs)]
    assert len(batches) >= 50 - 2 * units
    losses, known = in_torch(settings, begun, (X, y, W, unit), batches, loss)
    weights = np.array([1 if rows is None else len(rows) for rows in batches]).reshape(settings["max_iter"], -1)
    curve = (np.reshape(losses, weights.shape) * weights).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(found.loss_curve_, curve, rtol=1e-8)
    for name, parts in known.items():
        mine = getattr(found, f"{name}_")
        mine = mine if isinstance(mine, list) else [mine] if parts else []
        for one, part in zip(mine, parts, strict=True):
            np.testing.assert_allclose(one, part, rtol=1e-8, atol=1e-8, err_msg=name)
