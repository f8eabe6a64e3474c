"""The thirteen claims of the question and its answer, each ruled on.

The setting is the question's: its data, R's `scale` (ddof = 1, eps = 0), ε̂ = u, and the loss Σε̂² that its code
differentiates (its text has 1/N before it, which all its formulas leave out). True values are N times the
certified gradient of R = Σε̂²/N. A claim about figures is held against the network of the question with the true
derivative of its activation; a formula that is not proven wrong there is tried on random problems too.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from flint import arb, ctx, fmpq

from bnbench.audit import question
from bnbench.audit.letters import Letters, diagonal, identity, vec
from bnbench.audit.rulings import BITS, HOLDS, VACUOUS, WRONG, Evidence, Ruling, printed
from bnbench.problem import ACTIVATIONS, Batch, Gradients, Problem
from bnbench.reference.balls import enclose
from bnbench.reference.certified import RADIUS, Enclosure, balls, certify

TRIALS = 25
LOSS = "for the loss Σε̂² of the question's code"


def rule_all() -> list[Ruling]:
    """The rulings on all claims, in the order of the question."""
    with ctx.workprec(BITS):
        return [
            beta_formula(),
            beta_figures(),
            beta_loop(),
            gamma1_formula(),
            gamma1_figures(),
            gamma1_loop(),
            gamma_formula(),
            gamma_figures(),
            nobn_gradients(),
            answer_beta(),
            answer_gamma(),
            answer_gamma1(),
            kronecker_rule(),
        ]


def beta_formula() -> Ruling:
    """∂R/∂β = 1ᵀ stub."""
    return settle(
        "beta-formula",
        "∂R/∂β = 1ᵀ( a'(b(XΓ1)) ⊙ -2 ε̂ Γ2ᵀ )",
        "dbeta",
        lambda q: q.stub.sum(axis=0),
        f"B depends on β_j with derivative 1 in column j only, so ∂R/∂β is the column sums of the stub {LOSS}; "
        "with the 1/N of its text the formula is N times too large.",
        "derivation.md 3",
    )


def beta_figures() -> Ruling:
    """The printed ∂R/∂β."""
    true = truth().dbeta
    claimed = printed(question.published()["printed"]["loop_drdb"])
    evidence = Evidence("the four printed numbers for ∂R/∂β", claimed, true)
    active = int((letters().slope == 1).sum())
    return settled(
        "beta-figures",
        "the four numbers printed for ∂R/∂β are that gradient at that data",
        WRONG,
        f"Its code for a' first sets negatives to 0 and then everything that is at least 0 to 1, so a' is 1 in all "
        f"{letters().slope.size} places, where the true a'(B) is 1 in {active}: the figures are the sums of "
        "-2 ε̂ Γ2ᵀ alone.",
        [evidence],
        "derivation.md 7.1",
    )


def beta_loop() -> Ruling:
    """The loop for ∂R/∂β."""
    X, G1, G2, gamma, beta, u = question.data()
    nodes = np.array([question.node_of_loop(X, G1, gamma, beta, i) for i in range(len(G2))], object).T
    loop = np.array([sum(-2 * u * np.where(nodes[:, i] > 0, 1, 0) * G2[i]) for i in range(len(G2))], object)
    return settled(
        "beta-loop",
        "its loop for ∂R/∂β is the node-by-node computation",
        WRONG,
        "Node i of the loop normalises X_i Γ1_ii, one input times one weight, where node i of the network normalises "
        "Σ_k X_k Γ1_ki; it agreed with the matrix form only because the a' of its code is 1 whatever it is given.",
        [
            Evidence("the loop's nodes against the columns of B", nodes, letters().B),
            Evidence("the loop's ∂R/∂β, once its a' is right", loop, truth().dbeta),
        ],
        "derivation.md 7.1",
    )


def gamma1_formula() -> Ruling:
    """∂R/∂Γ1 = Xᵀ(stub ⊙ w), w with 1/σ: wrong, and exact where μ and σ are given."""

    def formula(q: Letters) -> np.ndarray:
        return q.X.T @ (q.stub * (q.gamma / q.s))

    q, exact = letters(), len(random_problems())
    for tried in (q, *(Letters(batch, problem, exact_eps(problem)) for problem, batch, _ in random_problems())):
        evidence = Evidence("", formula(tried), frozen(tried))
        if evidence.proven_wrong or evidence.radius > RADIUS:
            raise AssertionError("∂R/∂Γ1 for given μ and σ: the formula is apart, or its ball too wide")
    return settled(
        "gamma1-formula",
        "∂R/∂Γ1 = Xᵀ( stub ⊙ w ), w = (γ ⊗ 1) ⊙ σ⁻¹",
        WRONG,
        "It holds μ and σ constant, but both depend on Γ1: the μ-term 1(1ᵀS)/N and the s-term X̂ ⊙ (∂R/∂γ)ᵀ/(N-ddof) "
        "are missing from the bracket. It is exact for frozen statistics, a μ and σ that are given (there it lies in "
        f"the ball around the gradient, at the question's data and at {exact} random problems): whoever copied it "
        "trained as if the statistics were frozen.",
        [
            Evidence("the formula at the question's data against ∂R/∂Γ1", formula(q), truth().dG1),
            Evidence("the same against ∂R/∂Γ1 for frozen statistics, with μ and σ given", formula(q), frozen(q)),
        ],
        "derivation.md 7.2",
    )


def frozen(q: Letters) -> np.ndarray:
    """∂R/∂Γ1 for the loss Σε̂² where the batch's μ and σ are given constants, by power series from the definition."""
    data = q.batch.data._replace(statistics=((q.mu, q.variance),))
    return q.N * enclose(q.batch.theta, data, replace(q.spec, normalization="frozen")).theta.layers[0].G


