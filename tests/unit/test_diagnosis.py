"""The diagnosis: what it names, never anything unknown, and what it says of formulas that raise or cannot run."""

import itertools

import numpy as np
import pytest
from cases import covering

import bnbench as package
from bnbench import activations, formula
from bnbench.audit.edits import VARIANCE
from bnbench.audit.mistakes import MISTAKES, combinations, edits_of, possible
from bnbench.problem import LOSSES, NORMALIZATIONS, Problem

NAMES = tuple(mistake.label for mistake in MISTAKES)
PLANTED = NAMES[: NAMES.index("transposed-dG1") + 1]  # the others are planted in tests/plugins/public.py
SIZES = (5, 50, 500)


def node_by_node(made):
    """A step with mistakes planted, written node by node and apart from the formulas that `diagnose` compares with."""

    def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
        N, (p1, p2) = len(y), G1.shape
        batch = normalization == "batch"
        nodes = []
        residual = y.copy()
        for j in range(p2):
            z = sum(X[:, k] * G1[k, j] for k in range(p1))
            x = s = w = None
            if batch:
                d = z - np.sum(z) / N
                v = np.sum(d**2) / (N if {"N-for-N-ddof (everywhere)", "N-for-N-ddof (in s)"} & made else N - ddof)
                s = deviation(v, eps, made, "in the forward pass")
                w = deviation(v, eps, made, "in ∂R/∂Γ1 only")
                x = d / s
            b = gamma[j] * x + beta[j] if batch else z
            value = activations.value(activation, b)
            slope = activations.derivative(activation, b)
            nodes.append((x, w, value, np.ones(N) if "derivative-1" in made else slope))
            residual = residual - value * G2[j]
        scale = 2.0 if "sign" in made else -2.0
        scale = scale if "no-1/N" in made else scale / N
        out = {name: np.zeros(p2) for name in ("dgamma", "dbeta", "dG2")}
        dG1 = np.zeros((p1, p2))
        for j, (x, w, value, slope) in enumerate(nodes):
            stub = scale * residual * G2[j] * slope
            out["dG2"][j] = scale * np.sum(residual * value)
            if not batch:
                dG1[:, j] = stub @ X
                continue
            out["dbeta"][j], out["dgamma"][j] = np.sum(stub), np.sum(stub * x)
            full = made & {"N-for-N-ddof (everywhere)", "N-for-N-ddof (in the s-term)"}
            along = out["dgamma"][j] / (N if full else N - ddof)
            d = stub.copy()
            if not made & {"no-mu-term", "mu-and-s-constant"}:
                d -= out["dbeta"][j] / N
            if not made & {"no-s-term", "mu-and-s-constant"}:
                d -= x * along
            dG1[:, j] = X.T @ d * ((1.0 if "no-gamma" in made else gamma[j]) / w)
            if "gamma-in-dgamma" in made:
                out["dgamma"][j] *= gamma[j]
        for one, other in (("dgamma", "dbeta"), ("dgamma", "dG2"), ("dbeta", "dG2")):
            if f"swapped-outputs ({one} and {other})" in made:
                out[one], out[other] = out[other], out[one]
        if "transposed-dG1" in made:
            dG1 = dG1.T.copy()
        return residual @ residual / N, dG1, *((out["dgamma"], out["dbeta"]) if batch else (None, None)), out["dG2"]

    return step


def deviation(v, eps, made, where):
    """s, or what the mistakes make of it at this place."""
    outside = made & {"eps-outside-root (everywhere)", f"eps-outside-root ({where})"}
    s = v**0.5 + eps if outside else (v + eps) ** 0.5
    if made & {"variance-for-s (everywhere)", f"variance-for-s ({where})"}:
        s = s**2
    return 1 / s if made & {"times-s (everywhere)", f"times-s ({where})"} else s


def test_a_single_mistake_is_named_for_each_gradient():
    """A gradient that the mistake does not touch is right, and one that it does is not."""
    # catches: a verdict on all gradients at once
    touched = {
        "no-mu-term": {"dG1"},
        "gamma-in-dgamma": {"dgamma"},
        "swapped-outputs (dgamma and dbeta)": {"dgamma", "dbeta"},
        "sign": {"dG1", "dgamma", "dbeta", "dG2"},
        "transposed-dG1": {"dG1"},
    }
    for label, wrong in touched.items():
        (case,) = package.diagnose(node_by_node(frozenset([label])), Problem(20, 7, 4, ddof=1, eps=0.1)).cases
        assert {name for name, finding in case.findings.items() if not finding.right} == wrong, label


