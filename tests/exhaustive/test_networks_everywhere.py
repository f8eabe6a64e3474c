"""Networks of every kind: the library's calls and the steps of each variant against the definition's derivative.

From one thread and from eight, in float64, and in float32 within its tolerance. Thirty each, of which every third is
wider than a task of any form; BNBENCH_NETWORKS says how many else. JAX and TensorFlow compile each for a second.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hostile import verdicts
from networks import answer, arguments, asked, cast, distances, in_label_order, network

import bnbench
from bnbench import definition
from bnbench.reference import reference
from bnbench.variants.base import ANY_NETWORK

SEEDS = range(1000, 1000 + int(os.environ.get("BNBENCH_NETWORKS", 30)))
CLOSE = 1e-9
LACKING = ("torch-compile",)  # it gives no ∂R/∂X


def available(name):
    """Skip where a variant or autograd is not installed."""
    pytest.importorskip("autograd")
    if reason := bnbench.variants()[name].unavailable():
        pytest.skip(reason)


def drawn(seed):
    """A network of a seed."""
    return network(seed, largest=70, rows=150) if seed % 3 == 0 else network(seed)


@functools.cache
def known(seed):
    """A network of a seed and its gradients by autograd, with the units numbered as their labels are sorted."""
    theta, data, spec = drawn(seed)
    return theta, data, spec, definition.gradients(theta, in_label_order(data), spec, "autograd", inputs=True)


EVERY = [name for name, cls in bnbench.variants().items() if cls.supports is ANY_NETWORK and cls.device == "cpu"]


def called(variant, seed):
    """The library's answer."""
    theta, data, spec, _ = known(seed)
    positional, keywords = arguments(theta, data, spec)
    return bnbench.gradients(*positional, **keywords, inputs=variant not in LACKING, variant=variant)


@pytest.mark.parametrize("variant", EVERY)
def test_calls_agree_with_autograd(variant):
    # catches: a convention of one framework that is another's, at some depth, loss or normalization; shared scratch
    available(variant)
    alone = []
    for seed in SEEDS:
        theta, _, spec, gradients = known(seed)
        alone.append(called(variant, seed))
        expected = gradients._replace(dX=None) if variant in LACKING else gradients
        assert max(distances(answer(alone[-1], theta), expected)) < CLOSE, spec
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(functools.partial(called, variant), SEEDS))
    for seed, one, other in zip(SEEDS, alone, together, strict=True):
        theta = known(seed)[0]
        assert max(distances(answer(other, theta), answer(one, theta))) < CLOSE, seed


@pytest.mark.parametrize("name", EVERY)
def test_float32_is_within_its_tolerance(name):
    # catches: a constant of float64 in a form of float32, a tolerance that a wide or deep network passes
    available(name)
    for seed in SEEDS:
        theta, data, spec = drawn(seed)
        theta, data = cast(theta, in_label_order(data), np.float32)
        batch, problem = asked(theta, data, spec)
        truth = reference(batch, problem)
        for _, regime, verdict in verdicts(batch, problem, truth, [name]):
            assert verdict.valid, (seed, regime, verdict.reason)


def bits(name):
    """For each seed, of how many kinds the answers by one to four threads are."""
    import numba

    found = []
    for seed in SEEDS:
        theta, data, spec = drawn(seed)
        batch, problem = asked(theta, in_label_order(data), spec)
        kinds = set()
        for threads in (1, 2, 3, 4):
            numba.set_num_threads(threads)
            variant = bnbench.variants()[name]()
            variant.prepare(batch, problem)
            variant.step()
            parts = variant.result().parts().values()
            held = b"".join(np.asarray(part).tobytes() for part in parts if part is not None)
            kinds.add(hashlib.sha256(held).hexdigest())
        found.append(len(kinds))
    return found


@pytest.mark.parametrize("name", ["loops-numba-parallel", "fused-numba"])
def test_same_bits_for_every_number_of_threads(name):
    # catches: sums shared by threads, parts that depend on their number, in a layer of some kind
    code = "import json, sys, test_networks_everywhere as t; print(json.dumps(t.bits(sys.argv[1])))"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "NUMBA_NUM_THREADS": "4",
        "OMP_NUM_THREADS": "4",
        "PYTHONPATH": os.pathsep.join(folders),
    }
    run = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(run.stdout) == [1] * len(SEEDS)


@pytest.mark.parametrize("name", EVERY)
def test_steps_agree_with_autograd(name):
    # catches: what a framework's compiler or its own calls make of some network, where its plain operations are right
    available(name)
    for seed in SEEDS:
        theta, data, spec, gradients = known(seed)
        batch, problem = asked(theta, in_label_order(data), spec)
        variant = bnbench.variants()[name]()
        variant.prepare(batch, problem)
        variant.step()
        assert max(distances(answer(variant.result(), theta), gradients._replace(dX=None))) < CLOSE, spec
