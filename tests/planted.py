"""Bugs to plant over all rooms, one by one: does the default test run find each? `python tests/planted.py [NAME ...]`.

Each is planted in a copy of the repository, in which the named tests run until the first fails, in two copies at once;
the answer is a line a bug, and exit code 1 where one was not found. `tests/unit/test_planted.py` sees that they apply.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PLACES = "tests/unit/test_planted.py"  # which sees every bug, for its place is gone
COPIED = ("bnbench", "tests", "pyproject.toml", "README.md", "results")


class Bug(NamedTuple):
    """A mistake: in a file of the package the text `was` becomes `is_`; `tests` are those that should find it."""

    file: str
    was: str
    is_: str
    tests: str


BUGS = {
    # problem, arrays, library
    "ddof as large as N": Bug(
        "problem.py", "if self.N <= self.ddof:", "if self.N < self.ddof:", "unit forms/test_library.py"
    ),
    "drawn data of one stream": Bug(
        "problem.py", "of_gamma, of_beta = (2, 4, 5)", "of_gamma, of_beta = (0, 4, 5)", "unit cli/test_sweep.py forms"
    ),
    "masks dropped": Bug(
        "arrays.py", "if np.ma.isMaskedArray(part) and", "if False and", "unit/test_arrays.py forms/test_library.py"
    ),
    "a y of another length": Bug(
        "arguments.py", "if y.shape != X.shape[:1]:", "if y.ndim != 1:", "forms/test_library.py"
    ),
    "X not copied by prepare": Bug(
        "arguments.py",
        'np.array(array, dtype, order="C") if copy else',
        "np.ascontiguousarray(array, dtype) if copy else",
        "forms/test_library.py forms/test_calls.py",
    ),
    "no turns for threads": Bug(
        "library.py", "threading.RLock()", '__import__("contextlib").nullcontext()', "forms/test_calls.py"
    ),
    "an underflowing variance let through": Bug(
        "scale.py",
        '((bits < least) & ~negligible, "less")',
        '((bits < -9999) & ~negligible, "less")',
        "forms/test_digits.py forms/test_library.py unit",
    ),
    "effects in the order of a set": Bug(
        "arguments.py", "labels = sorted(found)", "labels = list(found)", "forms/test_structured_head.py"
    ),
    "a loss in PyTorch that is not scaled backward": Bug(
        "torch.py",
        "*(upstream * slope for slope in ctx.saved_tensors)",
        "*(slope for slope in ctx.saved_tensors)",
        "peers/test_losses.py",
    ),
    "a loss in JAX that is not scaled backward": Bug(
        "jax.py", "tuple(upstream * slopes[name] if", "tuple(slopes[name] if", "peers/test_losses.py"
    ),
    "means of the batch for those of units, in R": Bug(
        "variants/r/peer.R",
        "effect = function(y, eta, unit) sums(y - eta, unit) / tabulate(unit)",
        "effect = function(y, eta, unit) 0 * sums(y, unit) + mean(y - eta)",
        "peers/test_peers.py",
    ),
    "a mistake of the head that is none": Bug(
        "audit/edits.py", "return values - D @", "return values - 0 * D @", "forms/test_mistakes_panel.py"
    ),
    # compiled code
    "a key without what a closure holds": Bug(
        "jit.py",
        "for cell in function.__closure__ or ():",
        "for cell in ():",
        "forms/test_jit.py",
    ),
    "a damaged file of the cache taken": Bug(
        "codecache.py",
        "return content if hashlib.sha256(content).digest() == checksum else None",
        "return content",
        "forms/test_jit.py",
    ),
    "settings of Numba left out of the key": Bug(
        "codecache.py",
        "codegen.magic_tuple(), VERSIONS, vectors(), settings()",
        "codegen.magic_tuple(), VERSIONS, vectors()",
        "forms/test_jit.py",
    ),
    "tanh of a half": Bug("elementary.py", "u = two * abs(x)", "u = abs(x)", "forms/test_elementary.py"),
    "sigmoid without its slope's second factor": Bug(
        "activations.py",
        "return v * (m.number(v, 1) - v)",
        "return v",
        "forms/test_library.py forms/test_validation.py",
    ),
    # kernels
    "loops: N for N - ddof through s": Bug(
        "variants/loops_kernel.py",
        "number(dg / (N - ddof))",
        "number(dg / N)",
        "forms/test_library.py forms/test_everyone.py",
    ),
    "loops: the last block of rows left out": Bug(
        "variants/loops_kernel.py",
        "N = eta.size\n        for block in prange((N + ROWS - 1) // ROWS)",
        "N = eta.size\n        for block in prange(max(1, N // ROWS))",
        "forms",
    ),
    "matrix: eps outside the root": Bug(
        "variants/matrix_numpy.py",
        "/ divisor + eps).astype",
        "/ divisor).astype",
        "forms/test_library.py forms/test_kronecker.py",
    ),
    "matrix: X without its offset taken off": Bug(
        "variants/matrix_numpy.py",
        "np.where(np.abs(xbar) > 2 * np.ptp(X, axis=0), xbar, 0)",
        "np.where(np.abs(xbar) > np.inf, xbar, 0)",
        "forms/test_digits.py",
    ),
    "kronecker: no term through the mean": Bug(
        "variants/matrix_kronecker.py",
        "identity(N, Xhat.dtype) - Xhat.dtype.type(1 / N)",
        "identity(N, Xhat.dtype)",
        "forms/test_kronecker.py",
    ),
    "fused: a group's last block of rows is taken whole": Bug(
        "fused/stored.py",
        "forward(of, start, count, cols, over_N)",
        "forward(of, start, max(1, count - 1), cols, over_N)",
        "forms/test_fused.py",
    ),
    "fused: groups merged without their distance": Bug(
        "fused/passes.py",
        "change * change * count * more / (count + more)",
        "0.0",
        "forms/test_fused.py",
    ),
    "fused: one pass keeps what cancels": Bug(
        "fused/layout.py", "CANCELLED = 2.0**-7", "CANCELLED = 0.0", "forms/test_fused.py forms/test_digits.py"
    ),
    "fused: groups hang on the number of threads": Bug(
        "fused/layout.py",
        "if groups <= max(1, most))",
        "if groups <= max(1, most) * __import__('numba').get_num_threads() / 2)",
        "forms/test_fused.py",
    ),
    "fused: scratch said to be half": Bug(
        "variants/fused_numba.py",
        "needs = scratch_places(problem, plan, regime)[1]",
        "needs = scratch_places(problem, plan, regime)[1] // 2",
        "forms/test_memory.py",
    ),
    "cuda: the offset of X kept": Bug(
        "cuda/steps.py", "self.per_node.copy_to_device(self.host_per_node)", "None", "forms/test_cuda.py"
    ),
    "jax: parameters of before": Bug(
        "variants/peer_jax.py",
        "        self.load_in_place(*parameters)\n        self.put_parameters()",
        "        self.load_in_place(*parameters)",
        "peers",
    ),
    "torch: softplus is b beyond 20": Bug(
        "definition.py",
        "F.softplus(b, threshold=50.0)",
        "F.softplus(b)",
        "peers",
    ),
    "torch: the biased variance": Bug(
        "variants/peer_torch.py",
        "Z.var(dim=0, correction=spec.ddof)",
        "Z.var(dim=0, correction=0)",
        "peers",
    ),
    "tensorflow: the biased variance": Bug(
        "variants/peer_tensorflow.py",
        "variance * (Z.shape[0] / (Z.shape[0] - spec.ddof))",
        "variance",
        "peers",
    ),
    "autograd: effects that are computed from what they shift": Bug(
        "definition.py",
        "alpha = effects(spec.loss, data.y, m.held(eta), D, m)",
        "alpha = m.held(effects(spec.loss, data.y, eta, D, m))",
        "peers",
    ),
    "r: the sample's variance": Bug(
        "variants/r/peer.R",
        "s <- sqrt(colSums(Zc^2) / (N - ddof) + eps)",
        "s <- sqrt(colSums(Zc^2) / N + eps)",
        "peers",
    ),
    # the formula, the definition, losses
    "N for N - ddof in a deep layer": Bug(
        "formula.py",
        "k.s_term = k.Xhat * (k.dgamma / (k.N - spec.ddof))",
        "k.s_term = k.Xhat * (k.dgamma / k.N)",
        "unit/test_definition.py",
    ),
    "frozen statistics moved by the weights": Bug(
        "formula.py",
        "        if k.frozen:\n            k.dZ",
        "        if False:\n            k.dZ",
        "unit/test_definition.py",
    ),
    "an effect of the rows, not of their mean": Bug(
        "losses.py",
        "m.by_unit(y - eta, unit, units) / rows_of(unit, units)",
        "m.by_unit(y - eta, unit, units)",
        "unit/test_definition.py",
    ),
    "a kink above its layer alone": Bug(
        "reference/network.py", "for lower in reversed(range(place)):", "for lower in ():", "forms/test_networks.py"
    ),
    "an edit that does nothing": Bug(
        "audit/mistakes.py",
        '{"scale": times(lambda k: k.layer.gamma)}',
        '{"scale": times(1)}',
        "unit/test_definition.py",
    ),
    "a mistake planted in the wrong layer": Bug(
        "audit/mistakes.py",
        "((layer, mistake.edits)",
        "((layers - 1 - layer, mistake.edits)",
        "forms/test_mistakes_networks.py",
    ),
    "units in the order of their rows": Bug(
        "arguments.py", "labels = sorted(found)", "labels = list(dict.fromkeys(rows))", "forms/test_network_calls.py"
    ),
    # what judges
    "the reference without the low halves": Bug(
        "reference/doubledouble.py",
        "return quick_two_sum(ph, pl + fma(al, bh, fma(ah, bl, al * bl)))",
        "return quick_two_sum(ph, pl + fma(al, bh, ah * 0))",
        "forms/test_doubledouble.py",
    ),
    "sums that round by nothing": Bug(
        "reference/rounding.py",
        "return Rounded(self.rounding(None, v, scale=sizes, root=n**0.5), self.rounding, sizes, n**0.5)",
        "return Rounded(self.rounding(None, v, unit=0.0), self.rounding)",
        "forms/test_networks.py",
    ),
    "a run on its own side of a kink": Bug(
        "reference/network.py",
        'AS_WRITTEN | ({"slope": as_exact} if kinked else {})',
        "AS_WRITTEN",
        "forms/test_reference.py",
    ),
    "a kink that leaves s alone": Bug(
        "reference/network.py",
        "given = given - mean - np.outer(Xhat, slope[:, node])",
        "given = given - mean",
        "forms/test_reference.py",
    ),
    "invalid from twice the tolerance on": Bug(
        "validation.py",
        'if errors[worst]["ratio"] < 1:',
        'if errors[worst]["ratio"] < 1e4:',
        "forms/test_validation.py unit",
    ),
    "one derivation problem of seven": Bug(
        "validation.py", "DERIVATIONS = len(DERIVATION_KINDS)", "DERIVATIONS = 1", "forms/test_validation.py"
    ),
    "a formula that raised once is right": Bug(
        "audit/findings.py",
        "all(case.correct for case in self.answered)",
        "any(case.correct for case in self.answered)",
        "forms/test_mistakes.py unit",
    ),
    # what measures
    "a median of the wrong rank": Bug(
        "measure/statistics.py",
        "return float(np.median(x[split:]) / np.median(x[:split]))",
        "return float(np.median(x[split:]) / np.median(x))",
        "unit/test_statistics.py",
    ),
    "others' time not less one's own": Bug("measure/interference.py", "- (later.own_s - self.own_s) if", "if", "unit"),
    "a smaller cell that timed out forgotten": Bug(
        "measure/forecast.py",
        'elif record.status == "timeout":',
        'elif record.status == "crashed":',
        "cli/test_sweep.py",
    ),
    "warm-up taken for a sample": Bug(
        "measure/worker.py",
        "took = self.time(inner_loops) / inner_loops",
        "took = self.time(inner_loops) / (inner_loops + 1)",
        "cli/test_sweep.py",
    ),
    "calibration's sample without its accounts": Bug(
        "measure/worker.py", '"samples": [first]', '"samples": [first.step_s]', "cli/test_workers.py"
    ),
    "what a variant writes to is not seen": Bug(
        "measure/given.py", "if then != now)", "if then == '')", "cli/test_workers.py"
    ),
    # layers, formulas, the proof
    "a small mistake in a layer passes": Bug(
        "audit/layer/answers.py", "DOUBLE, SINGLE = 1e-8, 1e-3", "DOUBLE, SINGLE = 1e-3, 1e-3", "unit/test_layers.py"
    ),
    "a layer tried at one eps alone": Bug(
        "audit/layer/trials.py",
        "trials += [self.draw(width, 6, ordinary, OTHER_EPS), self.draw(width, 7, 0.4 * ordinary, OTHER_EPS)]",
        "pass",
        "unit/test_layers.py",
    ),
    "a derivation check deaf to ddof and eps": Bug(
        "validation.py",
        "ddof, eps = own_ddof if ddof is None else ddof, own_eps if eps is None else eps",
        "ddof, eps = own_ddof, own_eps",
        "forms/test_conventions.py",
    ),
    "an axiom let through": Bug("proof/check.py", "if axiom not in ALLOWED:", "if False:", "forms/test_proof.py"),
    # running and population statistics
    "momentum on the other side": Bug(
        "running/conventions.py",
        'return 1 - momentum if self.momentum_of == "old" else momentum',
        "return momentum",
        "unit/test_identification.py",
    ),
    "m for m - 1 in a running variance": Bug(
        "running/average.py", "batch.spread / max(m - held.ddof, 1)", "batch.spread / m", "unit/test_identification.py"
    ),
    "batches pooled without the spread between them": Bug(
        "running/moments.py",
        "self.spread + spread + step * step *",
        "self.spread + spread + 0 *",
        "forms/test_population.py",
    ),
    "a layer frozen without eps": Bug(
        "running/exact.py", "np.sqrt(var + eps)", "np.sqrt(var)", "forms/test_population.py"
    ),
    "a tolerance that lets other conventions in": Bug(
        "running/identification.py", "ROUNDINGS = 32", "ROUNDINGS = 32e8", "unit/test_identification.py"
    ),
    "a momentum that is sought at one end alone": Bug(
        "running/identification.py",
        "np.linspace(-18, 18, 361)",
        "np.linspace(2, 18, 361)",
        "unit/test_identification.py",
    ),
    # what keeps and says
    "half a record left by a full disk": Bug(
        "store.py", "os.truncate(self.path, self.size)  # no half of a line", "pass", "unit/test_folder.py"
    ),
    "somebody's file overwritten": Bug(
        "folder.py", "if not os.path.lexists(path) or self._is_as_written(name):", "if True:", "unit/test_folder.py cli"
    ),
    "a regression in memory passes": Bug(
        "compare/verdicts.py",
        "or WORSE in (self.validity, self.errors, self.memory)",
        "or WORSE in (self.validity, self.errors)",
        "cli/test_compare.py unit",
    ),
    "no correction for many cells": Bug(
        "compare/verdicts.py",
        "adjusted = iter(false_discovery_control([moved.p for moved in shifts if moved]))",
        "adjusted = iter([moved.p for moved in shifts if moved])",
        "cli/test_compare.py unit",
    ),
    "a crossover taken linearly": Bug(
        "report/analysis.py",
        "x, y = np.log(np.asarray(N, float)[order]), np.log(np.asarray(ratio, float)[order])",
        "x, y = np.log(np.asarray(N, float)[order]), np.asarray(ratio, float)[order] - 1",
        "unit",
    ),
    "a digit that the interval does not bear": Bug(
        "report/units.py",
        "place = math.floor(math.log10((high - low) / 2))",
        "place = math.floor(math.log10((high - low) / 200))",
        "unit",
    ),
    "an empty file name taken": Bug(
        "cli.py", 'if "" in (given if isinstance(given, list) else [given]):', "if False:", "unit/test_streams.py"
    ),
    "an invalid variant ends with 0": Bug(
        "record.py", 'FAULTS = ("invalid", "failed", "crashed")', 'FAULTS = ("failed", "crashed")', "cli unit"
    ),
    # estimators
    "a bias node that learns": Bug(
        "estimators/solvers.py",
        "self.gradient *= self.free",
        "pass",
        "forms/test_estimators.py peers/test_fits.py",
    ),
    "a penalty on the intercept": Bug(
        "estimators/parameters.py",
        "parts.G[-1][:, -1] = parts.out[-1] = 0",
        "parts.G[-1][:, -1] = 0",
        "forms/test_estimators.py",
    ),
    "scores that are not added up in a unit": Bug(
        "estimators/inference.py",
        "np.bincount(clusters, column) for",
        "np.bincount(np.arange(N), column) for",
        "forms/test_estimators.py peers/test_fits.py",
    ),
    "minibatches that split a unit": Bug(
        "estimators/solvers.py",
        "    if unit is None:\n        while True:",
        "    if True:\n        while True:",
        "forms/test_estimators.py",
    ),
    "the last parameters for the best": Bug(
        "estimators/solvers.py", "self.best_theta[...] = self.theta", "pass", "forms/test_estimators.py"
    ),
}


def planted(bug: Bug, folder: Path):
    """A copy of the repository with the bug in it."""
    for name in COPIED:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignored) if source.is_dir() else shutil.copy(source, folder)
    path = folder / "bnbench" / bug.file
    text = path.read_text(encoding="utf-8")
    assert text.count(bug.was) == 1, f"{bug.file} has {bug.was!r} {text.count(bug.was)} times"
    path.write_text(text.replace(bug.was, bug.is_), encoding="utf-8")


def hunt(name: str) -> tuple[str, float]:
    """The first test that fails where the bug of that name is planted, or "", and the seconds until then."""
    bug, start = BUGS[name], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        planted(bug, Path(folder))
        tests = [f"tests/{each}" for each in bug.tests.split()]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--ignore={PLACES}", *tests]
        environment = os.environ | {"PYTHONPATH": folder, "XDG_CACHE_HOME": f"{folder}/cache"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        if not failed and done.returncode:
            failed = [f"pytest ended with {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"]
        return failed[0] if failed else "", time.monotonic() - start


def main(names: list[str]) -> int:
    """Hunt for the bugs of these names, or all."""
    missed = []
    with ThreadPoolExecutor(2) as pool:
        for name, (test, seconds) in zip(names, pool.map(hunt, names), strict=True):
            print(f"{name} ({seconds:.0f} s): {test or 'NOT FOUND'}", flush=True)
            missed += [] if test else [name]
    print(f"{len(names) - len(missed)} of {len(names)} found")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(BUGS)))
