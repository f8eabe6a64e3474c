"""`r-matrix`, `r-loop` and `rcpp-loop`: the step in R, timed inside one R process that this one drives."""

import atexit
import functools
import itertools
import json
import os
import shutil
import subprocess
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import LOSSES, Batch, Gradients, Problem
from bnbench.temporary import TemporaryFolder
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, SIMPLEST, Variant

FOLDER = Path(__file__).parent / "r"
WORDS = itertools.count()
STARTING = threading.Lock()
INSTALL = "Debian: apt-get install r-base-core r-cran-bench r-cran-rcpp"
ASK = """
has <- function(name) requireNamespace(name, quietly = TRUE)

path <- tryCatch(normalizePath(extSoftVersion()[["BLAS"]]), error = function(e) "")
cat(sprintf('{"version": "%s.%s", "blas": "%s", "rcpp": %s}', R.version$major, R.version$minor,
    if (nzchar(path)) basename(path) else "R's own", tolower(has("Rcpp"))))
"""


@functools.cache
def installation() -> dict:
    """Version of R, the file of its BLAS, and whether Rcpp is there; empty without a working Rscript."""
    if shutil.which("Rscript") is None:
        return {}
    try:
        said = subprocess.run(
            ["Rscript", "--vanilla", "-e", ASK], capture_output=True, encoding="utf-8", timeout=60, check=True
        )
        return json.loads(said.stdout)
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError):
        return {}


class Session:
    """One R process for a form of the step; a word identifies each problem in it.

    Whoever sends several lines in a row, or reads and writes files in between, holds `turns`.
    """

    def __init__(self, form: str) -> None:
        self.folder = TemporaryFolder()
        files = FOLDER / "peer.R", form, self.folder.path, FOLDER / "loops.cpp"
        command = ["Rscript", "--vanilla", *map(str, files)]
        environment = os.environ | {"TMPDIR": str(self.folder.path)}  # R has a folder of its own, which a kill leaves
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment
        )
        self.turns, self.owner = threading.RLock(), os.getpid()
        self.done_with: list[str] = []  # problems that R may forget
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.ears, self.mouth = self.process.stdin, self.process.stdout
        atexit.register(self.end)
        self.ask("drop nothing")  # R has started when it answers

    def ask(self, line: str) -> str:
        """R's answer to a line.

        Raises:
            RuntimeError: R answered with an error, or ended.
        """
        with self.turns:
            while self.done_with:
                self.answer(f"drop {self.done_with.pop()}")
            return self.answer(line)

    def answer(self, line: str) -> str:
        """R's answer, for the holder of `turns`."""
        try:
            self.ears.write(line + "\n")
            self.ears.flush()
        except OSError as error:
            raise RuntimeError("R: the process ended") from error
        said = self.mouth.readline().strip()
        if not said or said.startswith("error:"):
            raise RuntimeError(f"R: {said.removeprefix('error:').strip() or 'the process ended'}")
        return said

    def end(self) -> None:
        """End the process and remove its files, unless this is a forked child: they are its parent's."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
            self.folder.remove()


@functools.cache
def session_of(form: str, process: int) -> Session:
    """The session of a form of the step in one process of ours."""
    return Session(form)


def session(form: str) -> Session:
    """The session of a form of the step, started when it is first needed, and anew in a forked child."""
    with STARTING:
        return session_of(form, os.getpid())


class RMatrix(Variant):
    """The matrix form in R: %*%, crossprod, sweep and colSums, on the BLAS that this R links."""

    name = "r-matrix"
    family = "matrix"
    formula = formulas.MATRIX
    form = "matrix"
    own_memory = False
    arrays_like_X, arrays_like_Z = 3, 10
    supports: ClassVar[Mapping[str, Any]] = MappingProxyType({**ANY_NETWORK, "depth": (1,)})

    @classmethod
    def unavailable(cls) -> str:
        """No Rscript."""
        return "" if installation() else f"Rscript is not found; {INSTALL}"

    @classmethod
    def unsupported(cls, problem: Problem, regime: str) -> str:
        """R has no single precision."""
        return cls.declines(problem) or ("" if problem.dtype == "float64" else "R computes in float64 alone")

    def __init__(self) -> None:
        self.session = session(self.form)
        self.word = f"p{next(WORDS)}"
        weakref.finalize(self, self.session.done_with.append, self.word).atexit = False  # told with the next line

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Hand the arrays to R, once."""
        super().prepare(batch, problem, regime)
        normalization, zeros = problem.normalization, np.zeros(problem.p2)
        gamma, beta = (zeros, zeros) if normalization == "none" else (batch.gamma, batch.beta)
        mean, variance = batch.statistics or (zeros, zeros)
        head = (
            problem.N, problem.p1, problem.p2, CODES[problem.activation], normalization == "batch", problem.ddof,
            problem.eps, normalization == "frozen", LOSSES.index(problem.loss), problem.linear, problem.units,
        )  # fmt: skip
        W, delta = (batch.W.T, batch.delta) if problem.linear else ((), ())
        unit = batch.units if problem.units else np.zeros(problem.N)
        parts = head, batch.X.T, batch.y, batch.G1.T, gamma, beta, batch.G2, mean, variance, W, delta, unit
        with self.session.turns:
            path = self.session.folder.path / "in"
            with open(path, "wb") as at:
                for part in parts:
                    np.ascontiguousarray(part, np.float64).tofile(at)
            self.session.ask(f"prepare {self.word}")
            path.unlink()  # R has read it: no copy of the data is left by a kill

    def start_compiler(self) -> float:
        """What R compiles serves every problem."""
        return float(self.session.ask(f"compile {self.word}"))

    def step(self) -> None:
        """One step in R, including the round trip to its process."""
        self.time(1)

    def time(self, count: int) -> float:
        """Seconds that `count` steps take by R's clock."""
        return float(self.session.ask(f"step {self.word} {count}"))

    def details(self) -> dict[str, str]:
        """R and its BLAS."""
        installed = installation()
        name = installed["blas"]
        return {
            "R": installed["version"],
            "BLAS of R": name + " (reference BLAS)" * name.startswith("libblas"),
        }

    def result(self) -> Gradients:
        """What R wrote of its last step."""
        problem = self.problem
        p1, p2, affine = problem.p1, problem.p2, problem.p2 * (problem.normalization != "none")
        with self.session.turns:
            self.session.ask(f"result {self.word}")
            numbers = np.fromfile(self.session.folder.path / "out")
        ends = np.cumsum([1, p1 * p2, affine, affine, p2, problem.linear])
        loss, dG1, *rest = np.split(numbers, ends)
        dgamma, dbeta, dG2, ddelta, alpha = (part if part.size else None for part in rest)
        return Gradients(loss[0], dG1.reshape(p2, p1).T, dgamma, dbeta, dG2, ddelta=ddelta, alpha=alpha)


class RLoop(RMatrix):
    """Node by node in R's interpreter, with its vector arithmetic along the rows."""

    supports = SIMPLEST
    name = "r-loop"
    family = "loops"
    formula = formulas.LOOPS
    form = "loop"


class RcppLoop(RMatrix):
    """Node by node in C++, called from R through Rcpp: what R's users turn to when a loop is too slow."""

    supports = SIMPLEST
    name = "rcpp-loop"
    family = "loops"
    formula = formulas.LOOPS
    form = "rcpp"
    compile_allowance_s = 120.0

    @classmethod
    def unavailable(cls) -> str:
        """No Rscript, or no Rcpp."""
        reason = super().unavailable()
        if not reason and not installation()["rcpp"]:
            reason = f"R has no package Rcpp; {INSTALL}"
        return reason
