"""`jax-jit`: JAX, compiled by XLA for the processor."""

import importlib.util
import time

from bnbench.cuda.available import no_device, tf32
from bnbench.cuda.device import l2_bytes
from bnbench.cuda.timing import device_times
from bnbench.variants.peers import Peer, confine


class JaxJit(Peer):
    """JAX: jax.jit of jax.value_and_grad, on committed arrays, waited for with block_until_ready."""

    name = "jax-jit"
    family = "autodiff"
    package = "jax"
    compile_allowance_s = 60.0

    def __init__(self):
        import jax

        jax.config.update("jax_platforms", self.device)
        jax.config.update("jax_enable_x64", True)
        self.jax = jax

    def use_threads(self, threads):
        """XLA's pool is as large as the machine; the process is held to so many processors."""
        self.jax.devices()
        return confine(threads)

    def prepare(self, batch, problem, regime="fresh"):
        """The arrays on the device, and the jitted gradient."""
        super().prepare(batch, problem, regime)
        jax, np = self.jax, self.jax.numpy
        activate = {
            "relu": jax.nn.relu,
            "sigmoid": jax.nn.sigmoid,
            "tanh": np.tanh,
            "gaussian": lambda B: np.exp(-0.5 * B * B),
            "identity": lambda B: B,
        }[problem.activation]
        ddof, eps = problem.ddof, problem.eps

        def loss(parameters, X, y):
            G1, *affine, G2 = parameters
            B = X @ G1
            if affine:
                gamma, beta = affine
                B = gamma * (B - B.mean(axis=0)) / np.sqrt(B.var(axis=0, ddof=ddof) + eps) + beta
            return np.mean((y - activate(B) @ G2) ** 2)

        self.copy()
        self.value_and_grad = jax.jit(jax.value_and_grad(loss))

    def copy(self):
        """Put the data and the parameters on the device."""
        values = (tuple(self.parameters().values()), self.batch.X, self.batch.y)
        self.arguments = self.jax.block_until_ready(self.jax.device_put(values, self.jax.devices()[0]))

    def step(self):
        """One call of the compiled gradient."""
        self.loss, self.found = self.jax.block_until_ready(self.value_and_grad(*self.arguments))

    def result(self):
        """The last step's gradients."""
        return self.gradients(self.loss, self.found)


class JaxCuda(JaxJit):
    """JAX, compiled by XLA for the GPU, float32 products at highest precision, or in TF32 with --tf32."""

    name = "jax-cuda"
    family = "autodiff"
    device = "cuda"

    @classmethod
    def unavailable(cls):
        """JAX's absence, no device, or no CUDA plug-in of JAX."""
        reason = super().unavailable() or no_device()
        if not reason and not any(importlib.util.find_spec(f"jax_cuda{major}_plugin") for major in (12, 13)):
            reason = "JAX has no CUDA plug-in here; pip install 'jax[cuda13]' adds it"
        return reason

    def __init__(self):
        super().__init__()
        self.jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32() else "highest")

    def use_threads(self, threads):
        """The device does the work."""
        return {}

    def time(self, count):
        """Seconds of so many steps, one after the other without waiting between."""
        begun = time.perf_counter()
        for _ in range(count):
            found = self.value_and_grad(*self.arguments)
        self.jax.block_until_ready(found)
        return time.perf_counter() - begun

    def device_times(self):
        """Times from a cold cache, by the host's clock, and with the copies to the device and back."""
        jax = self.jax
        flushed = jax.numpy.zeros(2 * l2_bytes(), dtype="uint8")
        write = jax.jit(lambda array: array + 1)

        def cold():
            jax.block_until_ready(write(flushed))
            return self.time(1)

        return device_times(self.copy, self.step, self.result, cold)
