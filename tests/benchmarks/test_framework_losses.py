"""What a loss in PyTorch or JAX costs beside the call that it wraps, with the backward pass, in turns.

    pytest tests/benchmarks/test_framework_losses.py --benchmark-only -s

The framework's own floor is an empty function with as many gradients, forward and backward.
"""

import statistics
import time

import pytest

import bnbench

SIZES = [(10, 7, 4), (256, 20, 32), (10_000, 32, 64)]
ROUNDS = {10: 1000, 256: 1000, 10_000: 100}


def with_torch(batch, prepared):
    """By name, functions that take a step: the floor, on the arrays, prepared."""
    torch = pytest.importorskip("torch")
    X, y, *theta = (torch.tensor(array) for array in batch)
    theta = [parameter.requires_grad_() for parameter in theta]

    class Floor(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value, *tensors):
            ctx.save_for_backward(*tensors)
            return value

        @staticmethod
        def backward(ctx, upstream):
            return None, *(upstream * slope for slope in ctx.saved_tensors)

    def backward(loss):
        for parameter in theta:
            parameter.grad = None
        loss.backward()

    one = torch.tensor(1.0, dtype=X.dtype)
    return {
        "floor": lambda: backward(Floor.apply(one, *theta)),
        "loss": lambda: backward(bnbench.torch.loss(X, y, *theta)),
        "loss_of": lambda: backward(bnbench.torch.loss_of(prepared, *theta)),
    }


def with_jax(batch, prepared):
    """The same, each under jit; the floor is the square of the parameters."""
    jax = pytest.importorskip("jax")
    X, y, *theta = (jax.numpy.asarray(array) for array in batch)

    def jitted(function, *given):
        graded = jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2, 3)))
        return lambda: jax.block_until_ready(graded(*theta, *given))

    return {
        "floor": jitted(lambda *theta: sum((part**2).sum() for part in theta)),
        "loss": jitted(lambda *all_: bnbench.jax.loss(*all_[4:], *all_[:4]), X, y),
        "loss_of": jitted(lambda *theta: bnbench.jax.loss_of(prepared, *theta)),
    }


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "-".join(map(str, size)))
@pytest.mark.parametrize("made", [with_torch, with_jax], ids=["torch", "jax"])
def test_losses(benchmark, made, size):
    batch = bnbench.Problem(*size, dtype="float32").sample()  # JAX's
    prepared = bnbench.prepare(batch.X, batch.y, size[2])
    steps = {"gradients": lambda: bnbench.gradients(*batch), "prepared": lambda: prepared.gradients(*batch[2:])}
    steps |= made(batch, prepared)
    taken = {name: [] for name in steps}

    def turn():
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - begun)

    benchmark.pedantic(turn, rounds=ROUNDS[size[0]], warmup_rounds=3)
    medians = {name: statistics.median(times[3:]) * 1e6 for name, times in taken.items()}
    benchmark.extra_info.update(medians)
    print(
        f"\n{made.__name__.removeprefix('with_')} {size}, µs: "
        + ", ".join(f"{name} {median:.4g}" for name, median in medians.items())
        + f"; over the call: {medians['loss'] / medians['gradients']:.2f} fresh, "
        f"{medians['loss_of'] / medians['prepared']:.2f} prepared"
    )
