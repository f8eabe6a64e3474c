"""Linear terms and unit effects: every form against PyTorch's autograd of the effects written out, and by hand.

Nothing here is bnbench's but what is tested: effects are projected out by a matrix, found by bisection and
differentiated implicitly, or put among the parameters as dummies at their optimum. BNBENCH_PANELS=300 draws so many
problems for each variant, of every activation; a tenth of that for those that compile each anew.
"""

import datetime
import itertools
import os
import re

import numpy as np
import pytest
from cases import covering
from scipy.optimize import brentq
from scipy.special import expit

import bnbench
from bnbench.problem import ACTIVATIONS, LOSSES, NORMALIZATIONS
from bnbench.reference import reference as of_problem
from bnbench.reference.certified import certify

torch = pytest.importorskip("torch")
F = torch.nn.functional

FEWEST = 8
COUNT = int(os.environ.get("BNBENCH_PANELS", FEWEST))
CLOSE = 1e-8
CONVENTIONS = "activation", "normalization", "loss", "ddof", "eps"
COMPILED = ("torch-compile", "tensorflow-xla", "jax-jit")  # each problem anew, for seconds
EVERY = [
    name for name, cls in bnbench.variants().items()
    if 5 in cls.supports.get("units", ()) and 2 in cls.supports.get("linear", ()) and cls.device == "cpu"
]  # fmt: skip
FEW = [name for name in EVERY if name not in COMPILED]
A_OF = {
    "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "gaussian": lambda b: torch.exp(-b * b / 2),
    "identity": lambda b: b, "softplus": lambda b: torch.logaddexp(b, torch.zeros_like(b)),
    "leaky-relu": lambda b: F.leaky_relu(b, 0.01),
}  # fmt: skip
LOSS_OF = {
    "squared": lambda y, eta: (y - eta) ** 2,
    "logistic": lambda y, eta: F.binary_cross_entropy_with_logits(eta, y, reduction="none"),
    "poisson": lambda y, eta: torch.exp(eta) - y * eta,
}
MEAN_OF = {"logistic": expit, "poisson": np.exp}
KINDS = (  # of labels, from whole numbers in no order
    lambda code: f"unit {code}",
    lambda code: -3 * code,
    lambda code: code / 7,
    lambda code: ("FR", code, None)[: 2 + (code > 99)],
    lambda code: datetime.date(2000, 1, 1) + datetime.timedelta(days=code),
    lambda code: np.float32(code),
)


