"""`torch-eager` and `torch-compile`: PyTorch's autograd, operation by operation and compiled."""

import functools
import itertools
import os
import tempfile
from typing import Any

import numpy as np

from bnbench.cuda.available import no_device, tf32
from bnbench.cuda.device import l2_bytes
from bnbench.cuda.timing import device_times
from bnbench.problem import Batch, Gradients, Problem
from bnbench.temporary import TemporaryFolder
from bnbench.variants.peers import Peer, started

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
        F = torch.nn.functional
        place = self.device  # PyTorch's word for it is the same
        X, y = self.data = [torch.tensor(array, device=place) for array in (batch.X, batch.y)]
        self.tensors = [torch.tensor(array, requires_grad=True, device=place) for array in self.parameters().values()]
        activate = {
            "relu": torch.relu,
            "sigmoid": torch.sigmoid,
            "tanh": torch.tanh,
            "gaussian": lambda B: torch.exp(-0.5 * B * B),
            "identity": lambda B: B,
        }[problem.activation]
        ddof, eps = problem.ddof, problem.eps
        plain = ddof == 0 and problem.N > 1 and eps > 0

        def loss(G1: Any, *rest: Any) -> Any:
            *affine, G2 = rest
            B = X @ G1
            if affine and plain:
                B = F.batch_norm(B, None, None, *affine, training=True, eps=eps)
            elif affine:
                gamma, beta = affine
                variance = B.var(dim=0, correction=ddof)
                B = gamma * (B - B.mean(dim=0)) / torch.sqrt(variance + eps) + beta
            return F.mse_loss(activate(B) @ G2, y)

        self.function = loss
        if self.compiled:
            self.function = torch.compile(named(loss), dynamic=False)

    def load(self, G1: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None, G2: np.ndarray) -> None:
        """Copy the parameters into the tensors."""
        self.load_in_place(G1, gamma, beta, G2)
        with self.torch.no_grad():
            for tensor, array in zip(self.tensors, self.parameters().values(), strict=True):
                tensor.copy_(self.torch.from_numpy(array))

    def step(self) -> None:
        """Forward, then backward over the tape."""
        self.loss = self.function(*self.tensors)
        self.slopes = self.torch.autograd.grad(self.loss, self.tensors)

    def result(self) -> Gradients:
        """The last step's gradients."""
        return self.gradients(self.loss.item(), [tensor.cpu().numpy() for tensor in self.slopes])


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
        held = [*self.data, *self.tensors], [self.batch.X, self.batch.y, *self.parameters().values()]

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
