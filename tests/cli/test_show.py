"""`show`: every source file is run as somebody who took it would, where there is no bnbench, against the reference."""

import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest

from bnbench import show
from bnbench.activations import DEFINITIONS
from bnbench.problem import LOSSES, NORMALIZATIONS
from bnbench.reference.network import of_network
from bnbench.variants.registry import HOMES

PACKAGES = {"numpy": "numpy", "numba": "numba", "autograd": "autograd", "pytorch": "torch", "jax": "jax"}  # by language
STEPS = {"loops-numba": 10, "loops-numba-parallel": 20, "jax-jit": 10}  # compile for seconds: of problems every so many
SLOW = ("torch-eager", "jax-jit", "matrix-eigen", "rcpp-loop")  # to import or compile: -m exhaustive
HERE = str(Path(np.__file__).parents[1])  # site-packages, of which an isolated Python reads no .pth
TAKEN = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "bnbench":
            raise ImportError("bnbench is imported")
sys.meta_path.insert(0, Refuse())
sys.path += sys.argv[2:]
import taken
made = list
if sys.argv[1] in ("numpy", "numba", "autograd"):
    from numpy import array as made
elif sys.argv[1] == "pytorch":
    from functools import partial
    import torch
    made = partial(torch.tensor, dtype=torch.float64)
elif sys.argv[1] == "jax":
    import jax
    jax.config.update("jax_enable_x64", True)
    made = jax.numpy.array
given = json.load(sys.stdin, object_hook=lambda held: made(held["array"]) if "array" in held else held)
found = [taken.gradients(*arrays, **more) for arrays, more in given]
json.dump(found, sys.stdout, default=lambda array: array.tolist())
"""


@functools.cache
def problems():
    """(theta, data, spec, lists or not): every pair of activation, statistics, loss and depth, with either ddof."""
    made = []
    for place, (activation, normalization) in enumerate(itertools.product(DEFINITIONS, NORMALIZATIONS)):
        a, n = divmod(place, 3)
        drawn = networks.network(
            place, layers=1 + (a + n) % 3, plain=True, activation=activation, normalization=normalization,
            loss=LOSSES[(a + 2 * n) % 3], ddof=(a + n) % 2,
        )  # fmt: skip
        made.append((*drawn, len(drawn[0].layers) > 1 or bool(a % 2)))
    gammas = [layer.gamma for theta, *_ in made for layer in theta.layers if layer.gamma is not None]
    assert sum((gamma < 0).any() for gamma in gammas) > 15
    return made


@functools.cache
def references():
    """The loss and every gradient, and how far each entry may be off, of every problem: flat, in order of the parts."""
    return [
        tuple(flat(one.loss, one.theta) for one in (known.high, known.allowed))
        for theta, data, spec, _ in problems()
        for known in [of_network(theta, data, spec)]
    ]


def flat(loss, theta):
    parts = [[part for part in column if part is not None] for column in zip(*theta.layers, strict=True)]
    return [np.asarray(part, float) for part in (loss, *itertools.chain(*parts), theta.out)]


def judge(found, step=1):
    """Fail where answers, a list of arrays for every step-th problem, are not those of the reference."""
    for problem, answer, (known, allowed) in zip(problems()[::step], found, references()[::step], strict=True):
        shapes = [part.shape for part in answer]
        assert shapes == [part.shape for part in known], problem[2]
        for place, parts in enumerate(zip(answer, known, allowed, strict=True)):
            here, true, allow = parts
            assert (np.abs(here - true) <= allow).all(), (place, problem[2], here, true)


def run(words, folder, **more):
    """A process without this one's environment variables for Python."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, **more)


