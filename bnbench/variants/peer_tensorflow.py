"""`tensorflow-xla`: TensorFlow's GradientTape in a function compiled by XLA."""

import functools
import os
from typing import Any

import numpy as np

from bnbench.definition import Tensors, placed, risk, with_tensorflow
from bnbench.operations import NEWTON_STEPS
from bnbench.problem import Batch, Gradients, Problem, Spec, rebuilt
from bnbench.variants.peers import Peer, confine, started


@functools.cache
def table() -> Tensors:
    """TensorFlow's operations, its own normalization among them, Newton's method in its loop."""
    import tensorflow as tf

    def normalized(Z: Any, gamma: Any, beta: Any, spec: Spec, given: tuple | None) -> Any:
        """By tf.nn.moments, whose variance is the biased one, and tf.nn.batch_normalization."""
        if given is None:
            mean, variance = tf.nn.moments(Z, axes=[0])
            given = mean, variance * (Z.shape[0] / (Z.shape[0] - spec.ddof))
        return tf.nn.batch_normalization(Z, *given, beta, gamma, spec.eps)

    def settled(step: Any, alpha: Any) -> Any:
        return tf.reduce_all(abs(step) <= 2 * np.finfo(step.dtype.as_numpy_dtype).eps * (1 + abs(alpha)))

    def root(function: Any, start: Any) -> Any:
        def body(alpha: Any, _: Any) -> tuple:
            alpha, step = m.newton(function, alpha)
            return alpha, settled(step, alpha)

        def more(_: Any, settled: Any) -> Any:
            return ~settled

        return tf.while_loop(more, body, (start, tf.constant(False)), maximum_iterations=NEWTON_STEPS)[0]

    plain, _ = with_tensorflow()
    m = plain.also(
        normalized=normalized,
        held=tf.stop_gradient,
        dummies=lambda unit, units: (unit, units),
        within=lambda v, D: tf.math.unsorted_segment_sum(v, *D),
        spread=lambda alpha, D: tf.gather(alpha, D[0]),
        root=root,
    )
    return m


class TensorflowXla(Peer):
    """TensorFlow: GradientTape in tf.function(jit_compile=True), with tf.nn.moments and tf.nn.batch_normalization.

    That is what Keras's BatchNormalization computes in training: the biased variance (ddof = 0) with eps under the
    root. Its defaults are eps = 10⁻³, here the problem's, and a moving average, which has no part in the gradient.
    """

    name = "tensorflow-xla"
    family = "autodiff"
    package, extra = "tensorflow", "tensorflow"
    compile_allowance_s = 60.0

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
        import tensorflow

        self.tf = tensorflow

    def use_threads(self, threads: int) -> dict[str, int]:
        """TensorFlow's pools are set up once; the process is held to so many processors."""
        self.tf.constant(0.0)
        return confine(threads)

    def start_compiler(self) -> float:
        """TensorFlow and XLA start with the first gradient that they compile."""
        tf = self.tf

        def compile_one() -> Any:
            @tf.function(jit_compile=True)
            def slope(x: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    square = x * x
                return tape.gradient(square, x)

            return slope(tf.constant(1.0))

        return started(compile_one)

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """The arrays as tensors, and the compiled function."""
        super().prepare(batch, problem, regime)
        tf = self.tf
        theta, spec, m = self.batch.theta, problem.spec, table()
        data = placed(self.batch.data, tf.constant)
        self.variables = [tf.Variable(array) for array in self.leaves()]

        @tf.function(jit_compile=True)
        def value_and_grad(X: Any, y: Any) -> tuple[Any, Any, Any]:
            with tf.GradientTape() as tape:
                arrays = map(tf.convert_to_tensor, self.variables)
                loss, alpha = risk(rebuilt(theta, arrays), data._replace(X=X, y=y), spec, m)
            return loss, alpha, tape.gradient(loss, self.variables)

        self.arguments = data.X, data.y
        self.value_and_grad = value_and_grad

    def load(self, *parameters: Any) -> None:
        """Assign the parameters to the variables."""
        self.load_in_place(*parameters)
        for variable, array in zip(self.variables, self.leaves(), strict=True):
            variable.assign(array)

    def step(self) -> None:
        """One call of the compiled function; on the processor it has ended when it returns."""
        self.loss, self.alpha, self.slopes = self.value_and_grad(*self.arguments)

    def result(self) -> Gradients:
        """The last step's gradients."""
        return self.gradients(
            self.loss.numpy(),
            [tensor.numpy() for tensor in self.slopes],
            None if self.alpha is None else self.alpha.numpy(),
        )
