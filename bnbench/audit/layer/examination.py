"""The examination of a layer: its conventions are read, its backward compared with the gradient of its own forward."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bnbench.audit.layer import differences
from bnbench.audit.layer.affine import on_parameter, swapped
from bnbench.audit.layer.answers import DOUBLE, IN_FLOAT32, SINGLE, Answers, Parts
from bnbench.audit.layer.calls import EPS, Layer, Raised, with_layout
from bnbench.audit.layer.conventions import CHANGES, INVERSES, Conventions, Reader
from bnbench.audit.layer.dx import on_dx
from bnbench.audit.layer.layouts import LAYOUTS, Trial
from bnbench.audit.layer.terms import Batch
from bnbench.audit.layer.trials import OTHER_EPS, Trials
from bnbench.audit.layer.verdict import LayerVerdict

ZERO_TERMS = (
    "the path of μ through the variance, -(2/N) Σ(x-μ), is zero: to leave it out, or to add it twice, is no mistake"
)
SWAPPED = "dgamma and dbeta are swapped"


def check_layer(
    forward: Callable | object, backward: Callable | None = None, *, layout: str = "NC", eps: float | None = None
) -> LayerVerdict:
    """Judge anybody's normalised layer in its own conventions: is its backward the gradient of its forward?

    Args:
        forward: `forward(x, gamma, beta)`, or `(x, gamma, beta, eps)`, giving `(out, cache)` or `out`. gamma, beta may
            be missing. Or, with no backward, a class or object with methods forward and backward, a
            torch.autograd.Function or a jax.custom_vjp.
        backward: `backward(dout, cache)`, giving `(dx, dgamma, dbeta)` or dx.
        layout: of x: "NC" (rows are samples), "CN", "NHWC" or "NCHW"; all axes but C are averaged over.
        eps: the number to judge it at where eps is an argument; by default the argument's own, or 1e-5, and another.

    Returns:
        A `LayerVerdict`: `.correct`, `.conventions`, `.findings`, `.mistakes`. What the author's code raises is a
        mistake too.

    Raises:
        ValueError: the layout or eps is not one of the allowed, or the functions are of another kind; the text is one
            line.
    """
    if eps is not None and not (isinstance(eps, int | float) and np.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps is {eps!r}; allowed is a number, 0 or more")
    return Examination(Layer(forward, backward, layout), eps).verdict()


class Examination:
    """The layer, what is known of its forward, and the batches that it is tried on."""

    def __init__(self, layer: Layer, eps: float | None) -> None:
        self.layer, self.chosen = layer, eps
        self.eps = float(eps if eps is not None else layer.default_eps if layer.default_eps is not None else EPS)
        self.trials = Trials(layer.layout, self.eps)
        self.conventions = Conventions(unread="it does not return")

    def verdict(self) -> LayerVerdict:
        """The verdict on the layer."""
        layer = self.layer
        try:
            self.settle()
        except Raised as error:
            text = f"forward raises {error}" if "forward" not in str(error)[:12] else str(error)
            hint = self.other_layout()
            text += f"; with layout {hint!r} it does not" if hint else ""
            return LayerVerdict(False, self.conventions, {}, (text,), {}, tuple(layer.remarks))
        others = (OTHER_EPS,) if "eps" in layer.takes and self.chosen is None else ()
        self.conventions = Reader(layer, self.eps, others).read()
        self.trials.activation = self.conventions.activation
        if self.conventions.unread == CHANGES:
            text = f"cannot be judged: {CHANGES}"
            return LayerVerdict(False, self.conventions, {"dx": text}, (text,), {}, tuple(layer.remarks))
        if self.chosen is not None and "eps" not in layer.takes:
            layer.remark(f"eps={self.chosen:g} is given, and forward has no such argument")
        if "eps" in layer.takes and not self.conventions.eps_argument and self.conventions.statistics == "batch":
            layer.remark("forward takes eps and does not use it")
        try:
            return self.say(self.answers())
        except Raised as error:
            text = str(error) if str(error).startswith("backward") else f"backward raises {error}"
            return LayerVerdict(False, self.conventions, {"dx": text}, (text,), {}, self.remarks())

    def settle(self) -> None:
        """Find how the layer wants its arrays; Raised where its forward takes none."""
        self.layer.settle(lambda width: self.trials.draw(width, 0, np.ones(width)))

    def other_layout(self) -> str:
        """The other layout in which the layer normalises over the batch; "" where there is none."""
        for layout in LAYOUTS:
            try:
                other = with_layout(self.layer, layout)
                Examination(other, self.chosen).settle()
                read = Reader(other, self.eps).read()
                if layout != self.layer.layout and read.statistics == "batch":
                    return layout
            except Raised:
                continue
        return ""

    def answers(self) -> Answers:
        """The layer's answers to all trials, and the true ones: of its conventions, or by differences."""
        layer, width = self.layer, self.layer.manner.width
        other_eps = "eps" in layer.takes and self.chosen is None and self.conventions.eps_argument
        trials = self.trials.of(self.conventions, width, other_eps)
        outs, given = zip(*(layer.gradients(trial) for trial in trials), strict=True)
        batches = self.batches(trials, list(outs))
        if batches:
            truths = [self.truth(batch) for batch in batches]
            tolerance = SINGLE if layer.single else DOUBLE
            return Answers(layer, self.conventions, trials, list(given), truths, tolerance, batches, [])
        if not self.conventions.unread:
            c = self.conventions
            unread = "its output on other batches is not what they say"
            self.conventions = Conventions(gamma=c.gamma, beta=c.beta, activation=c.activation, unread=unread)
        few = trials[:4]
        slopes = [differences.truth_of(layer, trial) for trial in few]
        truths, doubts = [truth for truth, _ in slopes], [doubt for _, doubt in slopes]
        layer.remark("its gradient is computed from its forward, by differences")
        tolerance = 2e-2 if layer.single else 1e-6
        return Answers(layer, self.conventions, few, list(given[:4]), truths, tolerance, [], doubts)

    def truth(self, batch: Batch) -> Parts:
        """The true gradients at a batch; 0 for what the layer is given and does not use."""
        width, c, takes = self.layer.manner.width, self.conventions, self.layer.takes
        unused = np.zeros(width)
        return {
            "dx": batch.truth(),
            "dgamma": unused if not c.gamma and "gamma" in takes else (batch.S * batch.xhat).sum(0),
            "dbeta": unused if not c.beta and "beta" in takes else batch.S.sum(0),
        }

    def batches(self, trials: list[Trial], outs: list[np.ndarray]) -> list[Batch]:
        """A Batch for each trial where the conventions give the forward's every output and slope; else none."""
        c, width = self.conventions, self.layer.manner.width
        if c.unread:
            return []
        tolerance = SINGLE if self.layer.single else DOUBLE
        batches, inverse = [], INVERSES[c.activation]
        for trial, out in zip(trials, outs, strict=True):
            M, mu = len(trial.x), trial.x.mean(0)
            xc = trial.x - mu
            SS = (xc**2).sum(0)
            keep = np.ones(width, bool)
            if c.statistics == "frozen":
                m0, s = self.given_statistics(trial)
                xhat, right = (trial.x - m0) / s, np.stack([np.ones_like(s), 0 * s, 0 * s])
            else:
                s, factor = c.scale(SS, M, trial.eps)
                xhat, right = xc / s, np.stack([np.ones_like(s), np.ones_like(s), factor])
                if c.eps_place == "floor":
                    e = (trial.eps if c.eps_argument else c.eps) or 0.0
                    keep = SS / (M - (c.ddof or 0)) > 1.02 * e
            gamma = trial.gamma if c.gamma else np.ones(width)
            B = gamma * xhat + (trial.beta if c.beta else 0.0)
            expected = {"": B, "tanh": np.tanh(B), "sigmoid": 1 / (1 + np.exp(-B)), "relu": np.maximum(B, 0)}[
                c.activation
            ]
            off = np.abs(out - expected).max() / max(np.abs(expected).max(), 1e-300)
            if off > tolerance:
                if off > IN_FLOAT32:
                    return []
                self.layer.single, tolerance = True, SINGLE
            S = trial.dout * inverse[1](expected)
            sd = np.sqrt(SS / (M - (c.ddof or 0)))
            batches.append(Batch(S, xhat, gamma, s, sd, mu, right, keep, M, trial.pixels, trial.eps, SS))
        return batches if self.slopes_agree(trials, batches) else []

    def given_statistics(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """(μ, s) of statistics that are given, from two batches of the layer's own."""
        reader = Reader.knowing(self.layer, trial.eps, self.conventions)
        x = reader.draw(9, np.linspace(0.7, 1.6, reader.width))
        return reader.line(x, reader.xhat(x))

    def slopes_agree(self, trials: list[Trial], batches: list[Batch]) -> bool:
        """Whether the forward's own slope, by differences, is what the conventions say: in a random direction."""
        if self.conventions.activation == "relu":
            return True
        for trial, batch in list(zip(trials, batches, strict=True))[:3]:
            v = self.trials.rng.normal(size=trial.x.shape) * batch.sd * batch.keep

            def moved(trial: Trial, k: float, v: np.ndarray = v) -> Trial:
                return replace(trial, x=trial.x + k * v)

            numeric, _ = differences.slope(self.layer, trial, moved)
            size = np.abs(trial.dout * batch.gamma * batch.xhat).sum()
            if abs(numeric - (batch.truth() * v).sum()) > (0.02 if self.layer.single else 1e-6) * size:
                return False
        return True

    def say(self, answers: Answers) -> LayerVerdict:
        """The verdict on what the layer answered."""
        findings: dict[str, str] = {}
        terms: dict[str, str] = {}
        findings["dx"], factors = on_dx(answers)
        terms |= factors
        for name in ("dgamma", "dbeta"):
            if any(name not in given for given in answers.given):
                if getattr(self.conventions, name[1:]):
                    self.layer.remark(f"{name} is not given by backward, and so not judged")
                continue
            findings[name], factors = on_parameter(answers, name)
            terms |= factors
        wrong = {name: text for name, text in findings.items() if text != "right"}
        mistakes = [f"{name}: {text}" for name, text in wrong.items()]
        if {"dgamma", "dbeta"} <= set(wrong) and swapped(answers):
            findings["dgamma"] = findings["dbeta"] = SWAPPED
            mistakes = [SWAPPED, *(f"dx: {text}" for name, text in wrong.items() if name == "dx")]
        if findings["dx"] == "right" and self.conventions.statistics == "batch":
            self.layer.remark(ZERO_TERMS)
        return LayerVerdict(not mistakes, self.conventions, findings, tuple(mistakes), terms, self.remarks())

    def remarks(self) -> tuple[str, ...]:
        """What is worth knowing and no mistake."""
        if self.layer.single:
            self.layer.remark("it computes in float32: what moves its numbers by less than 1e-3 does not show")
        self.try_offset()
        return tuple(self.layer.remarks)

    def try_offset(self) -> None:
        """Remark if a large offset costs digits that two passes would keep."""
        c = self.conventions
        if c.unread or c.statistics != "batch" or self.layer.single:
            return
        reader = Reader.knowing(self.layer, self.eps, c)
        x = reader.draw(12, 1.0, offset=0.0) + 1e5
        try:
            hat = reader.xhat(x)
        except Raised:
            return
        xc = x - x.mean(0)
        right = xc / c.scale((xc**2).sum(0), len(x), self.eps)[0]
        off = np.abs(hat - right).max() / np.abs(right).max()
        if not off <= 1e-8:
            left = "no" if not off < 1 else f"{max(int(-np.log10(off)), 0)} of 15"
            self.layer.remark(
                f"at an offset of 1e5 standard deviations {left} digits are left, where Σ(x-μ)²/N would keep 10: "
                "E[x²] - μ² for the variance cancels"
            )
