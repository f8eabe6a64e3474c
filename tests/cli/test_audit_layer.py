"""`audit --layer`, as a newcomer calls it."""

import json
import subprocess
import sys

from conftest import bnbench

LAYER = """
import numpy as np

def batchnorm_forward(x, gamma, beta, eps=1e-5):
    mu, var = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mu) / np.sqrt(var + eps)
    return gamma * xhat + beta, (x, xhat, mu, var, gamma, eps)

def batchnorm_backward(dout, cache):
    x, xhat, mu, var, gamma, eps = cache
    dxhat = dout * gamma
    return {dx}, np.sum(dout * xhat, axis=0), np.sum(dout, axis=0)
"""
RIGHT = "(dxhat - dxhat.mean(0) - xhat * (dxhat * xhat).mean(0)) / np.sqrt(var + eps)"


# catches: an exit code that says fine of a wrong layer; fields of the contract that --json lacks
def test_a_file_is_judged_in_its_own_conventions(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(LAYER.format(dx=RIGHT))
    found = bnbench("audit", "--layer", file)
    assert (found.returncode, found.stderr) == (0, "")
    assert "batchnorm_backward: right; ddof=0, eps=1e-5 inside the root" in found.stdout
    file.write_text(LAYER.format(dx=RIGHT.replace("- xhat", "+ xhat")))
    found = bnbench("audit", "--layer", file, "--json")
    assert found.returncode == 1
    answer = json.loads(found.stdout)
    assert answer["correct"] is False
    assert answer["findings"]["dx"].startswith("c = -1 where 1 belongs")
    assert answer["findings"]["dgamma"] == "right"


# catches: a file without a layer, an error in it or a wrong flag that ends in a traceback, or with 0 or 1
def test_what_cannot_be_judged_is_one_line_and_2(tmp_path):
    empty, broken, ends = tmp_path / "empty.py", tmp_path / "broken.py", tmp_path / "ends.py"
    empty.write_text("def forth(x): return x\n")
    broken.write_text("import numpy\nnumpy.nothing\n")
    ends.write_text(LAYER.format(dx="__import__('os')._exit(0)"))
    for arguments, words in (
        (("--layer", empty), "empty.py has no functions with forward and backward in their names"),
        (("--layer", broken), "line 2: numpy.nothing"),
        (("--layer", tmp_path / "none.py"), "there is no such file"),
        (("--layer", empty, "--layout", "NWC"), "argument --layout: invalid choice: 'NWC'"),
        (("--layer", empty, "--N", "7"), "--N cannot be used with --layer"),
        (("--layout", "NC"), "--layout needs --layer"),
    ):
        found = bnbench("audit", *arguments)
        assert found.returncode == 2, found
        assert words in found.stderr
        assert found.stderr.count("\n") == 1
    found = bnbench("audit", "--layer", ends)
    assert found.returncode == 1
    assert "ended the process" in found.stderr


SEVERAL = """
import numpy as np

def affine_forward(x, w, b): return x @ w + b, (x, w)

def affine_backward(dout, cache): return dout @ cache[1].T, cache[0].T @ dout, dout.sum(0)

def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    var = x.var(0)
    xhat = (x - x.mean(0)) / np.sqrt(var + eps)
    return gamma * xhat + beta, (xhat, gamma, var, eps)

def batchnorm_backward(dout, cache):
    xhat, gamma, var, eps = cache
    d = dout * gamma
    return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / np.sqrt(var + eps), (dout * xhat).sum(0), dout.sum(0)

def batchnorm_backward_alt(dout, cache):
    dx, dgamma, dbeta = batchnorm_backward(dout, cache)
    return dx * 2, dgamma, dbeta

def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    out, cache = batchnorm_forward(x.transpose(0, 2, 3, 1).reshape(-1, C), gamma, beta, bn_param)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache

def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    dx, dgamma, dbeta = batchnorm_backward(dout.transpose(0, 2, 3, 1).reshape(-1, C), cache)
    return dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), dgamma, dbeta
"""


# catches: a backward that is passed over or paired with another's forward, a layout that is asked for and can be found
def test_a_course_file_is_judged_layer_by_layer(tmp_path):
    file = tmp_path / "layers.py"
    file.write_text(SEVERAL)
    found = bnbench("audit", "--layer", file, "--json")
    assert found.returncode == 1
    answers = {answer["name"]: answer for answer in json.loads(found.stdout)}
    correct = {name: answer["correct"] for name, answer in answers.items()}
    assert correct == {
        "batchnorm_backward": True,
        "batchnorm_backward_alt": False,
        "spatial_batchnorm_backward": True,
    }
    assert "judged with --layout NCHW" in answers["spatial_batchnorm_backward"]["remarks"]


# catches: an import that a layer of NumPy does not need, and that a newcomer waits for
def test_a_layer_of_arrays_loads_no_compiler_and_no_framework(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(LAYER.format(dx=RIGHT))
    code = (
        "import sys, bnbench; before = set(sys.modules); from bnbench.audit.layer import check_layer, files; "
        f"[check_layer(*pair) for pair in files.layers({str(file)!r}).values()]; "
        "print(sorted({'numba', 'torch', 'jax', 'scipy', 'pandas', 'matplotlib'} & (set(sys.modules) - before)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
