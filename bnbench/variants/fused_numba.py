"""`fused-numba`: the fastest form, its algorithm chosen by size."""

import functools
import math

import numpy as np

from bnbench.activations import CODES
from bnbench.fused import kernels
from bnbench.fused.gemm import PANEL, ROWS, VECTOR_BYTES
from bnbench.fused.layout import ALGORITHMS, LINE_BYTES, ONE_PASS, STORED, layout, up
from bnbench.problem import Gradients, Problem
from bnbench.variants.base import Variant

FLOAT64 = np.dtype(np.float64)
GRAM = ("near", "means", "products")
ORDER = (
    *("P", "T", "G", "panel", "block", "sums", "D", "e", "W", "vectors", "shift", "total", "Z", "all_e"),
    *("C", "diagonal", "rest", "wide", "wide_panels", "V", *GRAM),
)  # of the kernels' arguments; what an algorithm does not need is left out


class FusedNumba(Variant):
    """The fastest form: all that lies between the two products is fused with them, block of rows by block of rows.

    By size it is one compiled call, one sweep over X with statistics from XᵀX, or three sweeps over stored Z; a small
    cost model chooses (`bnbench/fused/layout.py`). Results are bit-identical for every number of threads.
    """

    name = "fused-numba"
    family = "fused"
    compile_allowance_s = 60.0
    algorithms = ALGORITHMS

    @classmethod
    def needs_bytes(cls, problem, regime):
        """The scratch of the layout that would be chosen."""
        return scratch_places(problem, layout(problem, regime), regime)[1]

    def __init__(self, algorithm=""):
        """Choose by size, or always take the algorithm that is named."""
        self.asked = algorithm

    def prepare(self, batch, problem, regime="fresh"):
        """Choose the algorithm, allocate its scratch, and with a fixed design compute x̄ and C."""
        super().prepare(batch, problem, regime)
        X, y, *parameters = batch
        if X.flags.writeable or y.flags.writeable:  # one type for Numba, as `bnbench.prepare` has it
            X, y = X.view(), y.view()
            X.flags.writeable = y.flags.writeable = False
        dtype = X.dtype
        p1, p2 = problem.p1, problem.p2
        self.G1, self.theta = np.empty((p1, p2), dtype), np.zeros((3, p2), dtype)
        self.rows = tuple(self.theta)
        self.load(*parameters)
        self.dG1, self.dtheta = np.zeros((p1, p2), dtype), np.zeros((3, p2), dtype)
        self.data = X, y, self.G1, self.theta, problem.ddof, problem.eps
        self.set_up(layout(problem, regime, self.asked))
        self.stored = None

    def set_up(self, plan):
        """Take a layout: its scratch and its kernel."""
        self.plan, self.algorithm = plan, plan.algorithm
        problem, code = self.problem, CODES[self.problem.activation]
        normalize = problem.normalization == "batch"
        scratch = allocate(problem, plan, self.regime)
        if plan.in_place:
            scratch["G"] = self.dG1.reshape(1, -1)
        if plan.algorithm == ONE_PASS or not normalize:
            kernel = kernels.one_pass(code, normalize, plan.groups > 1)
            further = ()
        else:
            kernel = kernels.stored(code, plan.groups > 1)
            further = (plan.in_place,)
        own = [array for name, array in scratch.items() if name not in GRAM]
        self.kernel = functools.partial(kernel, *self.data, plan.group_rows, self.dG1, self.dtheta, *own, *further)
        self.gram = None
        if plan.algorithm == ONE_PASS and normalize:
            self.gram = self.gram_of_X(plan, scratch)
            if self.regime == "fixed":
                self.gram()
                self.gram = None

    def gram_of_X(self, plan, scratch):
        """The call that computes C and x̄ into the scratch; with a fixed design, in working arrays of its own."""
        working = scratch
        if self.regime == "fixed":
            problem = self.problem
            square = Problem(problem.N, problem.p1, problem.p1, dtype=problem.dtype)
            plan = layout(square, "fresh", ONE_PASS)
            working = allocate(square, plan, "fresh")
        arrays = [working[name] for name in ("P", "T", "G", "panel", "sums", *GRAM)]
        arrays += [scratch[name] for name in ("C", "diagonal", "rest", "shift")]
        return functools.partial(kernels.gram(plan.groups > 1), self.data[0], plan.group_rows, *arrays)

    def load(self, G1, gamma, beta, G2):
        """Copy the parameters to where the kernels read them."""
        rows = self.rows
        self.G1[...] = G1
        rows[2][...] = G2
        if gamma is not None:
            rows[0][...] = gamma
            rows[1][...] = beta

    def step(self):
        """One compiled call, or two where XᵀX is part of the step."""
        if self.gram is not None:
            self.gram()
        self.loss = self.kernel()
        self.algorithm = self.plan.algorithm
        if self.loss == kernels.FELL_BACK:
            self.fall_back()

    def fall_back(self):
        """Take a step in which a variance cancels in the one-pass form by the stored algorithm."""
        self.algorithm = STORED
        if self.stored is None:
            self.stored = FusedNumba.__new__(FusedNumba)
            self.stored.__dict__.update(self.__dict__)
            self.stored.set_up(layout(self.problem, self.regime, STORED))
        self.stored.step()
        self.loss = self.stored.loss

    def details(self):
        """The algorithm of the last step."""
        return {"algorithm": self.algorithm}

    def result(self):
        """Copies of the last step's gradients."""
        dG1, (dgamma, dbeta, dG2) = self.dG1.copy(), self.dtheta.copy()
        if self.problem.normalization == "none":
            dgamma = dbeta = None
        return Gradients(self.loss, dG1, dgamma, dbeta, dG2)


