"""What each form costs: `python tests/benchmarks/costs.py`, nothing else on. Prints a Markdown table.

Times are medians at five shapes, float64, ReLU, all forms sampled in turn. Lines are those of the step's own source,
without blank ones, comments and docstrings, and without what calls it. Build is what a process compiles that runs one
shape, the longest of the five: of a compiler other than Numba's, the seconds of its whole build. MB are those of the
packages that a form needs, with all that they depend on; of Debian's, without the system's own.
"""

import argparse
import ast
import functools
import importlib.metadata
import io
import math
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pandas as pd
from packaging.requirements import Requirement

import bnbench
from bnbench.measure.cell import Scope
from bnbench.measure.plan import Plan
from bnbench.measure.scheduler import Events, Sweep
from bnbench.report.units import seconds
from bnbench.variants import variants

SIZES = "10x7x4", "64x512x512", "3000x100x1", "10000x32x64", "100000x32x64"
PACKAGE = Path(bnbench.__file__).parent
SOURCES = {  # of the step itself, by form
    "loops-python": ["variants/loops_python.py"],
    "loops-numba": ["variants/loops_kernel.py", "elementary.py"],
    "loops-numba-parallel": ["variants/loops_kernel.py", "elementary.py"],
    "matrix-numpy": ["variants/matrix_numpy.py"],
    "matrix-numba": ["variants/matrix_kernels.py", "elementary.py"],
    "matrix-kronecker": ["variants/matrix_kronecker.py"],
    "fused-numba": ["fused/*.py", "elementary.py"],
    "loops-cpp": ["variants/cpp/loops.cpp", "variants/cpp/step.hpp"],
    "matrix-eigen": ["variants/cpp/matrix.cpp", "variants/cpp/step.hpp"],
    "loops-pythran": ["variants/pythran/loops.py"],
    "matrix-pythran": ["variants/pythran/matrix.py"],
    "autograd": ["definition.py"], "torch-eager": ["definition.py"], "torch-compile": ["definition.py"],
    "jax-jit": ["definition.py"], "tensorflow-xla": ["definition.py"],
    "r-matrix": ["variants/r/peer.R"], "r-loop": ["variants/r/peer.R"], "rcpp-loop": ["variants/r/loops.cpp"],
}  # fmt: skip
NUMBA, COMPILER = ("numba", "scipy"), ("g++",)
NEEDS = {  # Python's packages, and Debian's, by form
    "loops-python": ((), ()),
    "matrix-numpy": (("numpy",), ()), "matrix-kronecker": (("numpy",), ()),
    "loops-cpp": ((), COMPILER), "matrix-eigen": ((), (*COMPILER, "libeigen3-dev")),
    "loops-pythran": (("pythran",), COMPILER), "matrix-pythran": (("pythran", "scipy-openblas64"), COMPILER),
    "autograd": (("autograd",), ()), "torch-eager": (("torch",), ()), "torch-compile": (("torch",), COMPILER),
    "jax-jit": (("jax",), ()), "tensorflow-xla": (("tensorflow-cpu",), ()),
    "r-matrix": ((), ("r-base-core",)), "r-loop": ((), ("r-base-core",)),
    "rcpp-loop": ((), ("r-base-core", "r-cran-rcpp")),
}  # fmt: skip
OF_THE_SYSTEM = {"required", "important", "standard"}


def lines(form):
    """Lines of code of a form's own source."""
    paths = [path for pattern in SOURCES[form] for path in sorted(PACKAGE.glob(pattern))]
    return sum((python_lines if path.suffix == ".py" else other_lines)(path.read_text("utf-8")) for path in paths)


def python_lines(text):
    """Lines of Python with code in them."""
    kept = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            kept.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            kept -= set(range(node.lineno, node.end_lineno + 1))  # a docstring
    return len(kept)


def other_lines(text):
    """Lines of C++ or R with code in them."""
    return sum(bool(line.strip()) and not re.match(r"\s*(//|#(?!\s*(include|define|if|endif|pragma)\b))", line)
               for line in text.splitlines())  # fmt: skip


@functools.cache
def python_bytes(name):
    """Bytes of an installed distribution's own files; None where it is not installed."""
    try:
        files = importlib.metadata.files(name) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    return sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file())


def python_packages(names):
    """These distributions and all that they require here."""
    found, todo = set(), list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found or python_bytes(name) is None:
            continue
        found.add(name)
        required = map(Requirement, importlib.metadata.requires(name) or ())
        todo += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def debian_bytes(names):
    """Bytes of these packages of Debian's and all that they depend on here; NaN where one of them is missing."""
    if not names:
        return 0
    try:
        form = "${Package}\t${Provides}\t${Priority}\t${Installed-Size}\t${Pre-Depends}, ${Depends}\n"
        said = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return math.nan
    installed, provided = {}, {}
    for line in said.splitlines():
        package, provides, priority, size, depends = line.split("\t")
        installed[package] = priority, int(size or 0), words(depends)
        provided |= dict.fromkeys(words(provides), package)
    found, todo = set(), list(names)
    if not set(names) <= installed.keys():
        return math.nan
    while todo:
        package = todo.pop()
        package = package if package in installed else provided.get(package)
        if package and package not in found and installed[package][0] not in OF_THE_SYSTEM:
            found.add(package)
            todo += installed[package][2]
    return 1024 * sum(installed[package][1] for package in found)


def words(text):
    """The packages that a field names, alternatives too."""
    return [part.split()[0].partition(":")[0] for part in re.split("[,|]", text) if part.strip()]


def megabytes(form):
    """MB that a form takes to install."""
    packages, debian = NEEDS.get(form, (NUMBA, ()))
    return (sum(map(python_bytes, python_packages(packages))) + debian_bytes(debian)) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--variants", nargs="+", help="all that run on this machine's processor, if not said")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sampling", type=float, default=1.0, help="seconds for a variant at a shape")
    parser.add_argument("--timeout", type=float, default=120.0)
    asked = parser.parse_args()
    here = [name for name in SOURCES if name in (asked.variants or SOURCES) and not variants()[name].unavailable()]
    plan = Plan(
        sizes=tuple(asked.sizes), threads=(asked.threads,), variants=tuple(here), sampling_s=asked.sampling,
        timeout=asked.timeout,
    )  # fmt: skip
    told = Events(cell=lambda place, left: print(f"\r{place + 1} of {len(plan.cells())}", end="", file=sys.stderr))
    with Sweep(plan, lambda record: record, scope=Scope(limit=False, derivation=False), events=told) as sweep:
        records = sweep.run()
    print(file=sys.stderr)
    rows = {name: {} for name in here}
    for record in records:
        size = " × ".join(map(str, record.cell.sizes))
        rows[record.variant][size] = seconds(*record.interval) if record.timed else record.status
    for name, row in rows.items():
        build = [record.compile_s for record in records if record.variant == name and record.compile_s is not None]
        row |= {"lines": lines(name), "build s": f"{max(build, default=0):.1f}", "MB": f"{megabytes(name):.0f}"}
    sizes = [size.replace("x", " × ") for size in asked.sizes]
    table = pd.DataFrame.from_dict(rows, orient="index")[[*sizes, "lines", "build s", "MB"]]
    print(table.to_markdown(colalign=("left", *["right"] * len(table.columns)), disable_numparse=True))


if __name__ == "__main__":
    main()
