"""Formulas as people write them elsewhere: right in their own conventions, and what is wrong with the others."""

import importlib.util
import json
import re
import types

import numpy as np
import pytest
from conftest import PLUGINS, bnbench

import bnbench as package
from bnbench.measure import judge, worker
from bnbench.problem import Problem
from bnbench.variants import function, registry

PUBLIC = PLUGINS / "public.py"


@pytest.fixture(scope="module")
def public():
    """The module, which registers nothing beyond this file's tests."""
    before = dict(package.variants())
    spec = importlib.util.spec_from_file_location("public_formulas", PUBLIC)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.steps = {name: cls for name, cls in package.variants().items() if name not in before}
    yield module
    registry._registry.clear()
    registry._registry.update(before)


def edited(public, name):
    """A wrong version: the file with the edits made to the one step, whose variant it gives."""
    of, edits, _ = public.WRONG[name]
    text = PUBLIC.read_text("utf-8").partition("\nRIGHT = ")[0]
    for old, new in edits:
        assert text.count(old) == 1, (name, old, text.count(old))
        text = text.replace(old, new)
    before = dict(package.variants())
    module = types.ModuleType(f"edited {name}")
    registry._registry.clear()
    try:
        exec(compile(text, f"edited-{of}.py", "exec"), module.__dict__)
        return package.variants()[of]
    finally:
        registry._registry.clear()
        registry._registry.update(before)


@pytest.mark.parametrize("name", [
    "course-staged", "course-closed", "textbook-class", "caffe", "darknet", "mlpack", "r-scale", "matlab", "tensors",
    "bessel-tanh", "moments", "outside-the-root", "floor", "jacobian", "node-by-node", "class-of-one",
])  # fmt: skip
def test_the_default_call_is_right_about_public_formulas(public, name):
    # catches: a convention that is built in and held against its author, or not found out
    assert list(public.RIGHT) == list(public.steps)
    found = package.diagnose(public.steps[name])
    assert found.correct, str(found)
    assert found.headline == f"right: the loss and every gradient; {public.RIGHT[name]}"
    assert found.mistakes == ()


def test_wrong_versions_of_them_are_named(public):
    # catches: a wrong formula called right in conventions of its own; a mistake without a name, or with another's
    named = {}
    for name, (_, _, mistake) in public.WRONG.items():
        found = package.diagnose(edited(public, name))
        assert not found.correct, name
        named[name] = found.mistakes == (mistake,) and not found.unexplained
    assert len(named) == 28
    assert all(named.values()), [name for name, exact in named.items() if not exact]


def planted(**supports):
    """A step of ddof=0 and of an eps of its own or asked, with a mistake or none, as a variant that supports a part."""

    def make(change=lambda kept: kept, eps_built_in=None, refuses=None):
        def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
            if refuses and refuses(ddof, eps, X.dtype):
                raise NotImplementedError("not that")
            eps = eps if eps_built_in is None else eps_built_in(eps)
            Z = X @ G1
            s, other = np.sqrt(Z.var(0) + X.dtype.type(eps)), np.sqrt(Z.var(0) + X.dtype.type(change(eps)))
            Xhat = (Z - Z.mean(0)) / s
            B = gamma * Xhat + beta
            e = y - np.maximum(B, 0) @ G2
            S = (-2 / len(y)) * np.outer(e, G2) * (B > 0)
            dZ = gamma / other * (S - S.mean(0) - Xhat * (S * Xhat).mean(0))
            return e @ e / len(y), X.T @ dZ, (S * Xhat).sum(0), S.sum(0), (-2 / len(y)) * np.maximum(B, 0).T @ e

        body = {"family": "matrix", "function": staticmethod(step), "supports": function._supported(supports)}
        return type("Planted", (function.FunctionVariant,), body)

    return make


def derived(cls, problem, held=()):
    """What the derivation check says of a variant at a cell."""
    one = worker.Worker("matrix-numpy")
    one.cls = cls
    return judge.Judge().derive(problem, held, one.derive(problem, "fresh", held))


def test_the_derivation_check_draws_what_is_asked_and_supported():
    # catches: a formula of ddof=0 judged at 1 and 3; a check that is skipped in silence; a mistake that so passes
    at_0, at_1 = Problem(1000, 7, 4), Problem(1000, 7, 4, ddof=1)
    default = planted()(eps_built_in=lambda eps: 1e-5)
    assert derived(planted()(), at_0) == derived(default, at_0) == ("", "")
    assert derived(planted()(), at_0, ("ddof", "eps")) == ("", "")
    for wrong, problem in (
        (planted()(), at_1),  # ddof=0 built in where 1 is asked
        (planted()(eps_built_in=lambda eps: eps or 1e-5), at_0),  # neither built in nor taken
        (planted()(eps_built_in=lambda eps: max(eps, 1e-5)), at_0),
        (planted()(change=lambda eps: 1e-3), at_0),  # another eps backward
    ):
        assert derived(wrong, problem)[0].startswith("derivation check (N="), problem


@pytest.mark.parametrize("held", [(), ("ddof", "eps")])
def test_who_supports_one_convention_alone_is_checked_at_it(held):
    # catches: a mixed-eps gradient that is valid at a large cell in float32, since every problem was declined
    cell = Problem(100_000, 7, 4, dtype="float32")
    alone = planted(ddof=0, eps=1e-5)
    assert derived(alone(), cell, held) == ("", "")
    assert "off by" in derived(alone(change=lambda eps: 2e-5), cell, held)[0]
    for refuses in (
        lambda ddof, eps, dtype: (ddof, eps) != (0, 1e-5),
        lambda ddof, eps, dtype: (ddof, eps, dtype) != (0, 1e-5, np.float32),
    ):
        assert derived(planted()(refuses=refuses), cell, held) == ("", "")
        assert "off by" in derived(planted()(change=lambda eps: 1e-3, refuses=refuses), cell, held)[0]


