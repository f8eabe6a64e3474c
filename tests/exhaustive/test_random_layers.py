"""Layers drawn at random: conventions, layouts, and up to two edits of terms, factors and axes, read back.

A hundred by default; LAYERS=2000 in the environment for all of them.
"""

import os
import re
from dataclasses import dataclass

import numpy as np

import bnbench

COUNT = int(os.environ.get("LAYERS", "100"))
AXES = {"NC": (0,), "CN": (1,), "NHWC": (0, 1, 2), "NCHW": (0, 2, 3)}
FACTORS = {  # as people get them wrong, of N (images), M = N H W, γ and s
    "0": lambda N, M, g, s: 0.0 * g,
    "-1": lambda N, M, g, s: -1.0 + 0 * g,
    "2": lambda N, M, g, s: 2.0 + 0 * g,
    "1/2": lambda N, M, g, s: 0.5 + 0 * g,
    "N": lambda N, M, g, s: N + 0 * g,
    "1/N": lambda N, M, g, s: 1 / N + 0 * g,
    "M/N": lambda N, M, g, s: M / N + 0 * g,
    "M/(M-1)": lambda N, M, g, s: M / (M - 1) + 0 * g,
    "(M-1)/M": lambda N, M, g, s: (M - 1) / M + 0 * g,
    "γ": lambda N, M, g, s: g,
    "1/γ": lambda N, M, g, s: 1 / g,
    "s": lambda N, M, g, s: s,
    "1/s": lambda N, M, g, s: 1 / s,
    "s²": lambda N, M, g, s: s * s,
}