def drawn(seed, few=False, deepest=3):
    """A call's arrays by name, and its conventions: of one to three layers, unbalanced, units of one row among them.

    Of few conventions, those that other tests have compiled.
    """
    random = np.random.default_rng([seed, 22])
    loss, normalization = LOSSES[seed % 3], "batch" if few else NORMALIZATIONS[seed // 3 % 5 % 3]
    depth, ddof = min(int(random.integers(1, 4)), deepest), int(random.integers(3))
    N = int(random.integers(8, 60))
    widths = [int(n) for n in random.integers(1, 7, depth + 1)]
    units, q = int(random.integers(1, N // 2)), int(random.integers(4))
    unit = np.r_[np.arange(units), random.integers(0, units, N - units)]  # those drawn once have one row
    random.shuffle(unit)
    names = random.permutation(200)[:units]  # in another order than the codes
    y = {"squared": random.normal(size=N), "logistic": random.uniform(0.05, 0.95, N),
         "poisson": random.poisson(2.0, N) + 0.25}[loss]  # fmt: skip
    layers = [
        (random.normal(size=(a, b)) / a**0.5, random.choice([-1, 1], b) * random.uniform(0.5, 2, b),
         random.normal(size=b) / 2) for a, b in itertools.pairwise(widths)
    ]  # fmt: skip
    G1, gamma, beta = map(list, zip(*layers, strict=True))
    if normalization == "none":
        gamma = beta = None
    given = {"X": random.normal(size=(N, widths[0])) + random.normal(size=widths[0]), "y": y, "G1": G1, "gamma": gamma,
             "beta": beta, "G2": random.normal(size=widths[-1]) / widths[-1] ** 0.5,
             "W": random.normal(size=(N, q)) if q else None, "delta": random.normal(size=q) if q else None,
             "units": [KINDS[seed % len(KINDS)](int(names[code])) for code in unit],
             "statistics": [(random.normal(size=b), random.uniform(0.3, 3, b)) for b in widths[1:]]
             if normalization == "frozen" else None}  # fmt: skip
    return given, {
        "activation": "tanh" if few else str(random.choice(ACTIVATIONS)),
        "normalization": normalization, "loss": loss, "ddof": ddof,
        "eps": float(random.choice([1e-5, 1e-2, 0.5])),
    }  # fmt: skip


def dummies(units):
    """D (N,U), a column for each label in their sorted order."""
    labels = sorted(set(units))
    return np.array([[float(row == label) for label in labels] for row in units])


class Written:
    """R of a call by PyTorch in float64, with the effects written out.

    Attributes:
        D: the dummies, (N,U).
        alpha: the effects by least squares or bisection, (U,).
        leaves: the tensors that R is differentiated by, by name.
    """

    def __init__(self, given, conventions):
        self.given, self.conventions, self.D = given, conventions, dummies(given["units"])
        self.leaves = {}
        for name in ("X", "G1", "gamma", "beta", "G2", "delta"):
            parts = given[name] if isinstance(given[name], list) else [given[name]]
            if parts[0] is not None:
                self.leaves[name] = [torch.tensor(part, requires_grad=True) for part in parts]
        self.y = torch.tensor(given["y"])
        self.alpha = self.effects(self.eta().detach().numpy())

    def eta(self):
        """A_L Γ_out + W δ."""
        spec, A = self.conventions, self.leaves["X"][0]
        for place, G in enumerate(self.leaves["G1"]):
            Z = A @ G
            if spec["normalization"] != "none":
                mean, var = Z.mean(0), ((Z - Z.mean(0)) ** 2).sum(0) / (len(Z) - spec["ddof"])
                if spec["normalization"] == "frozen":
                    mean, var = map(torch.tensor, self.given["statistics"][place])
                Z = (
                    self.leaves["gamma"][place] * (Z - mean) / torch.sqrt(var + spec["eps"])
                    + self.leaves["beta"][place]
                )
            A = A_OF[spec["activation"]](Z)
        eta = A @ self.leaves["G2"][0]
        return eta + torch.tensor(self.given["W"]) @ self.leaves["delta"][0] if "delta" in self.leaves else eta

    def effects(self, eta):
        """What minimises R over the dummies' coefficients."""
        y = self.given["y"]
        if self.conventions["loss"] == "squared":
            return np.linalg.lstsq(self.D, y - eta, rcond=None)[0]
        mean = MEAN_OF[self.conventions["loss"]]
        rows = [column > 0 for column in self.D.T]
        return np.array([brentq(lambda a, i=i: np.sum(mean(eta[i] + a) - y[i]), -60, 60, xtol=1e-14) for i in rows])

    def profiled(self):
        """R by an explicit projector, or by effects that depend on the parameters implicitly."""
        eta, D = self.eta(), torch.tensor(self.D)
        if self.conventions["loss"] == "squared":
            residual = self.y - eta
            residual = residual - D @ torch.linalg.solve(D.T @ D, D.T @ residual)
            return (residual**2).mean()
        alpha = torch.tensor(self.alpha)
        mean = {"logistic": torch.sigmoid, "poisson": torch.exp}[self.conventions["loss"]]
        p = mean(eta + D @ alpha)
        slope = (p * (1 - p) if self.conventions["loss"] == "logistic" else p).detach()
        alpha = alpha - D.T @ (p - self.y) / (D.T @ slope)  # dα = -F_η dη / F_α
        return LOSS_OF[self.conventions["loss"]](self.y, eta + D @ alpha).mean()

    def with_dummies(self):
        """R with the effects as parameters of their own, at their optimum."""
        self.leaves["effects"] = [torch.tensor(self.alpha, requires_grad=True)]
        eta = self.eta() + torch.tensor(self.D) @ self.leaves["effects"][0]
        return LOSS_OF[self.conventions["loss"]](self.y, eta).mean()

    def slopes(self, risk):
        """Its derivatives by name."""
        loss = risk()
        flat = [tensor for tensors in self.leaves.values() for tensor in tensors]
        found = iter(torch.autograd.grad(loss, flat))
        return loss.item(), {name: [next(found).numpy() for _ in parts] for name, parts in self.leaves.items()}


def off(found, known):
    """The largest ‖found - known‖ over max(‖known‖, 1e-3), of arrays in turn."""
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)) for a, b in zip(found, known, strict=True))


def parts(found):
    """The library's answer by the names of what it is differentiated by."""
    named = {"X": found.dX, "G1": found.dG1, "gamma": found.dgamma, "beta": found.dbeta, "G2": found.dG2}
    named |= {"delta": found.ddelta}
    return {name: part if isinstance(part, list) else [part] for name, part in named.items() if part is not None}


