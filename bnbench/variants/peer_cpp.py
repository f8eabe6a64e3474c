"""`loops-cpp` and `matrix-eigen`: the step in C++, built on this machine (`building`) and called through ctypes."""

import ctypes
import functools
import os
import sys
from pathlib import Path

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import building, formulas
from bnbench.variants.base import Variant

FOLDER = Path(__file__).parent / "cpp"
EIGEN = "Eigen is not found; Debian: apt-get install libeigen3-dev"
OF_SIZES = ("N", "p1", "p2", "activation", "normalize", "ddof")
OF_ARRAYS = (
    "X", "y", "G1", "gamma", "beta", "G2", "dG1", "dgamma", "dbeta", "dG2", "Xhat", "A", "D", "e", "s",
)  # fmt: skip


class Step(ctypes.Structure):
    """What a step is given, as in step.hpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in OF_SIZES),
        ("eps", ctypes.c_double),
        ("loss", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in OF_ARRAYS),
    )


@functools.cache
def eigen() -> Path | None:
    """The folder of Eigen's headers; None where there is none."""
    prefixes = sys.prefix, os.environ.get("CONDA_PREFIX", sys.prefix), "/usr", "/usr/local", "/opt/homebrew"
    folders = (Path(prefix) / "include" / "eigen3" for prefix in prefixes)
    return next((folder for folder in folders if (folder / "Eigen" / "Dense").exists()), None)


class LoopsCpp(Variant):
    """Node by node in C++: plain loops by g++, the nodes shared out to threads with OpenMP."""

    name = "loops-cpp"
    family = "loops"
    formula = formulas.LOOPS
    arrays_like_Z = 3
    compile_allowance_s = 120.0
    reads_anew = True
    load = Variant.load_in_place

    @classmethod
    def unavailable(cls) -> str:
        """No compiler."""
        return building.without_compiler()

    @classmethod
    def library(cls) -> building.Library:
        """The library, built where it is not yet."""
        sources = FOLDER / "loops.cpp", FOLDER / "step.hpp"
        return building.library(sources, command(sources[0], *building.ANY_ORDER))

    def __init__(self) -> None:
        self.built = self.library()

    def start_compiler(self) -> float:
        """What the compiler took, for every problem."""
        return self.built.build_s

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Allocate what a step writes, and note where all arrays are."""
        super().prepare(batch, problem, regime)
        N, p1, p2, dtype = problem.N, problem.p1, problem.p2, batch.X.dtype
        normalize = problem.normalization == "batch"
        self.nodes = np.zeros((2, p2, N), dtype), np.zeros((p2 if normalize else 0, N), dtype)
        self.gradients = [np.zeros((p1, p2), dtype), *np.zeros((3, p2), dtype)]
        self.e, self.s = np.zeros(N, dtype), np.zeros(p2, dtype)
        (A, D), Xhat = self.nodes
        arrays = *self.batch[:6], *self.gradients, Xhat, A, D, self.e, self.s
        addresses = [None if array is None else array.ctypes.data for array in arrays]
        code = CODES[problem.activation]
        self.given = Step(N, p1, p2, code, normalize, problem.ddof, problem.eps, 0.0, *addresses)
        self.compute = getattr(self.built.functions, f"step_{problem.dtype}")
        self.address = ctypes.byref(self.given)

    def step(self) -> None:
        """One call of the C function."""
        self.compute(self.address)

    def details(self) -> dict[str, str]:
        """The compiler."""
        return {"compiler": building.compiler()}

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        gradients = Gradients(self.given.loss, *(array.copy() for array in self.gradients))
        return gradients if self.batch.gamma is not None else gradients._replace(dgamma=None, dbeta=None)


class MatrixEigen(LoopsCpp):
    """The matrix form in C++ by Eigen: its two products, and between them columns, shared out to threads."""

    name = "matrix-eigen"
    family = "matrix"
    formula = formulas.MATRIX

    @classmethod
    def unavailable(cls) -> str:
        """No compiler, or no Eigen."""
        return super().unavailable() or ("" if eigen() else EIGEN)

    @classmethod
    def library(cls) -> building.Library:
        """The library; its key has the file that says Eigen's version."""
        folder = eigen()
        assert folder is not None
        sources = FOLDER / "matrix.cpp", FOLDER / "step.hpp", folder / "Eigen/src/Core/util/Macros.h"
        # Rearranged sums would undo how Eigen's exp reduces its argument.
        return building.library(sources, command(sources[0], "-DNDEBUG", f"-I{folder}"))


def command(source: Path, *more: str) -> tuple[str, ...]:
    """What builds a library of a source."""
    return "g++", "-std=c++17", "-shared", "-fPIC", *building.FLAGS, *more, str(source)
