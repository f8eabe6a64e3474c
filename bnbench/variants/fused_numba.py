"""`fused-numba`: the fastest form, its algorithm chosen by size.

Numba and the kernels are imported where a step is set up: the class is known, listed and asked without them.
"""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bnbench.activations import CODES
from bnbench.fused.layout import (
    ALGORITHMS,
    BROKEN,
    FELL_BACK,
    NODES,
    ONE_PASS,
    STORED,
    THIN,
    Layout,
    for_units,
    layout,
    pays_after,
)
from bnbench.problem import Batch, Gradients, Problem
from bnbench.threads import guard
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, Variant
from bnbench.variants.fused_layer import FusedLayer, of_layer, spread, unbroken
from bnbench.variants.layerwise import Network
from bnbench.width import vectors


class FusedNumba(Variant):
    """The fastest form: all that lies between the two products is fused with them, block of rows by block of rows.

    By size it is one compiled call, one sweep over X with statistics from XᵀX, three sweeps over stored Z, hidden nodes
    shared out in place of rows, or, of few nodes, loops over rows without tiles; a small cost model chooses
    (`bnbench/fused/layout.py`). Results are bit-identical for every number of threads.
    """

    name = "fused-numba"
    family = "fused"
    formula = formulas.FUSED
    compile_allowance_s = 60.0
    algorithms = ALGORITHMS
    supports = ANY_NETWORK

    @classmethod
    def unavailable(cls) -> str:
        """Whether compilation is switched off: arrays are passed by address, which the interpreter cannot follow."""
        return "NUMBA_DISABLE_JIT is set, and this form is compiled code only" if compiles_nothing() else ""

    @classmethod
    def needs_bytes(cls, problem: Problem, regime: str) -> int:
        """The scratch of the layout that would be chosen, and a copy of dΓ1, or that of C where it is made once."""
        from bnbench.fused.roles import scratch_places

        if problem.depth > 1:
            first = scratch_places(*of_layer(problem, False, problem.p1, problem.p2), "fresh")[1]
            other = scratch_places(*of_layer(problem, True, problem.p2, problem.p2), "fresh")[1]
            return first + (problem.depth - 1) * other
        plan = layout(problem, regime)
        needs = scratch_places(problem, plan, regime)[1]
        if problem.units:
            needs += problem.N * (8 + np.dtype(problem.dtype).itemsize)  # the rows in the order of units, and y so
        copied = problem.p1 * problem.p2 * np.dtype(problem.dtype).itemsize
        if plan.algorithm == ONE_PASS and problem.normalization == "batch" and regime == "fixed":
            copied = max(copied, scratch_places(*of_gram(problem), "fresh")[1])
        return needs + copied

    def __init__(self, algorithm: str = "") -> None:
        """Choose by size, or always take the algorithm that is named."""
        self.asked = algorithm

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Choose the algorithm, allocate its scratch, and with a fixed design compute x̄ and C."""
        self.network: Network | None = None
        if problem.depth > 1 or self.inputs:
            super().prepare(batch, problem, regime)
            make = functools.partial(FusedLayer, problem, self.inputs)
            self.network = Network(make, self.batch, problem, inputs=self.inputs)
            return
        self.batch, self.problem, self.regime = batch, problem, regime  # the parameters are copied by `load`
        self.X, self.y = np.ascontiguousarray(batch.X), np.ascontiguousarray(batch.y)
        self.has_head = bool(problem.linear or problem.units)
        plan = layout(problem, regime, self.asked)
        self.panel = None if batch.units is None else Panel(batch.units)
        if self.panel and self.panel.in_order:
            lying = for_units(layout(replace(problem, units=0), regime, self.asked), problem, self.panel.longest)
            plan = lying if lying.algorithm == ONE_PASS and self.panel.longest <= lying.rows else plan
        self.set_up(plan)
        self.enter_head(batch.W)
        self.load(batch.G1, batch.gamma, batch.beta, batch.G2, batch.delta)
        self.fallback: FusedNumba | None = None

    def set_up(self, plan: Layout) -> None:
        """Set up a layout: its scratch and its kernel."""
        from bnbench.fused import nodes
        from bnbench.fused.one_pass import gram, one_pass
        from bnbench.fused.scratch import Scratch
        from bnbench.fused.stored import stored
        from bnbench.fused.thin import thin

        self.plan, self.said = plan, 0.0  # what the compiled code said last: the loss, or why there is none
        problem, code = self.problem, CODES[self.problem.activation]
        real: Any = self.X.dtype.type
        self.scratch = scratch = Scratch(problem, plan, self.regime)
        self.room, array = scratch.room, scratch.array
        self.G1, self.per_node, self.dG1, self.d_per_node = map(array, ("G1", "per_node", "dG1", "d_per_node"))
        self.rows = tuple(self.per_node)
        self.offsets = []
        several = plan.groups > 1 or plan.flush
        self.shared_out = plan.groups > 1
        if plan.algorithm == ONE_PASS:
            kernel, functions = one_pass(code, problem.normalization, problem.loss, real, several, self.has_head)
        elif plan.algorithm == NODES:
            kernel = nodes.whole_step(problem.loss, problem.normalization, real)
            functions = nodes.functions(code, problem.normalization, True, False, real, plan.panel)
            self.offsets = [array("shift")[: problem.p1]] if problem.normalization == "batch" else []
        elif plan.algorithm == THIN:
            kernel, functions = thin(code, problem.normalization, problem.loss, real, self.has_head)
            self.offsets = [array("shift")[: problem.p1]] if problem.normalization == "batch" else []
        else:
            kernel, functions = stored(code, problem.loss, real, several, self.has_head)
            self.offsets = [array("shift")[: problem.p1]]
        self.kernel = functools.partial(kernel, scratch.address, problem.eps)
        self.compute: Callable[[], float] = self.kernel
        if problem.normalization == "frozen":
            array("given_mean")[...], array("given_variance")[...] = self.batch.statistics
        elif plan.algorithm == ONE_PASS and problem.normalization == "batch":
            self.offsets = [array("shift")[: problem.p1], array("rest")]
            if self.regime == "fresh":
                compute, more = gram(real, several)
                functions |= more
                self.gram = functools.partial(compute, scratch.address)
                self.compute = self.gram_and_kernel
            else:  # once, in working arrays of its own
                square, plan = of_gram(problem)
                working = Scratch(square, plan, "fresh")
                compute, more = gram(real, plan.groups > 1 or plan.flush)
                with guard():
                    working.connect(more, self.X)
                    unbroken(compute(working.address))
                for name in ("C", "diagonal", "rest", "shift"):
                    array(name)[...] = working.array(name)
        scratch.connect(functions, self.X, self.y)
        if plan.algorithm == NODES:
            scratch.enter("Gamma", self.G1)
            if self.regime == "fixed":
                with guard():
                    unbroken(nodes.tiles_step(problem.normalization == "batch", real)(scratch.address) > 0)
                scratch.count("tiled", 1)
        self.s, self.centre = array("s")[: problem.p2], array("centre")[: problem.p2]
        self.delta: Any = array("delta") if problem.linear else None
        self.sum_Wr: Any = array("sum_Wr") if problem.linear else None
        self.gathers = False  # whether the functions are in the table that find effects of η of all rows

    def enter_head(self, W: Any) -> None:
        """Enter linear terms W (N,q) and the units of `self.panel`; None where there are none."""
        enter = self.scratch.enter
        self.W, self.alpha = W, None
        if W is not None:
            self.W = np.ascontiguousarray(W)
            enter("linear", self.W)
        if self.panel is None:
            return
        panel, algorithm = self.panel, self.plan.algorithm
        gathers = not (algorithm == ONE_PASS and panel.in_order and panel.longest <= self.plan.rows)
        self.alpha = np.empty(len(panel.starts) - 1)
        for name, array in (("unit", panel.unit), ("starts", panel.starts), ("alpha", self.alpha)):
            enter(name, array)
        if gathers:
            self.y_by_unit = self.y[panel.order]
            enter("order", panel.order)
            enter("y_by_unit", self.y_by_unit)
        if gathers and not self.gathers:
            from bnbench.fused import head, one_pass, stored, thin

            code, loss = CODES[self.problem.activation], self.problem.loss
            real: Any = self.X.dtype.type
            more = {"outcome": head.outcome(loss, real)}
            if algorithm != NODES:
                more["outputs"] = {ONE_PASS: one_pass, THIN: thin}.get(algorithm, stored).outputs(code, real)
            self.scratch.connect(more, self.X, self.y)
            self.gathers = True
        self.scratch.count("units", len(self.alpha))
        self.scratch.count("gathers", gathers)

    def load(self, G1: Any, gamma: Any, beta: Any, G2: np.ndarray, delta: np.ndarray | None = None) -> None:
        """Copy the parameters to where the kernels read them."""
        if self.network:
            self.load_in_place(G1, gamma, beta, G2, delta)
            return
        rows = self.rows
        self.G1[...] = G1
        rows[2][...] = G2
        if delta is not None:
            self.delta[...] = delta
        if gamma is not None:
            rows[0][...] = gamma
            rows[1][...] = beta

    def bind(self, X: np.ndarray, y: np.ndarray, W: Any = None, units: Any = None) -> None:
        """As `Variant.bind`; no array is copied."""
        if self.network:
            self.network.bind(X, y, W, units)
            return
        self.X, self.y, self.fallback = X, y, None
        self.scratch.bind(X, y)
        if self.has_head:
            self.panel = None if units is None else Panel(units)
            self.enter_head(W)

    def step(self) -> None:
        """One compiled call, or two where XᵀX is part of the step; of several layers two a layer."""
        if self.network:
            with guard():
                self.network.step()
            return
        if self.shared_out:
            with guard():
                said = self.compute()
        else:
            said = self.compute()
        self.said = said
        if said <= FELL_BACK:
            unbroken(said != BROKEN)
            self.fall_back()

    def gram_and_kernel(self) -> float:
        """C of an X that is not fixed, then the step."""
        unbroken(self.gram())
        return self.kernel()

    def fall_back(self) -> None:
        """Take a step in which a variance cancels in the one-pass form by the stored algorithm."""
        if self.fallback is None:
            self.fallback = FusedNumba(STORED)
            batch = self.batch._replace(X=self.X, y=self.y, W=self.W, units=self.panel and self.panel.unit)
            self.fallback.prepare(batch, self.problem, self.regime)
        gamma, beta, G2 = self.rows
        self.fallback.load(self.G1, gamma, beta, G2, self.delta)
        self.fallback.step()
        self.dG1[...], self.d_per_node[...] = self.fallback.dG1, self.fallback.d_per_node
        if self.has_head:
            for name in ("sum_Wr", "alpha"):
                if getattr(self, name) is not None:
                    getattr(self, name)[...] = getattr(self.fallback, name)

    def spreads(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """s and μ (p2,) of every layer in float64, as the last step computed them; the next may write over them.

        Without normalization they are 1 and 0.
        """
        if self.network:
            return [layer.spread() for layer in self.network.layers]  # type: ignore[attr-defined]
        if self.said <= FELL_BACK and self.fallback is not None:
            return self.fallback.spreads()
        return [spread(self.s, self.centre, self.offsets, self.G1)]

    @property
    def algorithm(self) -> str:
        """The algorithm of the last step, or of the one to come."""
        return STORED if self.said <= FELL_BACK else self.plan.algorithm

    def details(self) -> dict[str, str]:
        """The algorithm of the last step, and the bytes of the vectors that its products are compiled for.

        And with XᵀX of a fixed design the steps after which it has been worth its time, by the cost model.
        """
        algorithm = "layer by layer" if self.network else self.algorithm
        said = {"algorithm": algorithm, "vector_bytes": str(vectors().register_bytes)}
        if (
            not self.network
            and algorithm == ONE_PASS
            and self.regime == "fixed"
            and self.problem.normalization == "batch"
        ):
            said["pays_after_steps"] = str(pays_after(self.problem))
        return said

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        if self.network:
            return self.network.answer.copied()
        of_nodes = self.d_per_node.copy()
        dgamma, dbeta, dG2 = of_nodes[0], of_nodes[1], of_nodes[2]  # to unpack it takes half a microsecond more
        if self.problem.normalization == "none":
            dgamma = dbeta = None
        said = self.said if self.fallback is None or self.said > FELL_BACK else self.fallback.said
        if self.has_head:
            dtype = self.dG1.dtype
            ddelta, alpha = (None if part is None else part.astype(dtype) for part in (self.sum_Wr, self.alpha))
            return Gradients(said, self.dG1.copy(), dgamma, dbeta, dG2, ddelta=ddelta, alpha=alpha)
        return tuple.__new__(Gradients, (said, self.dG1.copy(), dgamma, dbeta, dG2))  # half a microsecond less


class Panel:
    """The units of rows, as kernels take them.

    Attributes:
        unit: that of each row (N,), from 0.
        starts: where each begins among the rows in the order of units, and N at last (U+1,).
        longest: the rows of the largest.
        in_order: whether rows are in that order as they lie.
    """

    def __init__(self, unit: np.ndarray) -> None:
        self.unit = np.ascontiguousarray(unit, np.intp)
        rows = np.bincount(self.unit)
        self.starts = np.concatenate(([0], rows.cumsum()))
        self.longest, self.in_order = int(rows.max()), bool((self.unit[1:] >= self.unit[:-1]).all())

    @functools.cached_property
    def order(self) -> np.ndarray:
        """The rows in the order of units (N,)."""
        few = len(self.starts) <= 2**16  # and sorted by their digits, in a tenth of the time
        return (self.unit.astype(np.uint16) if few else self.unit).argsort(kind="stable")


def compiles_nothing() -> bool:
    """Whether Numba is told to compile nothing; it is imported only if the environment or its file may say so."""
    told = os.environ.get("NUMBA_DISABLE_JIT") or os.path.exists(".numba_config.yaml")
    if not told and "numba" not in sys.modules:
        return False
    import numba

    return bool(numba.config.DISABLE_JIT)


def of_gram(problem: Problem) -> tuple[Problem, Layout]:
    """The problem and the layout whose scratch is what C takes while it is made once."""
    square = Problem(problem.N, problem.p1, problem.p1, dtype=problem.dtype)
    return square, layout(square, "fresh", ONE_PASS)
