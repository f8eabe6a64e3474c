"""`jax-jit`: JAX, compiled by XLA for the processor."""

import functools
import importlib.util
import time
from typing import Any

from bnbench.cuda.available import no_device, tf32
from bnbench.cuda.device import l2_bytes
from bnbench.cuda.timing import device_times
from bnbench.definition import Tensors, placed, risk, with_jax
from bnbench.operations import NEWTON_STEPS, NUMPY
from bnbench.problem import Batch, Gradients, Problem, rebuilt
from bnbench.variants.peers import Peer, arrays_of, confine, started


@functools.cache
def table(precision: str | None) -> Tensors:
    """JAX's operations, products at that precision (None: that of the arrays), Newton's method in XLA's loop."""
    import jax

    def root(function: Any, start: Any) -> Any:
        def more(state: tuple) -> Any:
            _, settled, steps = state
            return ~settled & (steps < NEWTON_STEPS)

        def body(state: tuple) -> tuple:
            alpha, step = m.newton(function, state[0])
            return alpha, NUMPY.settled(step, alpha), state[2] + 1

        return jax.lax.while_loop(more, body, (start, False, 0))[0]

    plain, _ = with_jax()
    m = plain.also(
        product=functools.partial(jax.numpy.matmul, precision=precision),
        held=jax.lax.stop_gradient,
        dummies=lambda unit, units: (unit, units),
        within=lambda v, D: jax.ops.segment_sum(v, *D),
        spread=lambda alpha, D: alpha[D[0]],
        root=root,
    )
    return m


class JaxJit(Peer):
    """JAX: jax.jit of jax.value_and_grad, on committed arrays, waited for with block_until_ready."""

    name = "jax-jit"
    family = "autodiff"
    package = "jax"
    compile_allowance_s = 60.0
    precision: str | None = None  # of products: that of the arrays

    def __init__(self) -> None:
        import jax
        import jax.experimental

        self.jax: Any = jax
        # a context of our own steps: the caller's setting is the caller's
        home: Any = jax if hasattr(jax, "enable_x64") else jax.experimental
        self.enable_x64 = home.enable_x64

    def use_threads(self, threads: int) -> dict[str, int]:
        """XLA's pool is as large as the machine; the process is held to so many processors."""
        self.jax.config.update("jax_platforms", self.device)  # in a worker no other device need start
        self.jax.devices()
        return confine(threads)

    def start_compiler(self) -> float:
        """JAX and XLA start with the first gradient that they compile."""
        jax = self.jax
        jax.config.update("jax_enable_compilation_cache", False)  # a user may have one on disk
        return started(lambda: jax.block_until_ready(jax.jit(jax.value_and_grad(lambda x: x * x))(1.0)))

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """The arrays on the device, and the jitted gradient."""
        super().prepare(batch, problem, regime)
        theta, data, spec, m = self.batch.theta, self.batch.data, problem.spec, table(self.precision)

        def loss(arrays: tuple, *held: Any) -> tuple[Any, Any]:
            rest = iter(held)
            return risk(rebuilt(theta, arrays), placed(data, lambda _: next(rest)), spec, m)

        self.copy()
        self.value_and_grad = self.jax.jit(self.jax.value_and_grad(loss, has_aux=True))

    def copy(self) -> None:
        """Put the data and the parameters on the device."""
        self.arguments = (None, *self.put(arrays_of(self.batch.data)))
        self.put_parameters()

    def put(self, values: Any) -> Any:
        """Arrays on the device, copied: JAX assumes that nobody changes them."""
        with self.enable_x64(True):
            copies = self.jax.tree.map(lambda array: array.copy(), values)
            return self.jax.block_until_ready(self.jax.device_put(copies, self.jax.devices(self.device)[0]))

    def put_parameters(self) -> None:
        """Put the parameters on the device."""
        self.arguments = (self.put(tuple(self.leaves())), *self.arguments[1:])

    def load(self, *parameters: Any) -> None:
        """Put other parameters on the device."""
        self.load_in_place(*parameters)
        self.put_parameters()

    def step(self) -> None:
        """One call of the compiled gradient."""
        with self.enable_x64(True):
            (self.loss, self.alpha), self.slopes = self.jax.block_until_ready(self.value_and_grad(*self.arguments))

    def result(self) -> Gradients:
        """The last step's gradients."""
        return self.gradients(self.loss, self.slopes, self.alpha)


class JaxCuda(JaxJit):
    """JAX, compiled by XLA for the GPU, float32 products at highest precision, or in TF32 with --tf32."""

    name = "jax-cuda"
    family = "autodiff"
    device = "cuda"

    @classmethod
    def unavailable(cls) -> str:
        """JAX's absence, no device, or no CUDA plug-in of JAX."""
        reason = super().unavailable() or no_device()
        if not reason and not any(importlib.util.find_spec(f"jax_cuda{major}_plugin") for major in (12, 13)):
            reason = "JAX has no CUDA plug-in here; pip install 'jax[cuda13]' adds it"
        return reason

    def __init__(self) -> None:
        super().__init__()
        self.precision = "tensorfloat32" if tf32() else "highest"

    def use_threads(self, threads: int) -> dict[str, int]:
        """The device does the work."""
        return {}

    def time(self, count: int) -> float:
        """Seconds that `count` steps take, one after the other without waiting in between."""
        begun = time.perf_counter()
        with self.enable_x64(True):
            for _ in range(count):
                answer = self.value_and_grad(*self.arguments)
            self.jax.block_until_ready(answer)
        return time.perf_counter() - begun

    def device_times(self) -> dict[str, float]:
        """Times from a cold cache, by the host's clock, and with the copies to the device and back."""
        jax = self.jax
        flushed = jax.numpy.zeros(2 * l2_bytes(), dtype="uint8")
        write = jax.jit(lambda array: array + 1)

        def cold() -> float:
            jax.block_until_ready(write(flushed))
            return self.time(1)

        return device_times(self.copy, self.step, self.result, cold)