def gamma1_figures() -> Ruling:
    """The printed ∂R/∂Γ1."""
    claimed = printed(question.published()["printed"]["drdG1"])
    return settled(
        "gamma1-figures",
        "the 7×4 numbers printed for ∂R/∂Γ1 are that gradient",
        WRONG,
        "Beside the missing μ- and s-terms, its code multiplies by the standard deviation where its formula divides "
        "by it, and its a' is 1 everywhere.",
        [Evidence("the 28 printed numbers for ∂R/∂Γ1", claimed, truth().dG1)],
        "derivation.md 7.2",
    )


def gamma1_loop() -> Ruling:
    """The loop for ∂R/∂Γ1."""
    worst = 0
    for seed in range(TRIALS):
        random = np.random.default_rng(seed)
        X, w, stub = (fractions(random, shape) for shape in ((5, 3), (5, 2), (5, 2)))
        loop = [[question.column_of_loop(X[:, i], w[:, j], stub[:, j]) for j in range(2)] for i in range(3)]
        worst += int((np.array(loop, object) != X.T @ (stub * w)).sum())
    if worst:
        raise AssertionError("the loop for ∂R/∂Γ1 and Xᵀ(stub ⊙ w) differ at random fractions")
    X, *_ = question.data()
    followed = question.follow()
    return settled(
        "gamma1-loop",
        "its loop for ∂R/∂Γ1 confirms the matrix form",
        VACUOUS,
        "The loop is the matrix product written out: x_iᵀ diag(w_j) stub_j is entry (i,j) of Xᵀ(stub ⊙ w) for any "
        f"stub and any w at all (exactly so at {TRIALS} draws of random fractions), so that no mistake in either "
        "could have shown.",
        [Evidence("the loop's ∂R/∂Γ1 against its own matrix form", followed["loop_drdG1"], followed["drdG1"])],
        "derivation.md 7.2",
        trials=TRIALS,
    )


def gamma_formula() -> Ruling:
    """∂R/∂γ with the factor γ."""
    return settle(
        "gamma-formula",
        "∂R/∂γ = diag( X̂ᵀ ( stub ⊙ γ̃ ) ), with the factor γ",
        "dgamma",
        lambda q: np.diagonal(q.Xhat.T @ (q.stub * q.gamma)),
        "B = γ ⊙ X̂ + β is linear in γ with derivative X̂, so the factor γ does not belong: entry j is γ_j times the "
        "gradient.",
        "derivation.md 7.3",
    )


def gamma_figures() -> Ruling:
    """The printed ∂R/∂γ."""
    claimed = printed(question.published()["printed"]["loop_drdg"])
    return settled(
        "gamma-figures",
        "the numbers printed for ∂R/∂γ are that gradient",
        WRONG,
        "They carry the factor γ = 2, 3, 4, 5 of its formula, and the a' that is 1 everywhere.",
        [Evidence("the four printed numbers for ∂R/∂γ", claimed, truth().dgamma)],
        "derivation.md 7.3",
    )


def nobn_gradients() -> Ruling:
    """The gradients without normalisation."""
    q, true = letters("none"), truth("none", loss="R")
    first = 2 * (q.A.T @ q.e)
    second = q.X.T @ (q.slope * 2 * np.outer(q.e, q.G2))
    return settled(
        "nobn-gradients",
        "without normalisation ∂R/∂Γ1 = 2 Vᵀ ε̂ and ∂R/∂Γ2 = Xᵀ( a'(XΓ1) ⊙ 2 ε̂ Γ2ᵀ ), R = (1/N) Σ ε̂²",
        WRONG,
        "The two stand under each other's names (2Vᵀε̂ has the shape of Γ2, the other that of Γ1), the sign is "
        "reversed and 1/N is missing: each is -N times the other's gradient; written with -2, as on the page itself, "
        "they are still swapped and N times too large.",
        [
            Evidence("2 Vᵀ ε̂ against ∂R/∂Γ2, whose shape it has", first, true.dG2),
            Evidence("Xᵀ( a' ⊙ 2 ε̂ Γ2ᵀ ) against ∂R/∂Γ1, whose shape it has", second, true.dG1),
            Evidence("2 Vᵀ ε̂ / -N against ∂R/∂Γ2", first / -q.N, true.dG2),
            Evidence("Xᵀ( a' ⊙ 2 ε̂ Γ2ᵀ ) / -N against ∂R/∂Γ1", second / -q.N, true.dG1),
        ],
        "derivation.md 7.4",
    )


