"""Running statistics against the frameworks whose conventions they follow, over random streams of batches."""

import functools
import os

import numpy as np
import pytest

import bnbench
from bnbench.running import CONVENTIONS

STREAMS = int(os.environ.get("BNBENCH_STREAMS", 8))  # 1,000 once
SIZES = (1, 2, 3, 17, 40)  # few, for frameworks compile each shape anew


def stream(seed, dtype):
    """(batches, momentum or None): uneven sizes, one-row batches, means up to 10⁴ sd from 0, in float32 up to 10³."""
    random = np.random.default_rng(seed)
    p, offset = int(random.choice([1, 3])), float(random.choice([0, 1, 1e4 if dtype == "float64" else 1e3]))
    scale = random.uniform(0.1, 10, p)
    sizes = random.choice(SIZES, int(random.integers(1, 9)))
    batches = [((random.standard_normal((m, p)) + offset) * scale).astype(dtype) for m in sizes]
    return batches, None if seed % 2 else int(random.integers(2, 255)) / 256  # a float32 as well


def torch(batches, momentum, cumulative=False):
    """Buffers of torch.nn.BatchNorm1d; it must refuse batches of one row, which are left out."""
    import torch

    settings = {"momentum": None} if cumulative else {} if momentum is None else {"momentum": momentum}
    layer = torch.nn.BatchNorm1d(batches[0].shape[1], dtype=getattr(torch, batches[0].dtype.name), **settings)
    for Z in batches:
        if len(Z) > 1:
            layer(torch.tensor(Z))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(torch.tensor(batches[0][:1]))
    return layer.running_mean.numpy(), layer.running_var.numpy()


def keras(batches, momentum):
    """Weights of keras.layers.BatchNormalization, whichever backend it has."""
    import keras

    settings = {} if momentum is None else {"momentum": momentum}
    layer = keras.layers.BatchNormalization(dtype=batches[0].dtype.name, **settings)
    for Z in batches:
        layer(Z, training=True)
    return np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)


def flax(batches, momentum):
    """The batch_stats of flax.linen.BatchNorm."""
    import jax
    from flax import linen

    settings = {} if momentum is None else {"momentum": momentum}
    layer = linen.BatchNorm(use_running_average=False, param_dtype=batches[0].dtype, **settings)
    with jax.enable_x64(True):
        held = layer.init(jax.random.key(0), batches[0])
        if batches[0].dtype == np.float64:
            held = jax.tree.map(lambda part: part.astype(np.float64), held)
        for Z in batches:
            held = {**held, **layer.apply(held, Z, mutable=["batch_stats"])[1]}
        return np.asarray(held["batch_stats"]["mean"]), np.asarray(held["batch_stats"]["var"])


