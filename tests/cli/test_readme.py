"""The README's training example, run as it stands there, against the same loop in PyTorch."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[2] / "README.md"


def example():
    """The block of the README that trains, run; the names it leaves behind."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(next(block for block in blocks if "load_diabetes" in block), names)
    return names


def test_the_training_example_learns():
    # catches: an example that does not run, or whose loss does not fall
    pytest.importorskip("sklearn")
    curve = np.array(example()["curve"])
    assert curve[-1] < 0.5 < curve[0]


def test_the_training_example_against_pytorch():
    # catches: parameters that a prepared gradient does not take anew, a gradient that is off by a factor
    pytest.importorskip("sklearn")
    torch = pytest.importorskip("torch")
    names = example()
    X, y = (torch.from_numpy(np.ascontiguousarray(names[name])) for name in ("X", "y"))
    random = np.random.default_rng(0)
    p1, p2 = names["p1"], names["p2"]
    start = random.normal(size=(p1, p2)), np.ones(p2), np.zeros(p2), random.normal(size=p2) / p2
    parameters = [torch.tensor(value, requires_grad=True) for value in start]
    curve = []
    for _ in names["curve"]:
        G1, gamma, beta, G2 = parameters
        B = torch.nn.functional.batch_norm(X @ G1, None, None, gamma, beta, training=True, eps=1e-5)
        loss = torch.nn.functional.mse_loss(torch.tanh(B) @ G2, y)
        curve.append(loss.item())
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter -= 0.1 * slope
    np.testing.assert_allclose(names["curve"], curve, rtol=1e-9)