UNKNOWN = {
    "half of dG1": lambda loss, dG1, dgamma, dbeta, dG2: (loss, dG1 / 2, dgamma, dbeta, dG2),
    "dG2 reversed": lambda loss, dG1, dgamma, dbeta, dG2: (loss, dG1, dgamma, dbeta, dG2[::-1].copy()),
    "one entry off by 1e-9": lambda loss, dG1, dgamma, dbeta, dG2: (
        loss, dG1 * (1 + 1e-9 * (np.arange(dG1.size).reshape(dG1.shape) == 3)), dgamma, dbeta, dG2,
    ),
    "dbeta without its last row": lambda loss, dG1, dgamma, dbeta, dG2: (loss, dG1, dgamma, dbeta * 0.98, dG2),
    "NaN": lambda loss, dG1, dgamma, dbeta, dG2: (loss, dG1, dgamma * np.nan, dbeta, dG2),
    "dgamma missing": lambda loss, dG1, dgamma, dbeta, dG2: (loss, dG1, None, dbeta, dG2),
    "dgamma too long": lambda loss, dG1, dgamma, dbeta, dG2: (loss, dG1, np.append(dgamma, 0), dbeta, dG2),
    "loss halved": lambda loss, dG1, dgamma, dbeta, dG2: (loss / 2, dG1, dgamma, dbeta, dG2),
}  # fmt: skip


EVERYWHERE = list(itertools.product(UNKNOWN, SIZES, ("relu", "gaussian")))
IN_TURN = [(change, *((5, "relu"), (50, "gaussian"), (500, "relu"))[place % 3]) for place, change in enumerate(UNKNOWN)]


@pytest.mark.parametrize(("change", "N", "activation"), covering(EVERYWHERE, IN_TURN))
def test_an_unknown_mistake_is_never_given_a_name(change, N, activation):
    """It is wrong, none is named, and the first entry that differs is shown."""
    # catches: the nearest known mistake given as the one that was made
    right = node_by_node(frozenset())

    def step(*batch, **conventions):
        return UNKNOWN[change](*right(*batch, **conventions))

    found = package.diagnose(step, Problem(N, 7, 4, activation, ddof=1, eps=0.1))
    assert not found.correct
    assert found.mistakes == ()
    assert "wrong: " in str(found)


def test_a_formula_that_raises_is_a_finding():
    """What it raised is said; activations it takes are judged all the same."""
    # catches: one activation that is refused, by which all others go unjudged

    def step(*batch, activation, **conventions):
        if activation != "relu":
            raise ValueError(f"no {activation}")
        return node_by_node(frozenset())(*batch, activation=activation, **conventions)

    found = package.diagnose(step, activations=["relu", "tanh"])
    assert found.correct
    assert sum(bool(case.raised) for case in found.cases) == 2
    assert "no tanh" in str(found)
    with pytest.raises(ValueError, match="allowed is a function"):
        package.diagnose(3)


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), RecursionError("deep")])
def test_whatever_a_formula_raises_is_a_finding(error):
    """Catches a sys.exit(0) that ends the caller's program as if nothing were wrong."""

    def step(*batch, **conventions):
        raise error

    found = package.diagnose(step, Problem(20, 3, 2))
    assert not found.correct
    assert found.headline.startswith(f"wrong: it raised {type(error).__name__}: {error}".rstrip())


def test_ctrl_c_is_the_users():
    """Catches a formula that cannot be interrupted."""

    def step(*batch, **conventions):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package.diagnose(step, Problem(20, 3, 2))


def test_who_raises_on_some_problems_is_not_excused():
    """An activation that is refused is not taken; one that is answered now and then is wrong, and it is said where."""
    # catches: a formula judged on the problems alone that it answers

    def step(X, *rest, **conventions):
        if len(X) == 2:
            raise ZeroDivisionError("two rows")
        return node_by_node(frozenset())(X, *rest, **conventions)

    found = package.diagnose(step, activations=["identity"], normalizations=["none"])
    assert not found.correct
    assert "it raised ZeroDivisionError: two rows (at N=2" in found.headline