def test_what_cannot_be_checked_is_said():
    # catches: a variant of large problems alone, passed without a word
    class Large(planted(ddof=0, eps=1e-5)()):
        @classmethod
        def unsupported(cls, problem, regime):
            return "" if problem.N >= 500 else "too small"

    class Larger(planted(ddof=0, eps=1e-5)()):
        @classmethod
        def unsupported(cls, problem, regime):
            return "" if problem.N >= 5000 else "too small"

    assert derived(Large, Problem(500, 7, 4)) == ("", "6 of the 7 problems of the derivation check are declined")
    told = derived(Larger, Problem(10**8, 7, 4))
    assert told == ("", "the derivation check was not made: it declines every problem of it, whatever the conventions")


def test_verify_and_sweep_take_a_public_formula(tmp_path):
    # catches: "0 of 8" of a formula with ddof=0 built in, a sweep that refuses to time it; and a γ that is None
    named = ("--plugin", PUBLIC, "--variants", "course-closed,course-staged,tensors,class-of-one", "--json")
    of_batch = ("--activation", "relu", "--normalization", "batch")
    done = bnbench("verify", *named, "--ddof", "0", *of_batch)
    rows = json.loads(done.stdout)
    assert (done.returncode, {row["status"] for row in rows}, len(rows)) == (0, {"ok"}, 4 * 8), done.stdout
    done = bnbench(
        "sweep", *named, "--sizes", "10x7x4", "--sampling", "0.02", "--threads", "1", "--out", tmp_path / "run",
        bare=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(row["status"] == "ok" and row["median_s"] > 0 for row in json.loads(done.stdout))
    one_cell = (
        "--normalization",
        "none",
        "--activation",
        "relu",
        "--N",
        "10",
        "--dtype",
        "float64",
        "--regime",
        "fresh",
    )
    done = bnbench("verify", *named[:3], "course-closed", "--json", *one_cell)
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["reason"].endswith(
        "γ is None here because normalization='none' was tried too; add --normalization batch"
    )


def test_what_is_asked_binds(public):
    # catches: an author told "right" at a ddof that the formula ignores; and one not told where it is right
    found = package.diagnose(public.steps["course-closed"], ddof=1, activations=["relu"], normalizations=["batch"])
    assert found.headline == (
        "wrong for what it was held to; in its own conventions it is right: the loss and every gradient; ddof=0 is "
        "built in, relu is built in; held to that: N stands where N-ddof belongs, in s and in the s-term"
    )
    found = package.diagnose(public.steps["course-closed"], activations=["tanh"], normalizations=["batch"])
    assert found.mistakes == ("activation-ignored",)
    assert package.diagnose(public.steps["tensors"], ddof=1).headline.startswith("not tried: NotImplementedError: only")


def test_outputs_that_nothing_explains_are_not_hidden(public):
    # catches: one mistake's name for a formula that is wrong for another reason as well; too few digits to see it
    of = public.steps["course-closed"].function

    def step(*batch, **conventions):
        loss, dG1, dgamma, dbeta, dG2 = of(*batch, **conventions)
        return loss, dG1, batch[3] * dgamma, dbeta, dG2 * (1 + 1e-9)

    found = package.diagnose(step)
    assert found.mistakes == ("gamma-in-dgamma",)
    assert found.plain()["unexplained"] == ["dG2"]
    assert "dG2 is wrong in a way that no known mistake explains" in found.headline
    value, true, ratio = re.search(r"dG2\[0\] is (\S+), true (\S+), ratio (\S+) \(", str(found)).groups()
    assert value != true
    assert ratio == "1.000000001"


def test_factors_that_have_no_name_are_read_off(public):
    # catches: "none known" where a factor in γ, s and N says it
    of = public.steps["course-closed"].function

    def step(X, y, G1, gamma, beta, G2, *, eps, **conventions):
        loss, dG1, dgamma, dbeta, dG2 = of(X, y, G1, gamma, beta, G2, eps=eps, **conventions)
        s = np.sqrt((X @ G1).var(0) + eps)
        return loss, dG1 * s, dgamma * len(y) / s, -3 * dbeta, dG2

    readings = {name: finding.reading for name, finding in package.diagnose(step).cases[0].findings.items()}
    assert readings == {
        "loss": "",
        "dG1": "∂R/∂Γ1 is s times what it should be",
        "dgamma": "dgamma is N/s times what it should be",
        "dbeta": "dbeta is -3 times what it should be",
        "dG2": "",
    }


def test_messages_that_an_author_understands(tmp_path):
    # catches: a TypeError of NumPy's in place of what to type; an exception without its line; a layer called a step
    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(f"import bnbench\n\n@bnbench.variant('mine', family='matrix'{text}")
        return bnbench("audit", "--formula", path)

    done = write(")\ndef backward(dout, cache):\n    return dout\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "backward(dout, cache) is a layer's function, not a step" in done.stderr
    assert "python -m bnbench audit --layer FILE.py" in done.stderr
    done = write(")\ndef step(X, y, G1, gamma, beta, G2):\n    return X @ y\n")
    assert done.returncode == 1
    assert "in line 5 of mine.py: return X @ y" in done.stdout
    done = write(", supports={'ddofs': 0})\ndef step(X, y, G1, gamma, beta, G2):\n    return X @ y\n")
    allowed = "activations, normalizations, losses, depth, linear, units, ddof, eps"
    assert f"supports has 'ddofs'; allowed are {allowed}" in done.stderr