def answer_beta() -> Ruling:
    """The answer's ∂R/∂β, through Jacobians."""

    def formula(q: Letters) -> np.ndarray:
        jacobian = diagonal(vec(q.slope))
        return -2 * q.e @ np.kron(q.G2[None], identity(q.N)) @ jacobian @ np.kron(identity(q.p2), q.one)

    return settle(
        "answer-beta",
        "the answer: ∂R/∂β = 1ᵀ( a'(b(XΓ1)) ⊙ -2 ε̂ Γ2ᵀ ) through (Γ2ᵀ⊗I) J_a (I⊗e_N)",
        "dbeta",
        formula,
        f"∂vec B/∂β is I ⊗ 1_N, and the product of its Jacobians collapses to the column sums of the stub, {LOSS}.",
        "derivation.md 5",
    )


def answer_gamma() -> Ruling:
    """The answer's ∂R/∂γ."""
    return settle(
        "answer-gamma",
        "the answer: ∂R/∂γ = diag( (XΓ1 - 1μᵀ)ᵀ W Σ^(-1/2) ), W = the stub, no factor γ",
        "dgamma",
        lambda q: np.diagonal((q.Z - q.mu).T @ q.stub @ diagonal(1 / q.s)),
        f"Dividing column j by s_j turns XΓ1 - 1μᵀ into X̂, and the diagonal of X̂ᵀ stub is ∂R/∂γ, {LOSS}.",
        "derivation.md 3",
    )


def answer_gamma1() -> Ruling:
    """The answer on ∂R/∂Γ1."""
    matrix_form = agreement("dG1", lambda q: q.N * q.dG1)
    return settled(
        "answer-gamma1",
        "the answer: with respect to Γ1 the derivation explodes and has no practical matrix form",
        WRONG,
        "A practical matrix form exists: ∂R/∂Γ1 = Xᵀ dZ with dZ = (γ/s) ⊙ ( S - 1(∂R/∂β)ᵀ/N - X̂ ⊙ (∂R/∂γ)ᵀ/(N-ddof) ), "
        "two lines, two products with X in all (Z = XΓ1 and this one) and nothing larger than N×p2; it lies in the "
        "certified enclosure at the question's data and at every random problem.",
        [Evidence("Xᵀ dZ, the form that was said not to exist", letters().N * letters().dG1, truth().dG1)],
        "derivation.md 7.6",
        trials=matrix_form,
    )


def kronecker_rule() -> Ruling:
    """The rule for the derivative of A ⊗ B."""
    *_, beta, _ = question.data()
    q = letters()
    rule = question.kronecker_rule(beta[None], q.one)
    if rule.shape != (q.N * q.p2, q.p2) or (rule != np.kron(identity(q.p2), q.one)).any():
        raise AssertionError("the rule does not give I ⊗ 1_N")
    return settled(
        "kronecker-rule",
        "the rule for the derivative of A ⊗ B gives for β ⊗ 1_N a 40×4 matrix that does not conform and does not help",
        WRONG,
        "The 40×4 matrix is I_4 ⊗ 1_10 = ∂vec B/∂β, it conforms with the 1×40 row vec(stub)ᵀ, and their product is "
        "∂R/∂β: it is the very factor that was looked for.",
        [Evidence("vec(stub)ᵀ times the 40×4 matrix against ∂R/∂β", vec(q.stub) @ rule, truth().dbeta)],
        "derivation.md 7.5",
    )


def settle(
    name: str, claim: str, gradient: str, formula: Callable[[Letters], np.ndarray], reason: str, derivation: str
) -> Ruling:
    """Rule on a formula: wrong where it is apart from the enclosure, else tried on random problems as well.

    Raises:
        AssertionError: the formula is apart on a random problem although it was not on the question's data.
    """
    evidence = Evidence(f"the formula at the question's data against ∂R/∂{SYMBOLS[gradient]}",
                        formula(letters()), getattr(truth(), gradient))  # fmt: skip
    if evidence.proven_wrong:
        return settled(name, claim, WRONG, reason, [evidence], derivation)
    trials = agreement(gradient, formula)
    return settled(name, claim, HOLDS, reason, [evidence], derivation, trials=trials)


