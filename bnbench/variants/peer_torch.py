"""`torch-eager` and `torch-compile`: PyTorch's autograd, operation by operation and compiled."""

import functools
import itertools
import os
import tempfile
from typing import Any

from bnbench.cuda.available import no_device, tf32
from bnbench.cuda.device import l2_bytes
from bnbench.cuda.timing import device_times
from bnbench.definition import Tensors, placed, risk, with_torch
from bnbench.operations import NEWTON_STEPS
from bnbench.problem import Batch, Gradients, Problem, Spec, Theta, rebuilt
from bnbench.temporary import TemporaryFolder
from bnbench.variants.peers import Peer, arrays_of, started

COUNT = itertools.count()


@functools.cache
def kept() -> TemporaryFolder:
    """This worker's folder for Inductor's cache; whoever ends the worker removes it."""
    return TemporaryFolder()


def named(function: Any) -> Any:
    """A function with a name of its own.

    TorchDynamo keeps what it compiled with the code object, and after eight shapes falls back to eager.
    """
    function.__code__ = function.__code__.replace(co_name=f"loss_{next(COUNT)}")
    return function


@functools.cache
def table(compiled: bool) -> Tensors:
    """PyTorch's operations, its own normalization and losses among them, Newton's method in a loop that it compiles."""
    import torch

    F = torch.nn.functional

    def normalized(Z: Any, gamma: Any, beta: Any, spec: Spec, given: tuple | None) -> Any:
        """By `F.batch_norm`, in training mode or with the statistics given, which has ddof = 0 and eps > 0."""
        mean, variance = given or (None, None)
        if spec.eps > 0 and (given is not None or (spec.ddof == 0 and Z.shape[0] > 1)):
            return F.batch_norm(Z, mean, variance, gamma, beta, training=given is None, eps=spec.eps)
        if given is None:
            mean, variance = Z.mean(dim=0), Z.var(dim=0, correction=spec.ddof)
        return gamma * (Z - mean) / torch.sqrt(variance + spec.eps) + beta

    def mean_loss(loss: str, y: Any, eta: Any) -> Any:
        """By PyTorch's function of that loss."""
        if loss == "squared":
            return F.mse_loss(eta, y)
        return F.binary_cross_entropy_with_logits(eta, y) if loss == "logistic" else F.poisson_nll_loss(eta, y)

    def settled(step: Any, alpha: Any) -> Any:
        return (abs(step) <= 2 * torch.finfo(step.dtype).eps * (1 + abs(alpha))).all()

    def root(function: Any, start: Any) -> Any:
        from torch._higher_order_ops.while_loop import while_loop

        def more(_: Any, settled: Any, steps: Any) -> Any:
            return ~settled & (steps < NEWTON_STEPS)

        def body(alpha: Any, _: Any, steps: Any) -> tuple:
            alpha, step = m.newton(function, alpha)
            return alpha, settled(step, alpha), steps + 1

        begun = [start.new_zeros((), dtype=dtype) for dtype in (torch.bool, torch.int64)]
        return while_loop(more, body, (start, *begun))[0]

    def within(v: Any, D: tuple) -> Any:
        unit, units = D
        if units == 1:  # whose index_add Inductor (2.13) cannot compile within a loop
            return v.sum(0, keepdim=True)
        return v.new_zeros(units).index_add(0, unit, v)

    plain, _ = with_torch()
    m = plain.also(
        normalized=normalized,
        mean_loss=mean_loss,
        held=torch.detach,
        dummies=lambda unit, units: (unit, units),
        within=within,
        spread=lambda alpha, D: alpha[D[0]],
        settled=settled,
    )
    return m.also(root=root) if compiled else m