@dataclass
class Drawn:
    """What was drawn, and a layer of it: `edits` as (part, what)."""

    layout: str
    statistics: str
    ddof: int
    place: str
    eps: float | None  # None: an argument
    gamma: bool
    beta: bool
    activation: str
    edits: list

    @property
    def axes(self):
        return AXES[self.layout]

    def s(self, var, eps):
        return {
            "variance": lambda: np.sqrt(var + eps),
            "sd": lambda: np.sqrt(var) + eps,
            "floor": lambda: np.sqrt(np.maximum(var, eps)),
            "": lambda: np.sqrt(var),
        }[self.place]()

    def layer(self):
        def wide(p):
            if p is None or self.layout in ("NC", "NHWC"):
                return p
            return p.reshape((-1, 1) if self.layout == "CN" else (1, -1, 1, 1))

        def forward(x, *rest):
            rest = list(rest)
            g = wide(rest.pop(0)) if self.gamma else 1.0
            b = wide(rest.pop(0)) if self.beta else 0.0
            eps = rest.pop(0) if self.eps is None else self.eps
            M = np.prod([x.shape[axis] for axis in self.axes])
            xc = x - x.mean(self.axes, keepdims=True)
            var = (xc**2).sum(self.axes, keepdims=True) / (M - self.ddof)
            s = self.s(var, eps)
            if self.statistics == "frozen":
                j = wide(np.arange(x.shape[{"NC": 1, "CN": 0, "NHWC": 3, "NCHW": 1}[self.layout]]))
                s, xc = 1.2 + 0.4 * j, x - 0.3 * (j - 1)
            xh = xc / s
            B = g * xh + b
            out = {"": lambda v: v, "tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}[self.activation](B)
            return out, (x, xh, s, var, g, B, out, eps)

        def backward(dout, cache):
            x, xh, s, var, g, B, out, eps = cache
            axes = self.axes
            N = x.shape[1] if self.layout == "CN" else x.shape[0]
            M = np.prod([x.shape[axis] for axis in axes])
            S = {"": lambda: dout, "tanh": lambda: dout * (1 - out**2), "relu": lambda: dout * (B > 0)}[
                self.activation
            ]()
            batch = self.statistics == "batch"
            right_c = M / (M - self.ddof)
            if self.place == "sd":
                right_c = right_c * s / np.sqrt(var)
            elif self.place == "floor":
                right_c = right_c * (var > eps)
            k = {"a": 1.0, "b": 1.0 * batch, "c": right_c if batch else 0.0, "dgamma": 1.0, "dbeta": 1.0}
            for part, what in self.edits:
                if what in FACTORS:
                    f = FACTORS[what](N, M, g + 0 * s, s + 0 * g)
                    k[part] = f if not batch and part in "bc" else k[part] * f
            if ("s", "another eps") in self.edits:
                s2 = self.s(var, eps + 0.02)
                xh2 = xh * s / s2
            else:
                s2, xh2 = s, xh
            mean, product = S.mean(axes, keepdims=True), (S * xh2).mean(axes, keepdims=True)
            if ("b", "no axis") in self.edits:
                mean = S.sum() / M
            if ("c", "no axis") in self.edits:
                product = (S * xh2).sum() / M
            if ("x", "reversed") in self.edits:
                xh2 = np.flip(xh2, axes)
            dx = g / s2 * (k["a"] * S - k["b"] * mean - k["c"] * xh2 * product)
            dg, db = (S * xh * k["dgamma"]).sum(axes), (S * k["dbeta"]).sum(axes)
            if ("dgamma", "swap") in self.edits:
                dg, db = db, dg
            if self.layout == "CN":
                dg, db = dg[:, None], db[:, None]
            given = (dx,) + (dg,) * self.gamma + (db,) * self.beta
            return given if self.gamma == self.beta else dx

        names = ["x"] + ["gamma"] * self.gamma + ["beta"] * self.beta + ["eps"] * (self.eps is None)
        scope = {"forward": forward}
        exec(f"def named({', '.join(names)}): return forward({', '.join(names)})", scope)  # parameters of their own
        return scope["named"], backward


def draw(seed) -> Drawn:
    rng = np.random.default_rng([seed, 77])

    def pick(*options):
        return options[rng.integers(len(options))]

    layout = pick("NC", "NC", "CN", "NHWC", "NCHW")
    statistics = pick("batch", "batch", "batch", "batch", "batch", "frozen")
    place = pick("variance", "variance", "variance", "sd", "floor", "") if statistics == "batch" else "variance"
    eps = 0.0 if place == "" else pick(None, 1e-8, 1e-6, 1e-5, 1e-3, 0.01)
    if statistics == "frozen":
        eps = 0.0
    gamma, beta = pick((True, True), (True, True), (True, True), (False, False), (True, False))
    drawn = Drawn(
        layout, statistics, int(rng.integers(2)), place, eps, gamma, beta, pick("", "", "", "", "tanh", "relu"), []
    )
    both = gamma and beta
    for _ in range(pick(0, 0, 1, 1, 1, 2, 2)):
        kind = pick("factor", "factor", "factor", "factor", "parameter", "axis", "eps", "order")
        if kind == "factor":
            what = pick(*FACTORS)
            if (not gamma and "γ" in what) or (layout in ("NC", "CN") and what == "M/N"):
                continue
            drawn.edits.append((pick("a", "b", "c"), what))
        elif kind == "parameter" and both:
            part, what = pick("dgamma", "dbeta"), pick("1/N", "γ", "-1", "2", "swap")
            drawn.edits.append(("dgamma" if what == "swap" else part, what))
        elif kind == "axis" and statistics == "batch":
            drawn.edits.append((pick("b", "c"), "no axis"))
        elif kind == "eps" and place in ("variance", "sd") and statistics == "batch":
            drawn.edits.append(("s", "another eps"))
        elif kind == "order" and statistics == "batch":
            drawn.edits.append(("x", "reversed"))
    return drawn


def value(text, N, M, g, s, sd):
    """A factor as the verdict writes it, as a number."""
    text = (
        text.replace("(N·H·W-1)", str(M - 1)).replace("N·H·W", str(M)).replace("H·W", str(M // N)).replace("N", str(N))
    )
    text = re.sub("√(\\d+)", r"(\1**.5)", text.replace("·", "*").replace("^", "**"))
    text = re.sub(r"\bsd\b", repr(sd), re.sub(r"\bs\b", repr(s), text))
    return eval(text.replace("γ", f"({g})"), {})  # of our own words


def read_back(drawn, verdict) -> bool:
    """Whether the verdict says every edit that changes a number."""
    what = [edit for edit in drawn.edits if edit[1] in FACTORS]
    if ("dgamma", "swap") in drawn.edits:
        others = [edit for edit in what if edit[0] in ("dgamma", "dbeta")]
        if not others and drawn.edits.count(("dgamma", "swap")) % 2 and "swapped" not in verdict.findings["dgamma"]:
            return False
        what = [edit for edit in what if edit not in others]
    text = verdict.findings["dx"]
    c_gone, b_gone = ("c", "0") in what, ("b", "0") in what
    mixed = (("b", "no axis") in drawn.edits and not b_gone) or (("c", "no axis") in drawn.edits and not c_gone)
    if mixed:
        return "nodes are mixed" in text
    if ("x", "reversed") in drawn.edits and not c_gone:
        return "right" not in text
    batch = drawn.statistics == "batch"
    N, M, g, s = (7, 7, -1.3, 2.5) if drawn.layout in ("NC", "CN") else (7, 42, -1.3, 2.5)
    sd = 2.1 if drawn.place == "sd" else s
    if ("s", "another eps") in drawn.edits and not all((part, "0") in what for part in "abc"):
        return "s' = " in text and (drawn.eps is None or f"{drawn.eps + 0.02:.6g}" in text)
    for part in dict.fromkeys(part for part, _ in what):
        factors = [FACTORS[w](N, M, np.array(g), np.array(s)) for p, w in what if p == part]
        expected = np.prod(factors) if batch or part not in "bc" else factors[-1]
        if part == "c" and batch:
            expected = expected * M / (M - drawn.ddof) * s / sd
        if "s'" in verdict.terms.get(part, "s'") or not np.isclose(
            value(verdict.terms[part], N, M, g, s, sd), expected, rtol=1e-9
        ):
            return False
    return True


def harmless(drawn) -> bool:
    """Whether the edits change no number, such as 2 and 1/2 of one term."""
    rng, batch = np.random.default_rng(3), drawn.statistics == "batch"
    k = dict.fromkeys(("a", "b", "c", "dgamma", "dbeta"), 1.0)
    if not batch:
        k |= {"b": 0.0, "c": 0.0}
    right = dict(k)
    N, M, g, s = 7, 7 if drawn.layout in ("NC", "CN") else 42, rng.normal(), 1.3
    for part, what in drawn.edits:
        if what in FACTORS:
            f = float(FACTORS[what](N, M, np.array(g), np.array(s)))
            k[part] = f if not batch and part in "bc" else k[part] * f
    b_gone, c_gone = k["b"] == 0, k["c"] == 0
    if ("s", "another eps") in drawn.edits and any(k[p] != 0 for p in "abc"):
        return False
    if ("b", "no axis") in drawn.edits and not b_gone:
        return False
    if {("c", "no axis"), ("x", "reversed")} & set(drawn.edits) and not c_gone:
        return False
    if ("dgamma", "swap") in drawn.edits:
        return False
    return all(np.isclose(k[p], right[p], rtol=1e-12) for p in k)


# catches: a right layer called wrong, a wrong one called right, a factor read as another
def test_layers_drawn_at_random_are_judged_and_their_edits_read_back():
    right_called_wrong, wrong_called_right, unread, wrong_conventions, edited, not_read = [], [], [], [], 0, 0
    for seed in range(COUNT):
        drawn = draw(seed)
        verdict = bnbench.check_layer(*drawn.layer(), layout=drawn.layout)
        c = verdict.conventions
        if c.unread:  # said, and not guessed
            not_read += 1
        elif c.statistics != drawn.statistics or (
            c.statistics == "batch"
            and ((c.ddof, c.eps_place) != (drawn.ddof, drawn.place) or (drawn.eps is not None and c.eps != drawn.eps))
        ):
            wrong_conventions.append((seed, drawn, str(verdict)))
        if harmless(drawn):
            if not verdict.correct:
                right_called_wrong.append((seed, drawn, str(verdict)))
            continue
        edited += 1
        if verdict.correct:
            wrong_called_right.append((seed, drawn, str(verdict)))
        elif not read_back(drawn, verdict):
            unread.append((seed, drawn, str(verdict)))
    print(
        f"{COUNT} layers, {edited} wrong: {len(right_called_wrong)} right called wrong, {len(wrong_called_right)} "
        f"wrong called right, {len(unread)} of {edited} edits unread, {len(wrong_conventions)} conventions misread, "
        f"{not_read} said to be unreadable"
    )
    for name, found in (("unread", unread), ("misread", wrong_conventions)):
        for seed, drawn, text in found[: int(os.environ.get("SHOW", "0"))]:
            print(name, seed, drawn, "\n   ", text.replace("\n", "\n    "))
    assert not_read <= 0.02 * COUNT
    assert not right_called_wrong, right_called_wrong[:3]
    assert not wrong_called_right, wrong_called_right[:3]
    assert not wrong_conventions, wrong_conventions[:3]
    assert len(unread) <= 0.05 * edited, unread[:5]