@functools.cache
def onnx_node(momentum, dtype):
    """ONNX's reference evaluator of one BatchNormalization of opset 15 in training."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[dtype]
    names, shapes = ("x", "scale", "bias", "mean", "var"), (["m", "p"], *[["p"]] * 4)
    settings = {} if momentum is None else {"momentum": momentum}
    node = helper.make_node("BatchNormalization", names, ("y", "new_mean", "new_var"), training_mode=1, **settings)
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in zip(names, shapes, strict=True)],
        [helper.make_tensor_value_info(name, kind, None) for name in ("y", "new_mean", "new_var")],
    )
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)]))


def onnx(batches, momentum):
    """ONNX has no start of its own: the model gives it; 0 and 1 here."""
    dtype = batches[0].dtype
    evaluator, p = onnx_node(momentum, dtype.name), batches[0].shape[1]
    mean, var = np.zeros(p, dtype), np.ones(p, dtype)
    for Z in batches:
        given = {"x": Z, "scale": np.ones(p, dtype), "bias": np.zeros(p, dtype), "mean": mean, "var": var}
        _, mean, var = evaluator.run(None, given)
    return mean, var


def tensorflow(batches, momentum):
    """The fused operation, which takes images, is float32 and averages with a factor on the batch."""
    import tensorflow as tf

    p = batches[0].shape[1]
    mean, var = tf.zeros(p), tf.ones(p)
    for Z in batches:
        _, mean, var = tf.compat.v1.nn.fused_batch_norm(
            Z[:, None, None], tf.ones(p), tf.zeros(p), mean, var, exponential_avg_factor=1 - (momentum or 0.99)
        )
    return mean.numpy(), var.numpy()


FRAMEWORKS = {
    "pytorch": ("torch", torch),
    "pytorch-cumulative": ("torch", functools.partial(torch, cumulative=True)),
    "keras": ("keras", keras),
    "flax": ("flax", flax),
    "onnx": ("onnx", onnx),
    "tensorflow-fused": ("tensorflow", tensorflow),
}


def ours(convention, batches, momentum=None):
    """Statistics by RunningStatistics, which must refuse what the framework does."""
    held = CONVENTIONS[convention]
    if held.momentum is None:
        momentum = None
    elif convention == "onnx" and momentum is None:
        momentum = float(np.float32(held.momentum))  # an attribute of a node is float32
    running = bnbench.RunningStatistics(convention, momentum)
    for Z in batches:
        if len(Z) == 1 and held.one_row == "refused":
            with pytest.raises(ValueError, match="Z has one row"):
                running.update(Z)
        else:
            running.update(Z)
    return running.mean, running.var


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("convention", FRAMEWORKS)
def test_a_convention_is_its_framework(convention, dtype):
    # catches: the momentum on the wrong side, m for m - 1, another default, start or treatment of one row
    package, framework = FRAMEWORKS[convention]
    pytest.importorskip(package)
    if convention == "tensorflow-fused" and dtype == "float64":
        dtype = "float32"  # all that it takes
    worst = {"mean": 0.0, "var": 0.0}
    eps = float(np.finfo(dtype).eps)
    for seed in range(STREAMS):
        batches, momentum = stream(seed, dtype)
        if CONVENTIONS[convention].one_row == "refused" and max(map(len, batches)) == 1:
            continue
        known, found = framework(batches, momentum), ours(convention, batches, momentum)
        largest = max(abs(Z).max() for Z in batches)
        # Flax has E[x²] - E[x]²: its error is that of x², as it says itself (use_fast_variance)
        spread = known[1].max() + 1 + (largest**2 if convention == "flax" else (eps * largest) ** 2 / eps)
        for name, one, other, size in zip(worst, known, found, (1 + largest, spread), strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype == dtype
            worst[name] = max(worst[name], float(abs(one.astype(float) - other).max() / (eps * size)))
    assert worst["mean"] < 4, worst
    assert worst["var"] < 8, worst
    print(convention, dtype, STREAMS, worst)


def exact(convention, batches):
    """The statistics by their definition, in extended precision: what rounding in float32 is held against."""
    held, mean, var = CONVENTIONS[convention], np.longdouble(0), np.longdouble(1)
    weight = held.batch_weight(np.longdouble(held.momentum))
    for Z in batches:
        Z = Z.astype(np.longdouble)
        mean, var = mean + weight * (Z.mean(0) - mean), var + weight * (Z.var(0, ddof=held.ddof) - var)
    return mean, var


def test_a_mean_a_thousand_sd_from_0_costs_frameworks_the_variance_and_us_nothing():
    # catches: E[x²] - E[x]² in float32
    errors = {name: [] for name in ("ours", *FRAMEWORKS)}
    here = [name for name, (package, _) in FRAMEWORKS.items() if name != "pytorch-cumulative" and _has(package)]
    for seed in range(STREAMS):
        random = np.random.default_rng(seed)
        batches = [(random.standard_normal((40, 3)) + 1e3).astype("f") for _ in range(8)]
        for name in here:
            known = exact(name, batches)[1]
            errors[name].append(abs(FRAMEWORKS[name][1](batches, None)[1] / known - 1).max())
            errors["ours"].append(abs(ours(name, batches)[1] / known - 1).max())
    worst = {name: float(max(found)) for name, found in errors.items() if found}
    print(worst)
    assert worst["ours"] < 1e-6
    assert all(worst[name] < 1e-5 for name in here if name != "flax"), worst
    assert worst.get("flax", 1) > 1e-3, "Flax no longer loses it: docs/statistics.md says that it does"


def _has(package):
    import importlib.util

    return importlib.util.find_spec(package) is not None


NODES = ("batchnorm_example", "batchnorm_epsilon", "batchnorm_example_training_mode", "batchnorm_epsilon_training_mode")


@pytest.mark.parametrize("case", NODES)
def test_onnx_own_node_cases(case):
    # catches: another eps, or the momentum on the wrong side, than the standard's own vectors have
    onnx = pytest.importorskip("onnx")
    from onnx import numpy_helper
    from onnx.backend.test.loader import load_model_tests

    try:
        found = next(one for one in load_model_tests(kind="node") if one.name == f"test_{case}")
    except (OSError, StopIteration):
        pytest.skip("onnx comes without its node cases: pip install onnx==1.22.0")
    model = onnx.load(os.path.join(found.model_dir, "model.onnx"))
    (node,) = model.graph.node
    given, known = (
        [numpy_helper.to_array(onnx.load_tensor(os.path.join(found.model_dir, "test_data_set_0", f"{kind}_{i}.pb")))
         for i in range(count)] for kind, count in (("input", 5), ("output", len(node.output)))
    )  # fmt: skip
    x, scale, bias, mean, var = given
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    settings = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    held = CONVENTIONS["onnx"]
    if settings.get("training_mode"):
        running = bnbench.RunningStatistics("onnx", settings.get("momentum"), start=(mean, var))
        running.update(rows)
        for one, other in zip((running.mean, running.var), known[1:], strict=True):
            np.testing.assert_allclose(one, other, rtol=found.rtol, atol=found.atol)
        batch = bnbench.RunningStatistics("population")
        batch.update(rows)
        mean, var = batch.mean, batch.var
    # A frozen layer alone: Γ and the head are unit vectors, the activation the identity
    p, eps = x.shape[1], settings.get("epsilon", held.eps)
    columns = [
        bnbench.predict(rows, np.eye(p, dtype=x.dtype), scale, bias, one, statistics=(mean, var), eps=eps,
                        activation="identity") for one in np.eye(p, dtype=x.dtype)
    ]  # fmt: skip
    y = np.moveaxis(np.stack(columns, axis=1).reshape(*np.moveaxis(x, 1, -1).shape), -1, 1)
    np.testing.assert_allclose(y, known[0], rtol=found.rtol, atol=found.atol)


def test_flax_has_one_convention_in_both_of_its_interfaces():
    # catches: a default of flax.nnx that is not that of flax.linen
    pytest.importorskip("flax")
    from flax import nnx

    batches, _ = stream(1, "float32")
    layer = nnx.BatchNorm(batches[0].shape[1], rngs=nnx.Rngs(0))
    for Z in batches:
        layer(Z)
    for one, other in zip((layer.mean, layer.var), flax(batches, None), strict=True):
        np.testing.assert_allclose(np.asarray(one[...]), other, rtol=1e-5)