def in_python(language, folder, step=1, **environment):
    """The answers of taken.py to every step-th problem, by a Python that has the installed packages, and no bnbench."""

    def tagged(part):
        if isinstance(part, np.ndarray):
            return {"array": part.tolist()}
        return [tagged(one) for one in part] if isinstance(part, list | tuple) else part

    given, asked = [], problems()[::step]
    for *drawn, deep in asked:
        arrays, more = networks.arguments(*drawn, deep=deep)
        more = {name: value for name, value in more.items() if name not in ("W", "delta", "units")}
        given.append((tagged(arrays), {name: tagged(value) for name, value in more.items()}))
    words = [sys.executable, "-I", "-S", "-c", TAKEN, language, str(folder), *[HERE] * (language != "python")]
    done = run(
        ["env", *(f"{name}={value}" for name, value in environment.items()), *words], folder, input=json.dumps(given)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = []
    for (*_, spec, deep), (loss, *columns, dG2) in zip(asked, json.loads(done.stdout), strict=True):
        if spec.normalization == "none":
            assert columns[1:] == [None, None]
        parts = [one for column in columns if column is not None for one in (column if deep else [column])]
        answers.append([np.array(part) for part in (loss, *parts, dG2)])
    return answers


def shaped(text):
    """Answers from lines of numbers: a matrix's column by column."""
    numbers, answers = iter(map(float.fromhex, text.split())), []
    for known, _ in references():
        parts = [np.array([next(numbers) for _ in range(part.size)]) for part in known]
        pairs = zip(parts, known, strict=True)
        answers.append([part.reshape(true.shape, order="F") for part, true in pairs])
    assert next(numbers, None) is None
    return answers


def in_R(load, folder):
    """The answers of a file that R loads."""

    def literal(part):
        if isinstance(part, list | tuple):
            return f"list({', '.join(map(literal, part))})"
        if isinstance(part, np.ndarray):
            numbers = f"c({', '.join(float(v).hex() for v in part.ravel(order='F'))})"
            return numbers if part.ndim == 1 else f"matrix({numbers}, {part.shape[0]}, {part.shape[1]})"
        return "NULL" if part is None else f"'{part}'" if isinstance(part, str) else repr(part)

    lines = [load]
    for *drawn, deep in problems():
        arrays, more = networks.arguments(*drawn, deep=deep)
        words = [literal(array) for array in arrays]
        words += [f"{name} = {literal(more[name])}" for name in more if name not in ("W", "delta", "units")]
        lines.append(f"writeLines(sprintf('%a', as.numeric(unlist(gradients({', '.join(words)})))))")
    (folder / "run.R").write_text("\n".join(lines))
    (folder / "Makevars").write_text("CXXFLAGS = -O0\nCXX17FLAGS = -O0\nCXX20FLAGS = -O0\n")
    done = run(["env", f"R_MAKEVARS_USER={folder}/Makevars", "Rscript", "--vanilla", "run.R"], folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return shaped(done.stdout)


MAIN = r"""
#include "taken.hpp"
#include <cstdio>
#include <iostream>
#include <string>
using namespace batchnorm;
double number() { std::string word; std::cin >> word; return std::stod(word); }
int whole() { return int(number()); }
Vector vector(int n) { Vector v(n); for (int i = 0; i < n; i++) v[i] = number(); return v; }
Matrix matrix(int n, int p) {
  Matrix M(n, p);
  for (int j = 0; j < p; j++) for (int i = 0; i < n; i++) M(i, j) = number();
  return M;
}
void print(double v) { std::printf("%a\n", v); }
int main() {
  for (int count = whole(); count > 0; count--) {
    Conventions c;
    c.activation = Activation(whole());
    c.normalization = Normalization(whole());
    c.loss = Loss(whole());
    c.ddof = whole();
    c.eps = number();
    const int N = whole();
    std::vector<int> widths(whole());
    for (int &width : widths) width = whole();
    const Matrix X = matrix(N, widths[0]);
    const Vector y = vector(N);
    std::vector<Layer> layers;
    for (size_t l = 1; l < widths.size(); l++) {
      const int p = widths[l];
      Layer layer;
      layer.G = matrix(widths[l - 1], p);
      if (c.normalization != Normalization::none) { layer.gamma = vector(p); layer.beta = vector(p); }
      if (c.normalization == Normalization::frozen) { layer.mean = vector(p); layer.variance = vector(p); }
      layers.push_back(layer);
    }
    const Gradients g = gradients(X, y, layers, vector(widths.back()), c);
    print(g.loss);
    for (size_t l = 1; l < widths.size(); l++)
      for (int j = 0; j < widths[l]; j++) for (int i = 0; i < widths[l - 1]; i++) print(g.layers[l - 1].G(i, j));
    for (const Layer &layer : g.layers) for (int j = 0; j < int(layer.gamma.size()); j++) print(layer.gamma[j]);
    for (const Layer &layer : g.layers) for (int j = 0; j < int(layer.beta.size()); j++) print(layer.beta[j]);
    for (int j = 0; j < widths.back(); j++) print(g.G2[j]);
  }
}
"""


def in_cpp(folder, *flags):
    """The answers of taken.hpp."""
    (folder / "main.cpp").write_text(MAIN)
    built = run(["g++", "-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", *flags, "main.cpp", "-o", "main"], folder)
    assert built.returncode == 0, built.stderr[-2000:]
    words = [len(problems())]
    for theta, data, spec, _ in problems():
        words += [list(DEFINITIONS).index(spec.activation), ["batch", "frozen", "none"].index(spec.normalization)]
        words += [LOSSES.index(spec.loss), spec.ddof, spec.eps, len(data.y), 1 + len(theta.layers), data.X.shape[1]]
        words += [layer.G.shape[1] for layer in theta.layers]
        parts = [data.X, data.y]
        for layer, given in itertools.zip_longest(theta.layers, data.statistics, fillvalue=()):
            parts += [part for part in (*layer, *given) if part is not None]
        words += itertools.chain(*(part.ravel(order="F") for part in (*parts, theta.out)))
    done = run(["./main"], folder, input=" ".join(float(word).hex() for word in words))
    assert done.returncode == 0, done.stderr
    return shaped(done.stdout)


def taken(command, name, folder, file):
    """The file that `show` writes."""
    done = command("show", name, "--out", folder / file)
    assert (done.returncode, done.stdout) == (0, f"Source: {folder / file}\n"), done
    return (folder / file).read_text("utf-8")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * (name in SLOW)) for name in show.SOURCES]
)
def test_a_source_without_bnbench_is_right(name, command, tmp_path):
    # catches: a file that imports the package, a gradient with a mistake (|γ|, N for N - ddof, frozen statistics that
    # something flows through, layers in the wrong order, a slope of one activation or loss), and what has drifted
    # from the formula
    language = show.SOURCES[name].language.lower()
    if language in ("r", "rcpp"):
        if shutil.which("Rscript") is None:
            pytest.skip("there is no Rscript")
        if language == "rcpp" and run(["Rscript", "-e", "library(Rcpp)"], tmp_path).returncode:
            pytest.skip("there is no Rcpp")
        file, load = ("taken.R", "source('taken.R')")
        if language == "rcpp":
            file, load = ("taken.cpp", "Rcpp::sourceCpp('taken.cpp', echo = FALSE)")
        taken(command, name, tmp_path, file)
        judge(in_R(load, tmp_path))
    elif language == "c++":
        eigen = Path("/usr/include/eigen3")
        if shutil.which("g++") is None or (name == "matrix-eigen" and not eigen.exists()):
            pytest.skip("there is no g++, or no Eigen")
        taken(command, name, tmp_path, "taken.hpp")
        judge(in_cpp(tmp_path, *["-isystem", str(eigen)] * (name == "matrix-eigen")))
    else:
        if language in PACKAGES:
            pytest.importorskip(PACKAGES[language])
        text = taken(command, name, tmp_path, "taken.py")
        assert ("PARALLEL = True" in text) == (name == "loops-numba-parallel")
        step = STEPS.get(name, 1)
        judge(in_python(language, tmp_path, step), step)
        if name == "loops-numba":  # the others without waiting for the compiler
            judge(in_python(language, tmp_path, NUMBA_DISABLE_JIT=1))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("import numpy", "import bnbench\nimport numpy"),
        ("(D - D.mean(axis=0))", "D"),
        ("(len(A) - ddof)", "len(A)"),
        ("B = gamma * Xhat", "B = abs(gamma) * Xhat"),
        ('if normalization == "frozen":\n        dZ', "if False:\n        dZ"),
        ("dA = backward(dA, *layer", "_ = backward(dA, *layer"),
        ("np.ones_like(b), 0.01)", "np.ones_like(b), 0.1)"),
    ],
)
def test_a_mistake_in_a_source_is_found(right, wrong, tmp_path):
    # catches: problems or a tolerance that let a mistake through, a process in which bnbench can be imported
    text = show.SOURCES["matrix-numpy"].text
    assert text.count(right) == 1
    (tmp_path / "taken.py").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(AssertionError, match="bnbench is imported" if "bnbench" in wrong else None):
        judge(in_python("numpy", tmp_path))