def allocate(problem, plan, regime):
    """The scratch arrays of a layout by name, in the order of the kernels' arguments, touched and all 0."""
    places, size = scratch_places(problem, plan, regime)
    room = np.empty(size + LINE_BYTES, np.uint8)
    room.fill(0)
    start = -room.ctypes.data % LINE_BYTES
    return {name: np.ndarray(shape, dtype, room, start + offset) for name, shape, dtype, offset in places}


@functools.lru_cache(maxsize=256)
def scratch_places(problem, plan, regime):
    """Name, shape, dtype and offset of every scratch array, each on a cache line, and the bytes of all."""
    N, p1, p2, dtype = problem.N, problem.p1, problem.p2, np.dtype(problem.dtype)
    lanes = VECTOR_BYTES // dtype.itemsize
    groups, rows, ld, inputs, depth = plan.groups, plan.rows, plan.ld, plan.inputs, plan.depth
    normalize = problem.normalization == "batch"
    one_pass = plan.algorithm == ONE_PASS or not normalize
    numbers = {
        "P": (groups, inputs * rows),
        "T": (groups, rows, ld),
        "G": (groups, 0 if plan.in_place else inputs * ld),
        "panel": (groups, rows * PANEL * lanes),
        "block": (groups, 3, ld),
    }
    wide = {"sums": (groups, kernels.SUMS + (inputs if plan.flush else 0), ld)}
    if one_pass:
        numbers |= {"D": (groups, rows if problem.activation == "gaussian" else 0, ld), "e": (groups, rows)}
    numbers |= {"W": (depth * plan.vectors * lanes,), "vectors": (kernels.VECTORS, ld), "shift": (inputs,)}
    wide |= {"total": (inputs, ld)}
    if one_pass:
        square, columns = up(p1, ROWS), up(p2, 4)
        design = {
            "C": (depth * square,),
            "diagonal": (p1,),
            "rest": (p1,),
            "wide": (p1, p2),
            "wide_panels": (depth * columns,),
            "V": (square, columns),
        }
        wide |= design if normalize else {name: (0,) * len(shape) for name, shape in design.items()}
    else:
        numbers |= {"Z": (up(N, ROWS), ld), "all_e": (up(N, ROWS),)}
    if one_pass and normalize and regime == "fresh":
        numbers |= {"near": (groups, p1)}
        wide |= {"means": (groups, p1), "products": (p1, p1)}
    order = [name for name in ORDER if name in numbers or name in wide]
    places, offset = [], 0
    for name in order:
        shape, kind = (numbers[name], dtype) if name in numbers else (wide[name], FLOAT64)
        places.append((name, shape, kind, offset))
        offset += up(math.prod(shape) * kind.itemsize, LINE_BYTES)
    return tuple(places), offset
