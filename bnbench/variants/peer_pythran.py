"""`loops-pythran` and `matrix-pythran`: the step in Python, which Pythran turns into C++, built as `building` says."""

import functools
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import building, formulas
from bnbench.variants.base import Variant
from bnbench.variants.peers import missing

FOLDER = Path(__file__).parent / "pythran"
COMMAND = (sys.executable, "-m", "pythran.run", "-w", *building.FLAGS)
BLAS = ("--config", "compiler.blas=scipy-openblas")


class LoopsPythran(Variant):
    """Node by node in Python, compiled by Pythran and g++, the nodes shared out to threads with OpenMP."""

    name = "loops-pythran"
    family = "loops"
    formula = formulas.LOOPS
    arrays_like_Z = 3
    compile_allowance_s = 180.0
    reads_anew = True
    load = Variant.load_in_place

    @classmethod
    def unavailable(cls) -> str:
        """No compiler, no Pythran, or no headers of Python."""
        header = Path(sysconfig.get_paths()["include"], "Python.h")
        return (
            building.without_compiler()
            or missing("pythran", "native")
            or ("" if header.exists() else f"{header} is not there; Debian: apt-get install python3-dev")
        )

    @classmethod
    def library(cls) -> building.Library:
        """The library, built where it is not yet."""
        source = FOLDER / "loops.py"
        return building.library((source,), (*COMMAND, *building.ANY_ORDER, str(source)), versions())

    def __init__(self) -> None:
        self.built = self.library()
        self.function = function(self.built.path)

    def start_compiler(self) -> float:
        """What Pythran and the compiler took, for every problem."""
        return self.built.build_s

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Allocate the gradients, and what else a step writes."""
        super().prepare(batch, problem, regime)
        X, y, G1, gamma, beta, G2 = self.batch
        if gamma is None:
            gamma, beta = np.zeros((2, problem.p2), X.dtype)
        p1, p2 = problem.p1, problem.p2
        self.gradients = [np.zeros((p1, p2), X.dtype), *np.zeros((3, p2), X.dtype)]
        conventions = problem.normalization == "batch", problem.ddof, problem.eps
        self.compute = functools.partial(
            self.function, CODES[problem.activation], X, y, G1, gamma, beta, G2, *conventions,
            *self.scratch(problem, X.dtype), *self.gradients,
        )  # fmt: skip

    def scratch(self, problem: Problem, dtype: np.dtype) -> list[Any]:
        """X̂, A and D, s and ε̂."""
        return [*np.zeros((3, problem.p2, problem.N), dtype), np.zeros(problem.p2, dtype), np.zeros(problem.N, dtype)]

    def step(self) -> None:
        """One call of the compiled function."""
        self.loss = self.compute()

    def details(self) -> dict[str, str]:
        """Pythran and the compiler."""
        return {"compiler": f"Pythran {importlib.metadata.version('pythran')}, {building.compiler()}"}

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        gradients = Gradients(self.loss, *(array.copy() for array in self.gradients))
        return gradients if self.batch.gamma is not None else gradients._replace(dgamma=None, dbeta=None)


class MatrixPythran(LoopsPythran):
    """The matrix form in NumPy's words, compiled by Pythran and g++; products by OpenBLAS."""

    name = "matrix-pythran"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z = 4

    @classmethod
    def unavailable(cls) -> str:
        """As for the loops, or no BLAS that Pythran can use."""
        return super().unavailable() or missing("scipy_openblas64", "native")

    @classmethod
    def library(cls) -> building.Library:
        """The library, which finds OpenBLAS where its package lies."""
        source, blas = FOLDER / "matrix.py", importlib.metadata.version("scipy-openblas64")
        command = (*COMMAND, *BLAS, "-DUSE_XSIMD", *building.ANY_ORDER, str(source))
        return building.library((source,), command, (*versions(), blas))

    def scratch(self, problem: Problem, dtype: np.dtype) -> list[Any]:
        """X̂ and D."""
        return [*np.zeros((2, problem.N, problem.p2), dtype)]


def versions() -> tuple[str, ...]:
    """What the built code depends on besides the compiler."""
    return sys.version, np.__version__, importlib.metadata.version("pythran")


@functools.cache
def function(path: Path) -> Any:
    """The function `step` of a module that Pythran built; its name is the source's."""
    name = path.name.rpartition("-")[0]
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
    loader.exec_module(module)
    return module.step
