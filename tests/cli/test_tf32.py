"""TF32, where a sweep allows it: its tolerance is for float32 rows of a device alone."""

import json

import numpy as np
from conftest import PLUGINS, bnbench

from bnbench.problem import Gradients, Problem
from bnbench.reference import reference
from bnbench.validation import TF32_UNIT


def test_the_tolerance_grows_with_the_factors_rounding():
    # catches: a product that the wider tolerance forgets, one that it makes blind
    problem = Problem(300, 7, 5, "tanh", dtype="float32")
    batch = problem.sample()
    plain, wide = reference(batch, problem), reference(batch, problem, factor_unit=TF32_UNIT)
    for name in Gradients._fields:
        narrow, allowed, high = (np.asarray(getattr(r, name)) for r in (plain.allowed, wide.allowed, plain.high))
        assert np.array_equal(high, getattr(wide.high, name))
        assert (allowed > 10 * narrow).all(), name
        assert np.linalg.norm(allowed) < np.linalg.norm(high), name


def test_tf32_is_allowed_where_it_was_asked_for_and_nowhere_else():
    # catches: TF32 that is passed without being allowed, a CPU's or float64's row under TF32's tolerance
    arguments = ["verify", "--plugin", PLUGINS / "rounding.py", "--variants", "rounds-on-the-cpu,rounds-on-a-device"]
    arguments += ["--N", "30", "--p1", "5", "--p2", "3", "--activation", "tanh", "--normalization", "batch"]
    arguments += ["--regime", "fresh", "--json"]
    for flag, valid in (("--tf32", True), ("", False)):
        done = bnbench(*arguments, *filter(None, [flag]))
        found = {(row["variant"], row["dtype"]): row for row in json.loads(done.stdout)}
        assert found["rounds-on-a-device", "float32"]["status"] == ("ok" if valid else "invalid")
        assert found["rounds-on-the-cpu", "float32"]["status"] == "invalid"
        assert found["rounds-on-a-device", "float64"]["status"] == "ok"
        ratios = {found[name, "float64"]["max_error_ratio"] for name in ("rounds-on-the-cpu", "rounds-on-a-device")}
        assert len(ratios) == 1
        assert done.returncode == 1