def test_a_source_says_its_conventions_and_licence():
    # catches: a file that leaves a reader to guess, a licence line that was lost
    for name, source in show.SOURCES.items():
        text = source.text
        for words in ("SPDX-License-Identifier: MIT", "eps is inside the root", "1/N is in every gradient", "N - ddof",
                      "slope of ReLU at 0 is 0", "frozen", "without a half"):  # fmt: skip
            assert words in text, (name, words)
        assert max(map(len, text.splitlines())) <= 120, name
    assert {source.file for source in show.SOURCES.values()} == {path.name for path in show.FOLDER.glob("*.*")}


def test_every_variant_is_shown_or_has_another_in_its_place(command):
    # catches: a new variant that `show` does not know, an advice that leads nowhere, a list that lacks one
    assert sorted([*show.SOURCES, *show.INSTEAD]) == sorted(HOMES)
    assert {other for other, _ in show.INSTEAD.values()} <= set(show.SOURCES)
    done = command("show")
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in HOMES if f"{name} " not in done.stdout] == []
    named = command("show", "--language", "r", "--json")
    assert {one["variant"] for one in json.loads(named.stdout)} == {"r-loop", "r-matrix"}


def test_show_prints_the_formula_apart_from_the_source(command):
    # catches: a formula in the middle of the code, a flag that gives another form, JSON without a part
    done = command("show", "loops-numba", "--language", "C++")
    assert done.stdout == show.SOURCES["loops-cpp"].text
    assert "dz_i = (γ_j/s)" in done.stderr
    told = json.loads(command("show", "matrix-numpy", "--json").stdout)
    assert list(told) == ["variant", "formula", "language", "source"]
    assert told["source"] == show.SOURCES["matrix-numpy"].text
    assert "∂R/∂Γ1 = XᵀdZ" in told["formula"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fused-numba",), "take loops-numba"),
        (("loops-cuda",), "take torch-eager"),
        (("no-such",), "there are sources of loops-python, "),
        (("loops-numba", "--language", "cobol"), "allowed are Python, Numba, "),
        (("matrix-numpy", "--language", "rcpp"), "there are R, C++, NumPy"),
        (("--out", "new.py"), "--out needs a VARIANT"),
        (("matrix-numpy", "--out", "mine.py"), "mine.py exists"),
    ],
)
def test_show_refuses_in_one_line(words, said, command, tmp_path, monkeypatch):
    # catches: a traceback, an error that does not say what is allowed, somebody's file overwritten
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("mine")
    done = command("show", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
    assert (tmp_path / "mine.py").read_text() == "mine"


def test_the_examples_of_the_page_run(command, tmp_path):
    # catches: an example that does not fit the files, or has an argument that they do not
    page = (show.FOLDER.parents[1] / "docs" / "show.md").read_text("utf-8")
    examples = {
        language: re.search(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)[1] for language in ("py", "r", "cpp")
    }
    taken(command, "matrix-numpy", tmp_path, "batchnorm.py")
    taken(command, "r-loop", tmp_path, "batchnorm.R")
    taken(command, "loops-cpp", tmp_path, "batchnorm.hpp")
    shape = "\nassert [part.shape for part in dG1] == [(5, 8), (8, 4)]"
    done = [run([sys.executable, "-c", examples["py"] + shape], tmp_path)]
    if shutil.which("Rscript"):
        done.append(run(["Rscript", "-e", examples["r"]], tmp_path))
    if shutil.which("g++"):
        done.append(run(["g++", "-std=c++17", "-fsyntax-only", "-xc++", "-"], tmp_path, input=examples["cpp"]))
    assert [one.stderr for one in done] == [""] * len(done)
