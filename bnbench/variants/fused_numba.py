"""`fused-numba`: the fastest form, its algorithm chosen by size."""

import functools

import numpy as np

from bnbench.activations import CODES
from bnbench.fused import kernels
from bnbench.fused.gemm import PANEL, ROWS, VECTOR_BYTES
from bnbench.fused.layout import LINE_BYTES, ONE_PASS, STORED, layout, leading, up
from bnbench.problem import Gradients
from bnbench.variants.base import Variant


class FusedNumba(Variant):
    """The fastest form: everything between two products is fused with them, block of rows by block of rows.

    By size it is one compiled call, one sweep over X with statistics from XᵀX, or three sweeps over stored Z; a small
    cost model chooses (`bnbench/fused/layout.py`). Results are bit-identical for every number of threads.
    """

    name = "fused-numba"
    family = "fused"
    compile_allowance_s = 60.0

    def prepare(self, batch, problem, regime="fresh"):
        """Choose the algorithm, allocate its scratch, and with a fixed design compute x̄ and C."""
        super().prepare(batch, problem, regime)
        dtype = batch.X.dtype
        self.outputs = [np.zeros((problem.p1, problem.p2), dtype), *(np.zeros(problem.p2, dtype) for _ in range(3))]
        empty = np.zeros(0, dtype)
        X, y, G1, gamma, beta, G2 = batch
        if problem.normalization == "none":
            gamma = beta = empty
        self.inputs = (X, y, G1, gamma, beta, G2, problem.ddof, problem.eps)
        self.fallback = None
        self.gram = None
        self.set_up(layout(problem, regime))

    def set_up(self, plan):
        """Take a layout: its scratch and its kernel."""
        self.algorithm = plan.algorithm
        problem, dtype = self.problem, self.batch.X.dtype
        group_rows = plan.group_blocks * plan.rows
        normalize = problem.normalization == "batch"
        code = CODES[problem.activation]
        scratch = Scratch(plan, problem)
        head = (*self.inputs, group_rows, *self.outputs)
        one_pass = plan.algorithm == ONE_PASS or not normalize
        if not one_pass:
            self.kernel = kernels.stored(code, plan.parallel)
            Z = scratch.array(plan.blocks * plan.rows, plan.ld)
            e = scratch.array(plan.blocks * plan.rows)
            self.arguments = (*head, *scratch.common(), *scratch.shared(), Z, e)
            return
        self.kernel = kernels.one_pass(code, normalize, plan.parallel)
        design = scratch.design() if normalize else scratch.no_design()
        P, T, G, flushed, panel, block, sums = scratch.common()
        W, vectors, shift, total = scratch.shared()
        D = scratch.array(plan.groups, plan.rows if problem.activation == "gaussian" else 0, plan.ld)
        e = scratch.array(plan.groups, plan.rows)
        self.arguments = (*head, P, T, D, G, flushed, panel, block, sums, e, W, vectors, shift, total, *design)
        if normalize:
            C, diagonal, rest = design[:3]
            gram = kernels.gram(plan.parallel)
            if self.regime == "fixed":
                own = layout(gram_problem(problem), "fixed", ONE_PASS)
                more = Scratch(own, gram_problem(problem))
                P, T, G, flushed, panel, *_ = more.common()
                gram(self.batch.X, own.group_blocks * own.rows, P, T, G, flushed, panel,
                     *more.gram(), C, diagonal, rest, shift)  # fmt: skip
            else:
                self.gram = functools.partial(
                    gram, self.batch.X, group_rows, P, T, G, flushed, panel, *scratch.gram(), C, diagonal, rest, shift
                )

    def step(self):
        """One or two compiled calls."""
        if self.gram is not None:
            self.gram()
        self.loss = self.kernel(*self.arguments)
        if self.loss == kernels.FELL_BACK:
            self.fall_back()

    def fall_back(self):
        """Take this step, whose variances cancel in the one-pass form, by the stored algorithm."""
        if self.fallback is None:
            self.fallback = FusedNumba.__new__(FusedNumba)
            self.fallback.batch, self.fallback.problem, self.fallback.regime = self.batch, self.problem, self.regime
            self.fallback.inputs, self.fallback.outputs = self.inputs, self.outputs
            self.fallback.gram = None
            self.fallback.set_up(layout(self.problem, self.regime, STORED))
        self.fallback.step()
        self.loss = self.fallback.loss

    def result(self):
        """Copies of the last step's gradients."""
        dG1, dgamma, dbeta, dG2 = (array.copy() for array in self.outputs)
        if self.problem.normalization == "none":
            dgamma = dbeta = None
        return Gradients(self.loss, dG1, dgamma, dbeta, dG2)


def gram_problem(problem):
    """A problem whose G has the size of XᵀX."""
    return type(problem)(problem.N, problem.p1, problem.p1, dtype=problem.dtype)


class Scratch:
    """The scratch arrays of a layout, each on a cache line and touched, so that no step pays for that."""

    def __init__(self, plan, problem):
        self.plan, self.problem, self.dtype = plan, problem, np.dtype(problem.dtype)

    def array(self, *shape, dtype=None):
        """Zeros."""
        dtype = np.dtype(dtype or self.dtype)
        size = int(np.prod(shape))
        raw = np.empty(size + LINE_BYTES // dtype.itemsize, dtype)
        offset = -raw.ctypes.data % LINE_BYTES // dtype.itemsize
        raw.fill(0)
        return raw[offset : offset + size].reshape(shape)

    def common(self):
        """P, T, G, flushed, panel, block, sums."""
        plan = self.plan
        lanes = VECTOR_BYTES // self.dtype.itemsize
        return (
            self.array(plan.groups, plan.inputs * plan.rows),
            self.array(plan.groups, plan.rows, plan.ld),
            self.array(plan.groups, plan.inputs * plan.ld),
            self.array(plan.groups, plan.inputs * plan.ld if plan.flush else 0, dtype=np.float64),
            self.array(plan.groups, plan.rows * PANEL * lanes),
            self.array(plan.groups, 3, plan.ld),
            self.array(plan.groups, kernels.SUMS, plan.ld, dtype=np.float64),
        )

    def shared(self):
        """W, vectors, shift, total."""
        plan = self.plan
        lanes = VECTOR_BYTES // self.dtype.itemsize
        return (
            self.array(plan.depth * plan.vectors * lanes),
            self.array(kernels.VECTORS, plan.ld),
            self.array(plan.inputs),
            self.array(plan.inputs, plan.ld, dtype=np.float64),
        )

    def design(self):
        """C, diagonal, rest, wide, wide_panels, V."""
        p1, p2 = self.problem.p1, self.problem.p2
        rows = up(p1, ROWS)
        columns = up(p2, 4)
        shapes = (self.plan.depth * rows,), (p1,), (p1,), (p1, p2), (self.plan.depth * columns,), (rows, columns)
        return tuple(self.array(*shape, dtype=np.float64) for shape in shapes)

    def no_design(self):
        """The same, empty."""
        return tuple(self.array(*(0,) * n, dtype=np.float64) for n in (1, 1, 1, 2, 1, 2))

    def gram(self):
        """near, sums, products of XᵀX."""
        p1, groups = self.problem.p1, self.plan.groups
        return self.array(groups, p1), self.array(groups, p1, dtype=np.float64), self.array(p1, p1, dtype=np.float64)