def test_a_formula_in_single_precision_is_told_so():
    """Catches "no known mistake" where nothing but the precision is wrong, returned as float32 or as float64."""

    def rounded(to):
        def step(*batch, **conventions):
            batch = [None if part is None else part.astype(np.float32) for part in batch]
            parts = node_by_node(frozenset())(*batch, **conventions)
            return [None if part is None else part.astype(np.float32).astype(to) for part in parts]

        return step

    for step, said in (
        (rounded(np.float32), "dG1: wrong: it is of dtype float32; allowed is float64"),
        (rounded(np.float64), "dG1: wrong: it is right to"),
    ):
        found = package.diagnose(step, Problem(50, 7, 4, "tanh", ddof=1, eps=0.1))
        assert found.mistakes == ()
        assert found.headline.startswith("wrong: it is right to float32's precision only; compute in the arrays' own")
        assert said in str(found)
    objects = package.diagnose(
        lambda *batch, **conventions: [
            None if part is None else part.astype(object) for part in node_by_node(frozenset())(*batch, **conventions)
        ],
        Problem(20, 7, 4, ddof=1),
    )
    assert "is an array of dtype object; allowed is an array of float64" in objects.headline


def test_who_cannot_run_is_not_ruled_on():
    """Catches a framework called wrong because it is not installed, or because of a problem that it does not take."""

    class Absent(package.Variant):
        """Never run."""

        family = "matrix"
        declines = ""

        @classmethod
        def unavailable(cls):
            return "" if cls.declines else "nothing is installed; pip install nothing"

        @classmethod
        def unsupported(cls, problem, regime):
            return cls.declines if problem.ddof else ""

        def step(self):
            self.answer = node_by_node(frozenset())(*self.batch, activation="relu", normalization="batch",
                                                    ddof=self.problem.ddof, eps=self.problem.eps)  # fmt: skip

        def result(self):
            return package.Gradients(*self.answer)

    found = package.diagnose(Absent, activations=["relu"])
    assert found.headline == "not tried: nothing is installed; pip install nothing"
    assert (found.correct, found.plain()["ruling"]) == (False, "not tried")
    Absent.declines = "ddof is not 0"
    assert package.diagnose(Absent, Problem(20, 3, 2, ddof=1)).headline == "not tried: ddof is not 0"
    partly = package.diagnose(Absent, activations=["relu"], normalizations=["batch"])
    assert partly.correct, str(partly)
    assert {problem.ddof for problem in partly.cases[0].problems} == {0}


def test_the_inputs_of_a_problem_survive_the_formula():
    """A formula that writes into its inputs does not spoil the next one's, and is told so."""
    # catches: problems kept for later that the first formula has written into

    def vandal(X, y, G1, gamma, beta, G2, **conventions):
        for array in (X, y, G1, gamma, beta, G2):
            array[...] = 0
        return 0.0, G1, gamma, beta, G2

    problem = Problem(20, 3, 2, ddof=1)
    assert "X was overwritten" in package.diagnose(vandal, problem).headline
    assert package.diagnose("matrix-numpy", problem).correct


def test_pairs_of_a_list_are_all_there():
    """Singles once, pairs of different names once."""
    # catches: a pair that is never tried, or tried twice
    sets, singles = combinations("batch"), list(possible("batch"))
    paired = [mistake for mistake in singles if not mistake.alone]
    pairs = [pair for pair in itertools.combinations(paired, 2) if pair[0].name != pair[1].name]
    assert len(sets) == len(set(sets)) == 1 + len(singles) + len(pairs)
    head = "linear", "units"
    every = {one for kind in NORMALIZATIONS for loss in LOSSES for one in possible(kind, loss, terms=head)}
    assert {one for one in MISTAKES if not one.upper} == every


def test_a_mistake_of_several_layers_is_there_in_each():
    # catches: a layer that is passed over, a mistake of the head looked for in every layer, or of the first from below
    of_name = {}
    for one in possible("batch", "logistic", 3):
        of_name.setdefault((one.name, one.where), []).append(one.layers)
    assert of_name["no-mu-term", ""] == [(0, 1, 2), (0,), (1,), (2,)]
    assert of_name["another-layer", "its s"] == [(1, 2), (1,), (2,)]
    assert of_name["no-mean", "in r"] == of_name["swapped-outputs", "dgamma and dG2"] == [(2,)]
    assert ("no-2", "") not in of_name


# catches: an edit of a letter that the formula does not have, which changes nothing
def test_every_letter_that_is_edited_is_there():
    problem = Problem(9, 4, 4, "tanh", "batch", ddof=1, eps=0.3, linear=2, units=3)
    batch = problem.sample()
    known = formula.network(batch.theta, batch.data, problem.spec, edits=edits_of(frozenset(), VARIANCE, 1))
    letters = set().union(*(vars(part) for part in (known, known.head, *known.layers)))
    assert {letter for mistake in MISTAKES for letter in mistake.edits} - {"dA"} <= letters