class TorchEager(Peer):
    """PyTorch: X @ Γ1, F.batch_norm in training mode, F.mse_loss and torch.autograd.grad.

    `F.batch_norm` has ddof = 0 and eps > 0; elsewhere, and with one row, the same is written with Tensor.mean and
    Tensor.var.
    """

    name = "torch-eager"
    family = "autodiff"
    package = "torch"
    compiled = False

    def __init__(self) -> None:
        import torch

        self.torch = torch

    def use_threads(self, threads: int) -> dict[str, int]:
        """PyTorch's own pool, for operations and for its BLAS."""
        self.torch.set_num_threads(threads)
        return {"torch": self.torch.get_num_threads()}

    def start_compiler(self) -> float:
        """Give Inductor a new cache folder, so that no compiled graph is reused, and time its start-up.

        Inductor starts, imports included, with the first graph that it compiles. PyTorch's precompiled headers stay
        where they are: they are compiled once per machine, in half a minute.
        """
        if not self.compiled:
            return 0.0
        first = kept.cache_info().currsize == 0
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(dir=kept().path)
        start_s = started(self.compile_one) if first else 0.0
        from torch._inductor import utils  # takes seconds: no earlier than the compiler's start

        utils.clear_caches()
        return start_s

    def compile_one(self) -> None:
        """Compile a small graph that no problem has."""
        torch = self.torch
        x = torch.zeros(next(COUNT) + 1, requires_grad=True, device=self.device)
        torch.autograd.grad(torch.compile(named(lambda x: torch.sin(x).sum()), dynamic=False)(x), x)

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """The arrays as tensors, and the loss."""
        super().prepare(batch, problem, regime)
        torch = self.torch
        spec, m = problem.spec, table(self.compiled)
        self.data = data = placed(self.batch.data, functools.partial(torch.tensor, device=self.device))
        self.tensors = [torch.tensor(array, requires_grad=True, device=self.device) for array in self.leaves()]
        self.theta = rebuilt(self.batch.theta, self.tensors)

        def loss(theta: Theta) -> tuple[Any, Any]:
            return risk(theta, data, spec, m)

        self.function = torch.compile(named(loss), dynamic=False) if self.compiled else loss

    def load(self, *parameters: Any) -> None:
        """Copy the parameters into the tensors."""
        self.load_in_place(*parameters)
        with self.torch.no_grad():
            for tensor, array in zip(self.tensors, self.leaves(), strict=True):
                tensor.copy_(self.torch.from_numpy(array))

    def step(self) -> None:
        """Forward, then backward over the tape."""
        self.loss, self.alpha = self.function(self.theta)
        self.slopes = self.torch.autograd.grad(self.loss, self.tensors)

    def result(self) -> Gradients:
        """The last step's gradients."""
        alpha = None if self.alpha is None else self.alpha.cpu().numpy()
        return self.gradients(self.loss.item(), [tensor.cpu().numpy() for tensor in self.slopes], alpha)


class TorchCompile(TorchEager):
    """The same loss through torch.compile, its backward pass too: Inductor's fused C++ loops around PyTorch's BLAS."""

    name = "torch-compile"
    family = "autodiff"
    compile_allowance_s = 120.0
    compiled = True


class TorchCuda(TorchEager):
    """PyTorch's loss operation by operation on the GPU, TF32 off unless allowed; `torch-cuda-compile` compiles it."""

    name = "torch-cuda"
    family = "autodiff"
    device = "cuda"

    @classmethod
    def unavailable(cls) -> str:
        """PyTorch's absence, no device, or a build of PyTorch without CUDA."""
        reason = super().unavailable() or no_device()
        if reason:
            return reason
        import torch

        return "" if torch.cuda.is_available() else "this build of PyTorch has no CUDA"

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """The arrays as tensors on the device, and the loss."""
        self.torch.backends.cuda.matmul.allow_tf32 = tf32()
        super().prepare(batch, problem, regime)

    def step(self) -> None:
        """Forward, then backward over the tape, and wait for the device."""
        super().step()
        self.torch.cuda.synchronize()

    def time(self, count: int) -> float:
        """Seconds that `count` steps take by the device's events, without waiting in between."""
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            super().step()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def device_times(self) -> dict[str, float]:
        """Times from a cold cache, and with the copies to the device and back."""
        torch = self.torch
        flushed = torch.empty(2 * l2_bytes(), dtype=torch.uint8, device=self.device)
        held = [*arrays_of(self.data), *self.tensors], [*arrays_of(self.batch.data), *self.leaves()]

        def copy() -> None:
            with torch.no_grad():
                for there, here in zip(*held, strict=True):
                    there.copy_(torch.from_numpy(here))
            torch.cuda.synchronize()

        def cold() -> float:
            flushed.zero_()
            return self.time(1)

        return device_times(copy, self.step, self.result, cold)


class TorchCudaCompile(TorchCuda):
    """The same loss through torch.compile on the GPU: Inductor's Triton kernels around cuBLAS."""

    name = "torch-cuda-compile"
    family = "autodiff"
    compile_allowance_s = 180.0
    compiled = True
