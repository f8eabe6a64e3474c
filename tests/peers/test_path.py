"""A fit by SciPy on a real table, whose loss and gradient are PyTorch's all along its path."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer

import bnbench

torch = pytest.importorskip("torch")
WIDTHS, POINTS = [8, 4], 20


def modules(inputs):
    """The network as its user writes it in PyTorch, in float64."""
    layers = []
    for fan_in, width in zip([inputs, *WIDTHS], WIDTHS, strict=False):
        layers += [torch.nn.Linear(fan_in, width, bias=False), torch.nn.BatchNorm1d(width), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(WIDTHS[-1], 1, bias=False)).double()


def test_a_fit_follows_pytorch():
    # catches: a flat vector in another order than its gradient, a loss and a gradient of two different functions
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    random = np.random.default_rng(0)
    G1 = [random.normal(size=(X.shape[1], 8)), random.normal(size=(8, 4))]
    prepared = bnbench.prepare(X, y, WIDTHS, activation="tanh", loss="logistic")
    start = prepared.pack(G1, [np.ones(p) for p in WIDTHS], [np.zeros(p) for p in WIDTHS], 0.1 * random.normal(size=4))
    path = []
    found = minimize(prepared, start, jac=True, method="L-BFGS-B", callback=path.append, options={"maxiter": 60})
    assert found.fun < 0.05 * prepared(start)[0]
    network, criterion = modules(X.shape[1]), torch.nn.BCEWithLogitsLoss()
    inputs, outcome = torch.from_numpy(X), torch.from_numpy(y.astype(float))
    for theta in [path[place] for place in np.linspace(0, len(path) - 1, POINTS).astype(int)]:
        G1, gamma, beta, G2, _ = prepared.unpack(theta)
        parts = [*(part for layer in zip((G.T for G in G1), gamma, beta, strict=True) for part in layer), G2[None]]
        with torch.no_grad():
            for parameter, part in zip(network.parameters(), parts, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(part)))
        network.zero_grad()
        loss = criterion(network(inputs)[:, 0], outcome)
        loss.backward()
        *layers, out = [parameter.grad.numpy() for parameter in network.parameters()]
        known = prepared.pack([G.T for G in layers[0::3]], layers[1::3], layers[2::3], out[0])
        value, slope = prepared(theta)
        assert abs(value - loss.item()) < 1e-12
        np.testing.assert_allclose(slope, known, rtol=1e-9, atol=1e-12)
