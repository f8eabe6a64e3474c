"""`tensorflow-xla`: TensorFlow's GradientTape in a function compiled by XLA."""

import os
from typing import Any

import numpy as np

from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants.peers import Peer, confine, started


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
        X, y = tf.constant(batch.X), tf.constant(batch.y)
        self.variables = [tf.Variable(array) for array in self.parameters().values()]
        activate = {
            "relu": tf.nn.relu,
            "sigmoid": tf.nn.sigmoid,
            "tanh": tf.nn.tanh,
            "gaussian": lambda B: tf.exp(-0.5 * B * B),
            "identity": lambda B: B,
        }[problem.activation]
        unbiased = problem.N / (problem.N - problem.ddof)

        @tf.function(jit_compile=True)
        def value_and_grad(X: Any, y: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                G1, *affine, G2 = self.variables
                B = tf.matmul(X, G1)
                if affine:
                    gamma, beta = affine
                    mean, variance = tf.nn.moments(B, axes=[0])
                    B = tf.nn.batch_normalization(B, mean, variance * unbiased, beta, gamma, problem.eps)
                loss = tf.reduce_mean((y - tf.linalg.matvec(activate(B), G2)) ** 2)
            return loss, tape.gradient(loss, self.variables)

        self.arguments = X, y
        self.value_and_grad = value_and_grad

    def load(self, G1: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None, G2: np.ndarray) -> None:
        """Assign the parameters to the variables."""
        self.load_in_place(G1, gamma, beta, G2)
        for variable, array in zip(self.variables, self.parameters().values(), strict=True):
            variable.assign(array)

    def step(self) -> None:
        """One call of the compiled function; on the processor it has ended when it returns."""
        self.loss, self.slopes = self.value_and_grad(*self.arguments)

    def result(self) -> Gradients:
        """The last step's gradients."""
        return self.gradients(self.loss.numpy(), [tensor.numpy() for tensor in self.slopes])
