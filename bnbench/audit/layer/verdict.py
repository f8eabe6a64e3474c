"""The verdict on a layer: its backward held against the gradient of its own forward, in words for its author."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from bnbench.audit.layer import places
from bnbench.audit.layer.calls import EPS, LAYOUTS, Layer, Raised, Trial, with_layout
from bnbench.audit.layer.conventions import CHANGES, INVERSES, Conventions, Reader
from bnbench.audit.layer.terms import Batch, Factor, Letters
from bnbench.audit.layer.words import causes, first_difference, first_entry, grouped, scale_sentence

OTHER_EPS = 0.3  # that an eps argument is tried with too
DOUBLE, SINGLE = 1e-8, 1e-3  # relative, per column: what rounding may move, in float64 and in float32
IN_FLOAT32 = 1e-5  # and below it a float64 answer that was rounded to float32 on its way
STEPS = {False: (2e-3, 5e-4), True: (0.06, 0.03)}  # of the numerical derivative, in units of the spread; in float32
WEIGHTS = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))  # of the central difference of order 6
ZERO_TERMS = (
    "the path of μ through the variance, -(2/N) Σ(x-μ), is zero: to leave it out, or to add it twice, is no mistake"
)
ROWS = (5, 6, 7, 9, 12, 15, 8, 11)  # none of them the number of nodes
IMAGES = ((3, 2, 5), (2, 3, 3), (5, 2, 2), (3, 3, 5), (6, 2, 3), (2, 7, 2), (3, 2, 2), (7, 3, 2))  # N, H, W


@dataclass(frozen=True)
class LayerVerdict:
    """What is said of a layer; `str` of it is for its author.

    Attributes:
        correct: whether the backward is the gradient of this forward, in all that it gives.
        conventions: what the forward computes; `.statistics`, `.ddof`, `.eps`, `.eps_place`, and more.
        findings: "dx", "dgamma", "dbeta", as far as they are given, to "right" or a sentence.
        mistakes: sentences; empty where it is right.
        terms: "a", "b", "c" of dx = (γ/s)(a dout - b mean(dout) - c x̂ mean(dout x̂)), and the factors of "dgamma" and
            "dbeta", each as text; without those that have no name.
        remarks: what is worth knowing and no mistake.
    """

    correct: bool
    conventions: Conventions
    findings: dict[str, str]
    mistakes: tuple[str, ...]
    terms: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """One line."""
        if self.correct:
            return f"right; {self.conventions}"
        return f"wrong: {'; and '.join(self.mistakes)}"

    def with_remark(self, text: str) -> "LayerVerdict":
        """The same, with one remark more."""
        return replace(self, remarks=(*self.remarks, text))

    def plain(self) -> dict:
        """As JSON has it."""
        return {
            "correct": self.correct,
            "conventions": self.conventions.plain() | {"text": str(self.conventions)},
            "findings": dict(self.findings),
            "mistakes": list(self.mistakes),
            "terms": dict(self.terms),
            "remarks": list(self.remarks),
            "text": self.headline,
        }

    def __str__(self):
        if self.correct:
            lines = [self.headline]
        elif not self.findings:  # it did not even return
            lines = [f"wrong: {self.mistakes[0]}"]
        else:
            wrong = " and ".join(name for name, text in self.findings.items() if text != "right")
            lines = [f"wrong in {wrong}; its forward: {self.conventions}"]
        lines += [f"  {name}: {text}" for name, text in self.findings.items()]
        reading = []
        if self.conventions.statistics == "batch":
            reading.append(f"s = {self.conventions.formula}")
        if not self.correct and {"a", "b", "c"} & set(self.terms):
            reading.append("dx = (γ/s) ( a dout - b mean(dout) - c x̂ mean(dout x̂) )")
        lines += [f"  read with {', '.join(reading)}"] if reading else []
        lines += [f"  note: {remark}" for remark in self.remarks]
        return "\n".join(lines)


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
        a `LayerVerdict`: `.correct`, `.conventions`, `.findings`, `.mistakes`; what the author's code raises is one.

    Raises:
        ValueError: the layout or eps is none, or the functions are of another kind; one line says what is allowed.
    """
    if eps is not None and not (isinstance(eps, int | float) and np.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps is {eps!r}; allowed is a number, 0 or more")
    return _Judge(Layer(forward, backward, layout), eps).judge()


class _Judge:
    """One judgement: the layer, its conventions, and its answers to the trials."""

    def __init__(self, layer, eps):
        self.layer, self.chosen = layer, eps
        self.eps = float(eps if eps is not None else layer.default_eps if layer.default_eps is not None else EPS)
        self.rng, self.activation = np.random.default_rng(1502), ""

    def judge(self) -> LayerVerdict:
        """The verdict."""
        layer = self.layer
        try:
            layer.settle(lambda width: self._trial(width, 0, np.ones(width)))
        except Raised as error:
            text = f"forward raises {error}" if "forward" not in str(error)[:12] else str(error)
            hint = self._other_layout()
            text += f"; with layout {hint!r} it does not" if hint else ""
            return LayerVerdict(False, Conventions(unread="it does not return"), {}, (text,), {}, tuple(layer.remarks))
        self.width = layer.manner.width
        others = (OTHER_EPS,) if "eps" in layer.takes and self.chosen is None else ()
        self.conventions = Reader(layer, self.eps, others).read()
        self.activation = self.conventions.activation
        if self.conventions.unread == CHANGES:
            text = f"cannot be judged: {CHANGES}"
            return LayerVerdict(False, self.conventions, {"dx": text}, (text,), {}, tuple(layer.remarks))
        if self.chosen is not None and "eps" not in layer.takes:
            layer.remark(f"eps={self.chosen:g} is given, and forward takes none")
        if "eps" in layer.takes and not self.conventions.eps_argument and self.conventions.statistics == "batch":
            layer.remark("forward takes eps and does not use it")
        try:
            return self._judged()
        except Raised as error:
            text = str(error) if str(error).startswith("backward") else f"backward raises {error}"
            return LayerVerdict(False, self.conventions, {"dx": text}, (text,), {}, self._remarks())

    def _other_layout(self):
        for layout in LAYOUTS:
            try:
                other = with_layout(self.layer, layout)
                judge = _Judge(other, self.chosen)
                other.settle(lambda width, judge=judge: judge._trial(width, 0, np.ones(width)))
                found = Reader(other, self.eps).read()
                if layout != self.layer.layout and found.statistics == "batch":
                    return layout
            except Raised:
                continue
        return None

    # --- the trials

    def _trial(self, width, number, spread, eps=None) -> Trial:
        """A batch on which no mistake hides: signs, sizes, offsets and a cotangent with a mean and along x̂."""
        flat = self.layer.layout in ("NC", "CN")
        if flat:
            sizes = ([n for n in ROWS if n != width][number % 7], 1, 1)
        else:
            free = [size for size in IMAGES if width not in size]
            free = free if len(free) > 4 else IMAGES
            sizes = free[number % len(free)]
        M, rng = int(np.prod(sizes)), self.rng
        j = np.arange(width)
        z = rng.normal(size=(M, width))
        u = rng.uniform(0.4, 1.2, (2, width)) * rng.choice([-1, 1], (2, width))
        dout = rng.normal(size=(M, width)) + u[0] + u[1] * z
        x = (z + rng.uniform(0.5, 2.0, width) * rng.choice([-1, 1], width)) * np.broadcast_to(spread, width)
        gamma = (0.6 + 1.9 * rng.random(width)) * np.where((j + number) % 2, -1.0, 1.0)
        beta = rng.normal(size=width) + 0.5
        if self.activation in ("tanh", "sigmoid"):  # where they still bend, and do not saturate
            gamma, beta = 0.4 * gamma, 0.3 * beta
        elif self.activation == "relu":  # on for most rows
            beta = 0.8 * np.abs(gamma)
        return Trial(x, gamma, beta, self.eps if eps is None else eps, dout, sizes)

    def _trials(self):
        D, c = self.width, self.conventions
        j = np.arange(D)
        ordinary = 0.6 * 4.0 ** (j / max(D - 1, 1))
        e = (self.eps if c.eps_argument else c.eps) or 1e-4
        small = (e if c.eps_place == "sd" else np.sqrt(e)) * np.array([1.3, 0.5, 2.5, 6.0])[j % 4]
        if not 1e-11 < small.min() < 1:
            small = ordinary * 1e-3
        tiny = 10.0 ** (-2 - 3 * j / max(D - 1, 1))
        spreads = [ordinary, 1.3 * ordinary[::-1], small, 12 * ordinary, 1.7 * small[::-1], tiny]
        if c.statistics == "frozen" and self.activation:  # which must not saturate
            spreads = [
                0.3 * ordinary,
                0.5 * ordinary[::-1],
                0.4 * ordinary,
                0.7 * ordinary,
                0.2 * ordinary,
                0.1 * ordinary,
            ]
        trials = [self._trial(D, number, spread) for number, spread in enumerate(spreads)]
        if "eps" in self.layer.takes and self.chosen is None and c.eps_argument:
            trials += [self._trial(D, 6, ordinary, OTHER_EPS), self._trial(D, 7, 0.4 * ordinary, OTHER_EPS)]
        return trials

    # --- the judgement

    def _judged(self):
        trials = self._trials()
        outs, answers = zip(*(self.layer.gradients(trial) for trial in trials), strict=True)
        self.trials, self.answers = trials, answers
        self.tolerance = SINGLE if self.layer.single else DOUBLE
        batches = self._identified(trials, outs)
        if batches is None:
            if not self.conventions.unread:
                self.conventions = Conventions(
                    gamma=self.conventions.gamma,
                    beta=self.conventions.beta,
                    activation=self.conventions.activation,
                    unread="its output on other batches is not what they say",
                )
            return self._numerically(trials, outs)
        self.batches = batches
        truths = [
            {"dx": batch.truth(), "dgamma": (batch.S * batch.xhat).sum(0), "dbeta": batch.S.sum(0)} for batch in batches
        ]
        for truth in truths:  # of what it is given and does not use
            if not self.conventions.gamma and "gamma" in self.layer.takes:
                truth["dgamma"] = np.zeros(self.width)
            if not self.conventions.beta and "beta" in self.layer.takes:
                truth["dbeta"] = np.zeros(self.width)
        return self._verdict(truths)

    def _identified(self, trials, outs):
        """A Batch for each trial where the conventions give the forward's every output and slope; None otherwise."""
        c = self.conventions
        if c.unread:
            return None
        batches, inverse = [], INVERSES[c.activation]
        for trial, out in zip(trials, outs, strict=True):
            M, mu = len(trial.x), trial.x.mean(0)
            xc = trial.x - mu
            SS = (xc**2).sum(0)
            if c.statistics == "frozen":
                m0, s = self._given(trial)
                xhat, right = (trial.x - m0) / s, np.stack([np.ones_like(s), 0 * s, 0 * s])
                keep = np.ones(self.width, bool)
            else:
                s, factor = c.scale(SS, M, trial.eps)
                xhat, right = xc / s, np.stack([np.ones_like(s), np.ones_like(s), factor])
                var = SS / (M - c.ddof)
                e = (trial.eps if c.eps_argument else c.eps) or 0.0
                keep = var > 1.02 * e if c.eps_place == "floor" else np.ones(self.width, bool)
            gamma = trial.gamma if c.gamma else np.ones(self.width)
            B = gamma * xhat + (trial.beta if c.beta else 0.0)
            expected = {"": B, "tanh": np.tanh(B), "sigmoid": 1 / (1 + np.exp(-B)), "relu": np.maximum(B, 0)}[
                c.activation
            ]
            off = np.abs(out - expected).max() / max(np.abs(expected).max(), 1e-300)
            if off > self.tolerance:
                if off > IN_FLOAT32:
                    return None
                self.layer.single, self.tolerance = True, SINGLE
            S = trial.dout * inverse[1](expected)
            sd = np.sqrt(SS / (M - (c.ddof or 0)))
            batches.append(Batch(S, xhat, gamma, s, sd, mu, right, keep, M, trial.pixels, trial.eps, SS))
        if not self._slopes_agree(trials, batches):
            return None
        return batches

    def _given(self, trial):
        """(μ, s) of statistics that are given, from two batches of the layer's own."""
        reader = Reader(self.layer, trial.eps)
        reader.activation, reader.gamma, reader.beta = (
            self.conventions.activation,
            self.conventions.gamma,
            self.conventions.beta,
        )
        x = reader.draw(9, np.linspace(0.7, 1.6, self.width))
        return reader._line(x, reader.xhat(x))

    def _slopes_agree(self, trials, batches):
        """Whether the forward's own slope, by differences, is what the conventions say: in a random direction."""
        if self.conventions.activation == "relu":
            return True
        for trial, batch in list(zip(trials, batches, strict=True))[:3]:
            v = self.rng.normal(size=trial.x.shape) * batch.sd * batch.keep
            numeric, _ = self._slope(trial, lambda t, k, v=v: replace(t, x=t.x + k * v))
            size = np.abs(trial.dout * batch.gamma * batch.xhat).sum()
            if abs(numeric - (batch.truth() * v).sum()) > (0.02 if self.layer.single else 1e-6) * size:
                return False
        return True

    def _numerically(self, trials, outs):
        """The verdict where only differences of the forward say what its gradient is."""
        self.tolerance = 2e-2 if self.layer.single else 1e-6
        self.batches = None
        self.trials, self.answers = trials[:4], self.answers[:4]
        truths, self.doubts = [], []
        for trial in self.trials:
            sd = trial.x.std(0)
            truth = {"dx": np.empty_like(trial.x), "dgamma": np.zeros(self.width), "dbeta": np.zeros(self.width)}
            doubt = {name: np.empty_like(value) for name, value in truth.items()}
            for name, field_, scale in (("dx", "x", sd), ("dgamma", "gamma", 1.0), ("dbeta", "beta", 1.0)):
                start = getattr(trial, field_)
                for index in np.ndindex(start.shape):
                    step = np.zeros_like(start)
                    step[index] = np.broadcast_to(scale, start.shape)[index]
                    moved = lambda t, k, f=field_, step=step: replace(t, **{f: getattr(t, f) + k * step})  # noqa: E731
                    slope, off = self._slope(trial, moved)
                    truth[name][index], doubt[name][index] = slope / step[index], off / step[index]
            truths.append(truth)
            self.doubts.append(doubt)
        self.layer.remark("its gradient is taken of its forward, by differences")
        return self._verdict(truths)

    def _slope(self, trial, moved):
        """dout · d out/dk along moved(trial, k), and by how much two steps disagree, as they do at a kink."""
        first, second = (
            sum(
                w
                / h
                * (trial.dout * (self.layer.out(moved(trial, k * h)) - self.layer.out(moved(trial, -k * h)))).sum()
                for k, w in WEIGHTS
            )
            for h in STEPS[self.layer.single]
        )
        return second, abs(first - second)

    def _by_differences(self, name, mine, truths):
        """ "right", or what is wrong, where differences of the forward are all that is known."""
        seen, entries, first = 0, 0, ""
        for answer, truth, doubt, trial in zip(mine, truths, self.doubts, self.trials, strict=True):
            right = truth[name]
            size = np.abs(right).max(0) if name == "dx" else np.abs(trial.dout).sum(0)
            allowed = self.tolerance * np.maximum(size, 1e-3 * np.abs(right).max()) + 10 * doubt[name]
            wrong = ~(np.abs(answer - right) <= allowed)
            certain = 10 * doubt[name] <= 1e-2 * np.maximum(size, 1e-300)
            seen, entries = seen + certain.sum(), entries + certain.size
            if wrong.any() and not first:
                first = first_entry(name, answer, right, tuple(int(i) for i in np.argwhere(wrong)[0]), len(trial.x))
        if first:
            return f"is not the gradient of this forward; {first}"
        if seen < 0.5 * entries:
            return "cannot be judged: differences of the forward do not settle (it has kinks, or it is not smooth)"
        return "right"

    # --- the words

    def _verdict(self, truths):
        findings, mistakes, terms = {}, [], {}
        text, known = self._on_dx(truths)
        findings["dx"] = text
        terms |= known
        for name in ("dgamma", "dbeta"):
            given = [answer.get(name) for answer in self.answers]
            if any(value is None for value in given):
                if getattr(self.conventions, name[1:]):
                    self.layer.remark(f"{name} is not given by backward, and so not judged")
                continue
            text, known = self._on_parameter(name, given, truths)
            findings[name] = text
            terms |= known
        wrong = {name: text for name, text in findings.items() if text != "right"}
        swap = self._swapped(wrong, truths)
        if swap:
            findings["dgamma"] = findings["dbeta"] = swap
            wrong = {"dgamma": swap} | ({"dx": wrong["dx"]} if "dx" in wrong else {})
        mistakes = [text if name == "dgamma" and swap else f"{name}: {text}" for name, text in wrong.items()]
        if findings["dx"] == "right" and self.conventions.statistics == "batch":
            self.layer.remark(ZERO_TERMS)
        return LayerVerdict(not mistakes, self.conventions, findings, tuple(mistakes), terms, self._remarks())

    def _remarks(self):
        if self.layer.single:
            self.layer.remark("it computes in float32: what moves its numbers by less than 1e-3 does not show")
        self._offset()
        return tuple(self.layer.remarks)

    def _offset(self):
        """Say where a large offset costs digits that two passes keep."""
        c = self.conventions
        if c.unread or c.statistics != "batch" or self.layer.single:
            return
        reader = Reader(self.layer, self.eps)
        reader.activation, reader.gamma, reader.beta = c.activation, c.gamma, c.beta
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

    def _errors(self, mine, truth, keep=None):
        """The largest relative difference over columns, and the column."""
        size = np.maximum(np.linalg.norm(truth, axis=0), 1e-3 * np.linalg.norm(truth) / max(truth.shape[-1], 1) ** 0.5)
        off = np.linalg.norm(mine - truth, axis=0) / np.maximum(size, 1e-300)
        off = np.where(np.isfinite(off), off, np.inf)
        return off if keep is None else np.where(keep, off, 0.0)

    def _on_dx(self, truths):
        if self.batches is None and all(np.isfinite(answer["dx"]).all() for answer in self.answers):
            return self._by_differences("dx", [answer["dx"] for answer in self.answers], truths), {}
        pairs = [(answer["dx"], truth["dx"]) for answer, truth in zip(self.answers, truths, strict=True)]
        if not all(np.isfinite(mine).all() for mine, _ in pairs):
            return "has entries that are not finite", {}
        keeps = [batch.keep for batch in self.batches] if self.batches else [None] * len(pairs)
        off = max(self._errors(*pair, keep).max() for pair, keep in zip(pairs, keeps, strict=True))
        if off <= max(self.tolerance, IN_FLOAT32):
            if off > self.tolerance:
                self.layer.remark(f"dx is right to float32's precision ({off:.1g}) and no more")
            below = self._below_floor()
            if below:
                return below, {}
            terms = self._named(self._letters(self.batches, 1e-7), [batch.right for batch in self.batches])[0]
            return "right", {name: str(factor) for name, factor in terms.items()}
        sentence, terms, otherwise = self._explained()
        if sentence:
            return sentence, terms
        number = min(range(len(self.trials)), key=lambda i: self.trials[i].x.size)
        dx, batch = self.answers[number]["dx"], self.batches[number]
        text = places.place(self.layer, self.trials[number], batch, dx, self.tolerance) or otherwise
        text = (
            text
            or "outside the span: each node's dx is of its own dout, and no sum of dout, its mean and x̂ mean(dout x̂)"
        )
        return f"{text}; {self._first('dx', truths)}", {}

    def _below_floor(self):
        """What is wrong where the variance is below its floor and s constant; an s-term there is a remark alone."""
        if self.conventions.eps_place != "floor":
            return ""
        c = self.conventions
        for batch, answer in zip(self.batches, self.answers, strict=True):
            below = batch.sd**2 < 0.98 * c.scale(batch.SS, batch.M, batch.eps)[0] ** 2
            if self._errors(answer["dx"], batch.truth(), below).max() <= self.tolerance:
                continue
            going_on = batch.right.copy()
            going_on[2] = batch.M / (batch.M - c.ddof)
            other = replace(batch, right=going_on).truth()
            if self._errors(answer["dx"], other, below).max() > self.tolerance:
                return "is the gradient where the variance is above its floor, and not where it is below"
            self.layer.remark(
                "where the variance is below its floor s is constant, and the s-term is 0; this dx has it there too"
            )
        return ""

    def _explained(self):
        """The sentence on dx where the three terms explain it, the terms, and what is said if nothing is mixed."""
        otherwise = unnamed = ""
        loose = 1e-4 if self.layer.single else 1e-7
        for batches in self._bases():
            fits = [batch.fit(answer["dx"], loose) for batch, answer in zip(batches, self.answers, strict=True)]
            if (
                max((left[batch.keep].max(initial=0) for (_, left), batch in zip(fits, batches, strict=True)))
                > 10 * loose
            ):
                continue
            factors = [factor for factor, _ in fits]
            letters = self._letters(batches, loose)
            terms, values = self._named(letters, factors)
            if len(terms) < 3:
                rows = letters.gather_list
                a, b, c = (rows([f[k] for f in factors]) for k in range(3))
                right = rows([batch.right[2] for batch in batches])
                candidates = (a, b, c / right if (right != 0).all() else c, c)
                if letters.find_other_scale(*candidates):
                    terms, values = self._named(letters, factors)
            if len(terms) == 3:
                right, _ = self._named(letters, [batch.right for batch in self.batches])
                return self._sentence(letters, terms, right, values), {k: str(v) for k, v in terms.items()}, ""
            otherwise = otherwise or places.column_constants(factors, batches, loose)
            unnamed = unnamed or self._unnamed(values, terms)
        return "", {}, otherwise or unnamed

    @staticmethod
    def _unnamed(values, terms):
        """What is said of factors that are no product of known letters: their range."""
        parts = [
            f"{name} = {terms[name]}" if name in terms else f"{name} from {np.nanmin(v):.3g} to {np.nanmax(v):.3g}"
            for name, v in values.items()
        ]
        return f"a sum of the three terms, with {', '.join(parts)}: no power of N, γ and s gives that"

    def _letters(self, batches, tolerance):
        return Letters(batches, tolerance, by_sd=self.conventions.eps_place == "sd")

    def _bases(self):
        """The batches as they are; for given statistics also with x̂ about the batch's own mean."""
        yield self.batches
        if self.conventions.statistics == "frozen":
            yield [
                replace(batch, xhat=(trial.x - batch.mu) / batch.s)
                for batch, trial in zip(self.batches, self.trials, strict=True)
            ]

    def _named(self, letters, factors):
        """The factors a, b, c that have a name, and their numbers."""
        values = {name: letters.gather_list([f[k] for f in factors]) for k, name in enumerate("abc")}
        named = {name: letters.explain(v) for name, v in values.items()}
        if named["c"] is None:  # perhaps it is the right one, times something
            right = letters.gather_list([batch.right[2] for batch in self.batches])
            if (right != 0).all():
                ratio, true = letters.explain(values["c"] / right), letters.explain(right)
                if ratio is not None and true is not None and not ratio.plus:
                    named["c"] = ratio.times(true)
        return {name: factor for name, factor in named.items() if factor is not None}, values

    def _sentence(self, letters, terms, right, values):
        wrong = {}
        for k, name in enumerate("abc"):
            true = letters.gather_list([batch.right[k] for batch in self.batches])
            if np.nanmax(np.abs(values[name] - true), initial=np.abs(true[np.isnan(values[name])]).max(initial=0)) > (
                1e-3 if self.layer.single else 1e-6
            ) * max(1, np.abs(true).max()):
                wrong[name] = (terms[name], right.get(name, Factor(1.0)))
        said = grouped(wrong)
        if letters.other:
            said += f", {scale_sentence(letters.other, self.conventions)}"
        cause = causes(wrong, terms, self.conventions, letters.other)
        return said + (f": {cause}" if cause else "")

    def _first(self, name, truths):
        return first_difference(
            name, [a[name] for a in self.answers], [t[name] for t in truths], self.tolerance, self.trials
        )

    # --- dγ and dβ

    def _on_parameter(self, name, given, truths):
        truth = [t[name] for t in truths]
        expected = self.layer.manner.shape
        shapes = {value.shape for value in given}
        if all(value.size == self.width for value in given) and (
            self.width > 1 or all(value.size == 1 for value in given)
        ):
            if shapes != {expected} and {"gamma", "beta"} & self.layer.takes:
                shape = next(iter(shapes - {expected}))
                self.layer.remark(f"{name} has the shape {shape}, where {name[1:]} has {expected}: the same numbers")
            mine = [value.ravel() for value in given]
        else:
            return self._misshapen(name, given, truth), {}
        if not all(np.isfinite(value).all() for value in mine):
            return "has entries that are not finite", {}
        if self.batches is None:
            return self._by_differences(name, mine, truths), {}
        sizes = self._sizes(name)
        off = max(
            float((np.abs(m - t) / np.maximum(s, 1e-300)).max()) for m, t, s in zip(mine, truth, sizes, strict=True)
        )
        letters = self._letters(self.batches, 1e-4 if self.layer.single else 1e-7)
        if off <= max(self.tolerance, IN_FLOAT32):
            if off > self.tolerance:
                self.layer.remark(f"{name} is right to float32's precision and no more")
            return "right", {name: "1"}
        first = first_difference(name, mine, truth, self.tolerance, self.trials)
        if max(np.abs(m).max() for m in mine) == 0:
            return f"is 0; the output depends on {name[1:]} (0 is right where it is fixed, and then not used)", {
                name: "0"
            }
        values = letters.gather_list(mine)
        for words, candidate in self._candidates(name):
            base = letters.gather_list(candidate)
            seen = np.abs(base) > 1e-9 * np.abs(base).max()  # not behind a relu that is off
            ratio = np.divide(values, base, out=np.full_like(base, np.nan), where=seen)
            factor = letters.explain(ratio)
            if factor is None and words == self._own(name) and letters.find_other_scale(ratio):
                factor = letters.explain(ratio)
            if factor is not None and not factor.zero:
                text = "" if str(factor) == "1" else f"({factor}) "
                if words == self._own(name):
                    return self._parameter_sentence(name, factor, letters), {name: str(factor)}
                return f"is {text}{words}, where {self._own(name)} belongs", {}
        return f"is not the gradient; {first}", {}

    @staticmethod
    def _own(name):
        return "Σ dout x̂" if name == "dgamma" else "Σ dout"

    def _candidates(self, name):
        sums = {
            "Σ dout x̂": [(b.S * b.xhat).sum(0) for b in self.batches],
            "Σ dout": [b.S.sum(0) for b in self.batches],
            "Σ dout x": [(b.S * t.x).sum(0) for b, t in zip(self.batches, self.trials, strict=True)],
            "Σ dout out": [
                (b.S * (b.gamma * b.xhat + (t.beta if self.conventions.beta else 0))).sum(0)
                for b, t in zip(self.batches, self.trials, strict=True)
            ],
            "the sum of dout x̂ over all entries": [np.full(self.width, (b.S * b.xhat).sum()) for b in self.batches],
            "the sum of dout over all entries": [np.full(self.width, b.S.sum()) for b in self.batches],
            "Σ x̂²": [(b.xhat**2).sum(0) for b in self.batches],
            "Σ x": [t.x.sum(0) for t in self.trials],
        }
        if self.conventions.activation:
            sums["Σ dout before the activation's slope"] = [t.dout.sum(0) for t in self.trials]
        own = self._own(name)
        yield own, sums[own]
        yield from ((words, value) for words, value in sums.items() if words != own)

    def _sizes(self, name):
        """What the entries of a sum are measured by: the sum of its terms' sizes."""
        return [np.abs(b.S * (b.xhat if name == "dgamma" else 1)).sum(0) for b in self.batches]

    def _parameter_sentence(self, name, factor, letters):
        own, text = self._own(name), str(factor)
        powers = dict(factor.powers)
        cause = ""
        if powers.get("N") == -1 or powers.get("N·H·W") == -1:
            cause = ": a mean stands where the sum belongs"
        elif powers.get("γ", 0) > 0:
            cause = ": a stray γ"
        elif factor.constant < 0:
            cause = ": the sign is reversed"
        elif "H·W" in powers:
            cause = ": H·W rows of each image are counted otherwise"
        elif letters.other:
            cause = f", {scale_sentence(letters.other, self.conventions)}"
        elif "s" in powers or "sd" in powers:
            cause = ": x - μ stands where x̂ belongs" if powers == {"s": 1} else ": a stray power of s"
        return f"is {text} times {own}{cause}"

    def _misshapen(self, name, given, truth):
        """What is wrong with a gradient of another shape."""
        mine, right, trial = given[0], truth[0], self.trials[0]
        text = f"has the shape {mine.shape}, where {self.layer.manner.shape} belongs"
        if mine.shape == self.layer._shape(trial):
            summed = self.layer._to_rows(mine).sum(0)
            if np.allclose(summed, right, rtol=1e-4 if self.layer.single else 1e-8, atol=1e-8 * np.abs(right).max()):
                return text + ": its sum over rows is missing"
        if mine.size == 1:
            return text + ": the sum runs over all entries, a sum without its axis"
        if mine.size == len(trial.x):
            return text + ": the sum runs over the nodes where it is to run over rows"
        return text

    def _swapped(self, wrong, truths):
        if not {"dgamma", "dbeta"} <= set(wrong) or any(a["dgamma"].size != self.width for a in self.answers):
            return ""
        for answer, truth in zip(self.answers, truths, strict=True):
            for mine, other in (("dgamma", "dbeta"), ("dbeta", "dgamma")):
                if answer[mine].size != self.width:
                    return ""
                if np.abs(answer[mine].ravel() - truth[other]).max() > 10 * self.tolerance * np.abs(truth[other]).max():
                    return ""
        return "dgamma and dbeta are swapped"