SYMBOLS = {"dbeta": "β", "dgamma": "γ", "dG1": "Γ1", "dG2": "Γ2"}


def settled(
    name: str, claim: str, ruling: str, reason: str, evidence: Sequence[Evidence], derivation: str, trials: int = 0
) -> Ruling:
    """A Ruling; one that its evidence does not support is refused, so that no reason is mere words."""
    claims_numbers = name not in ("answer-gamma1", "kronecker-rule")
    if ruling == WRONG and claims_numbers and not evidence[0].proven_wrong:
        raise AssertionError(f"{name}: ruled wrong, but its evidence is not apart")
    if not (ruling == WRONG and claims_numbers) and any(e.proven_wrong or e.radius > RADIUS for e in evidence):
        raise AssertionError(f"{name}: ruled {ruling}, but its evidence is apart or too wide")
    return Ruling(name, claim, ruling, reason, tuple(evidence), trials, derivation)


def agreement(gradient: str, formula: Callable[[Letters], np.ndarray]) -> int:
    """On how many random problems a formula (for the loss Σε̂²) lies within the certified gradient: all of them.

    Raises:
        AssertionError: it lies outside on one.
    """
    for problem, batch, enclosure in random_problems():
        claimed = formula(Letters(batch, problem, exact_eps(problem)))
        true = problem.N * getattr(enclosure.gradients, gradient)
        evidence = Evidence("", np.asarray(claimed, object), true)
        if evidence.proven_wrong:
            raise AssertionError(
                f"∂R/∂{SYMBOLS[gradient]}: a formula that agreed on the question's data fails on {problem}"
            )
    return len(random_problems())


@functools.cache
def random_problems() -> list[tuple[Problem, Batch, Enclosure]]:
    """Random rational problems off every kink, each with its certified gradient: all activations, ddof and eps."""
    problems = []
    for seed in range(TRIALS):
        random = np.random.default_rng(seed)
        N, p1, p2 = (int(random.integers(low, high)) for low, high in ((3, 9), (1, 5), (1, 5)))
        problem = Problem(
            N, p1, p2, ACTIVATIONS[seed % len(ACTIVATIONS)], ddof=seed // len(ACTIVATIONS) % 2,
            eps=(0.0, 2.0**-17, 1.0)[seed % 3], seed=seed,
        )  # fmt: skip
        shapes = ((N, p1), (N,), (p1, p2), (p2,), (p2,), (p2,))
        while True:
            batch = Batch(*(balls(fractions(random, shape)) for shape in shapes))
            try:
                enclosure = certify(batch, problem)
            except ValueError:  # a column without variance was drawn
                continue
            if not enclosure.kinks:
                break
        problems.append((problem, batch, enclosure))
    return problems


def exact_eps(problem: Problem) -> arb:
    """Its eps as an exact ball."""
    return arb(problem.eps)


def fractions(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random fractions between -8 and 8 with denominators up to 9."""
    values = zip(random.integers(-40, 41, shape).flat, random.integers(5, 10, shape).flat, strict=True)
    out = np.empty(shape, object)
    out.flat[:] = [fmpq(int(p), int(q)) for p, q in values]
    return out


@functools.cache
def setting(normalization: str = "batch") -> tuple[Problem, Batch]:
    """The question's problem and batch, as balls; y is ŷ + u, so that the residual is u."""
    X, G1, G2, gamma, beta, u = question.data()
    problem = Problem(len(X), len(G1), len(G2), "relu", normalization, ddof=1, eps=0.0)
    batch = Batch(X, u, G1, gamma, beta, G2)
    if normalization == "none":
        batch = batch._replace(gamma=None, beta=None)
    with ctx.workprec(BITS):
        fitted = Letters(batch, problem, arb(0)).A @ G2
        return problem, batch._replace(y=fitted + u)


@functools.cache
def letters(normalization: str = "batch") -> Letters:
    """The letters at the question's data."""
    problem, batch = setting(normalization)
    return Letters(batch, problem, arb(0))


@functools.cache
def truth(normalization: str = "batch", loss: str = "Σε̂²") -> Gradients:
    """The certified gradients at the question's data, for Σε̂² or (loss="R") for R = Σε̂²/N.

    Raises:
        AssertionError: the data sits on a kink, where nothing could be ruled.
    """
    problem, batch = setting(normalization)
    enclosure = certify(batch, problem)
    if enclosure.kinks:
        raise AssertionError(f"the question's data sits on kinks: {enclosure.kinks}")
    if loss == "R":
        return enclosure.gradients
    with ctx.workprec(BITS):
        return Gradients._make(None if part is None else problem.N * part for part in enclosure.gradients)