@pytest.mark.parametrize("variant", covering(EVERY, FEW))
def test_a_structured_head_is_that_of_effects_written_out(variant):
    # catches: X or W demeaned in the residual's place, effects of labels in another order, an effect of rows that
    # follow each other, a gradient through α or none where one belongs, a unit of one row divided by 0
    if reason := bnbench.variants()[variant].unavailable():
        pytest.skip(reason)
    inputs = variant not in ("torch-compile", "r-matrix")  # which have no ∂R/∂X
    deepest = min(3, bnbench.variants()[variant].supports["depth"][-1])
    for seed in range(COUNT if variant not in COMPILED else max(COUNT // 10, 6)):
        given, conventions = drawn(seed, COUNT == FEWEST and "numba" in variant, deepest)
        written = Written(given, conventions)
        loss, known = written.slopes(written.profiled)
        wanted = inputs and seed % 2 == 0  # or else some forms take one layer as one whole step
        if not wanted:
            known.pop("X")
        found = bnbench.gradients(**given, **conventions, inputs=wanted, variant=variant)
        mine = parts(found)
        assert set(mine) == set(known)
        at = f"{variant}, {seed}: {conventions}"
        assert found.loss == pytest.approx(loss, rel=1e-10), at
        assert off([found.alpha], [written.alpha]) < CLOSE, at
        for name, slopes in known.items():
            assert off(mine[name], slopes) < CLOSE, (name, at)


def test_the_written_effects_are_dummies_at_their_optimum():
    """By PyTorch, and by the library's own linear terms, in which the dummies stand."""
    # catches: a projector, a root or an implicit slope above that is wrong as bnbench might be
    seen = set()
    for seed in range(max(COUNT, 40)):
        given, conventions = drawn(seed)
        seen |= {*conventions.values(), len(given["G1"]), given["W"] is None, int(min(dummies(given["units"]).sum(0)))}
        written = Written(given, conventions)
        (loss, known), (same, explicit) = (written.slopes(way) for way in (written.profiled, written.with_dummies))
        assert loss == pytest.approx(same, rel=1e-10)
        (of_effects,) = explicit.pop("effects")
        assert np.abs(of_effects).max() < 1e-10, "they are at their optimum"
        for name, slopes in known.items():
            assert off(slopes, explicit[name]) < CLOSE, (name, seed, conventions)
        W = np.column_stack([*([] if given["W"] is None else [given["W"]]), written.D])
        delta = np.r_[[] if given["W"] is None else given["delta"], written.alpha]
        mine = parts(
            bnbench.gradients(
                **given | {"W": W, "delta": delta, "units": None}, **conventions, inputs=True, variant="matrix-numpy"
            )
        )
        of_W, of_D = np.split(mine.pop("delta")[0], [len(delta) - len(written.alpha)])
        assert np.abs(of_D).max() < 1e-10
        for name, slopes in {"delta": [of_W], **mine}.items():
            assert off(slopes, known.get(name, [np.zeros(0)])) < CLOSE, (name, seed, conventions)
    assert {*ACTIVATIONS, *NORMALIZATIONS, *LOSSES, 1, 2, 3, False} <= seen


@pytest.mark.parametrize("loss", LOSSES)
def test_the_residual_sums_to_0_in_every_unit(loss):
    """∂R/∂δ of the dummies is Σr within each unit; so of no unit's effect, and of no β where nothing is bent."""
    # catches: effects at something else than their optimum, means over the batch
    batch = bnbench.Problem(40, 3, 4, "identity", loss=loss, units=7).sample()
    D = dummies(batch.units)
    found = bnbench.gradients(
        *batch, W=D, delta=np.linspace(-1, 1, 7), units=batch.units, activation="identity", loss=loss,
        variant="matrix-numpy",
    )  # fmt: skip
    assert np.abs(found.ddelta).max() < 1e-15
    assert np.abs(found.dbeta).max() < 1e-15, "η is linear in β, which an effect of every unit takes up"
    alone = bnbench.gradients(*batch, units=range(40), activation="tanh")
    assert alone.loss < 1e-28, "a unit of one row has no residual"
    assert np.abs(alone.dG1).max() < 1e-15


def test_linear_terms_at_their_optimum_are_projected_out():
    """Frisch-Waugh-Lovell: at δ̂ the rest has the gradient of ‖M_W(y - AΓ2)‖²/N; with units δ̂ is of what is demeaned."""
    # catches: a sign or a factor of ∂R/∂δ, a linear term that is not taken off the residual
    batch = bnbench.Problem(50, 3, 4, "tanh", linear=3, units=6).sample()
    X, y, G1, gamma, beta, G2 = (torch.tensor(part, requires_grad=True) for part in batch)

    def A():
        Z = X @ G1
        return torch.tanh(gamma * (Z - Z.mean(0)) / torch.sqrt(Z.var(0, correction=0) + 1e-5) + beta)

    W = torch.tensor(batch.W)
    residual = y - A() @ G2
    delta = torch.linalg.lstsq(W, residual.detach()[:, None]).solution[:, 0].numpy()
    R = ((residual - W @ torch.linalg.solve(W.T @ W, W.T @ residual)) ** 2).mean()
    known = [slope.numpy() for slope in torch.autograd.grad(R, [X, G1, gamma, beta, G2])]
    found = bnbench.gradients(*batch, W=batch.W, delta=delta, activation="tanh", inputs=True)
    assert np.abs(found.ddelta).max() < 1e-14
    assert off([found.dX, found.dG1, found.dgamma, found.dbeta, found.dG2], known) < CLOSE
    within = [part - (D := dummies(batch.units)) @ (D.T @ part / D.sum(0, keepdims=True).T if part.ndim > 1 else
              D.T @ part / D.sum(0)) for part in (batch.W, batch.y - A().detach().numpy() @ batch.G2)]  # fmt: skip
    delta = np.linalg.lstsq(*within, rcond=None)[0]
    found = bnbench.gradients(*batch, W=batch.W, delta=delta, units=batch.units, activation="tanh")
    assert np.abs(found.ddelta).max() < 1e-14


@pytest.mark.parametrize(("loss", "end"), [("logistic", 1.0), ("logistic", 0.0), ("poisson", 0.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_without_an_effect_is_named_by_its_label(loss, end, kind):
    # catches: a code in the label's place, an α of ±40 that Newton's method ended at, another loss's rule
    batch = bnbench.Problem(12, 3, 2, loss=loss, units=4).sample()
    rows = np.arange(12) % 4
    y = np.where(rows == 2, end, batch.y)
    units = [kind(int(code)) for code in rows[::-1]]
    call = {"units": units, "loss": loss, "activation": "tanh"}
    assert bnbench.gradients(*batch, **call).alpha.shape == (4,)
    words = f"every y of unit {kind(2)} is {end:g} (1 such units); with loss={loss!r} no effect"
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        bnbench.gradients(batch.X, y[::-1], *batch[2:], **call)
    prepared = bnbench.prepare(batch.X, batch.y, 2, **call)
    with pytest.raises(ValueError, match=r"^every y of unit"):
        bnbench.prepare(batch.X, np.where(np.arange(12) < 8, batch.y, end), 2, **call).gradients(
            *batch[2:], rows=slice(8, 12)
        )
    assert prepared.gradients(*batch[2:], rows=slice(8, 12)).alpha.shape == (4,)


@pytest.mark.parametrize("loss", LOSSES)
def test_both_oracles_hold_what_is_written_out(loss):
    """The balls and the double-doubles, of one layer and of two."""
    # catches: an oracle that knows no W or no units, so that nobody is judged by them; balls around another answer
    for depth in (1, 2):
        problem = bnbench.Problem(9, 2, 2, "tanh", loss=loss, depth=depth, linear=2, units=3, ddof=1, eps=0.3)
        batch = problem.sample()
        given = {**batch._asdict(), **batch.more}
        for name in ("G1", "gamma", "beta"):
            given[name] = given[name] if depth > 1 else [given[name]]
        written = Written(given, {name: getattr(problem, name) for name in CONVENTIONS})
        _, known = written.slopes(written.profiled)
        enclosed, reference = certify(batch, problem, inputs=True), of_problem(batch, problem)
        assert enclosed.radius < 1e-25
        middle = {name: np.vectorize(float)(part) for name, part in enclosed.gradients.parts().items()}
        assert off([middle["alpha"]], [written.alpha]) < CLOSE
        mine = parts(enclosed.gradients._replace(**{
            name: [middle[f"{name}[{place}]"] for place in range(depth)] if depth > 1 else middle[name]
            for name in ("dG1", "dgamma", "dbeta")
        }, dG2=middle["dG2"], ddelta=middle["ddelta"], alpha=middle["alpha"], dX=middle["dX"]))  # fmt: skip
        for name, slopes in known.items():
            assert off(mine[name], slopes) < CLOSE, name
        for name, part in reference.high.parts().items():
            assert off([part], [middle[name]]) < 1e-14, name
