"""How each framework makes running statistics: what is divided by what, momentum, start, and where it is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

EXPONENTIAL, BATCHES, ROWS = "exponential", "batches", "rows"  # what has a weight: see Convention.weights
REFUSED, ZERO = "refused", "variance 0"  # what a batch of one row does


@dataclass(frozen=True)
class Convention:
    """How running statistics are made of batches k = 1, 2, … with m_k rows, mean_k and Σ_k = Σ(z - mean_k)².

    All frameworks normalise a batch by its biased variance, Σ_k/m_k; what they average is var_k = Σ_k/(m_k - ddof).

    Attributes:
        name: the key in `CONVENTIONS`.
        weights: "exponential": an exponential moving average; "batches": every batch counts the same; "rows": every row
            does, so that batches are pooled exactly.
        ddof: what m_k is reduced by in the variance that is averaged.
        eps: added to the variance under the root, by default; None where it is left to the user.
        momentum: by default, as the framework's argument; None where there is none.
        momentum_of: "batch" where new = (1 - momentum)·old + momentum·batch, "old" where new = momentum·old +
            (1 - momentum)·batch, "" where there is no momentum.
        start: (mean, variance) before the first batch; None where they have no weight.
        one_row: a batch of one row is "refused", or has "variance 0".
        source: where it is written.
    """

    name: str
    weights: str
    ddof: int
    eps: float | None
    momentum: float | None
    momentum_of: str
    start: tuple[float, float] | None
    one_row: str
    source: str

    @property
    def update(self) -> str:
        """The update as a formula."""
        if self.weights == EXPONENTIAL:
            old, batch = ("momentum", "(1 - momentum)") if self.momentum_of == "old" else ("(1 - momentum)", "momentum")
            return f"new = {old}·old + {batch}·batch"
        return "mean over batches" if self.weights == BATCHES else "all rows pooled"

    @property
    def divisor(self) -> str:
        """What Σ(z - mean)² is divided by in the variance that is averaged."""
        rows = "N" if self.weights == ROWS else "m"
        return f"{rows} - {self.ddof}" if self.ddof else rows

    def batch_weight(self, momentum: float) -> float:
        """The weight of a batch for a momentum as the framework's argument; the same function turns it back."""
        return 1 - momentum if self.momentum_of == "old" else momentum


CONVENTIONS: Mapping[str, Convention] = MappingProxyType({
    one.name: one
    for one in (
        Convention(
            "pytorch", EXPONENTIAL, 1, 1e-5, 0.1, "batch", (0.0, 1.0), REFUSED,
            "torch.nn.BatchNorm1d: aten/src/ATen/native/Normalization.cpp, batch_norm_cpu_update_stats_template",
        ),
        Convention(
            "pytorch-cumulative", BATCHES, 1, 1e-5, None, "", None, REFUSED,
            "torch.nn.BatchNorm1d(momentum=None): torch/nn/modules/batchnorm.py, 1/num_batches_tracked",
        ),
        Convention(
            "keras", EXPONENTIAL, 0, 1e-3, 0.99, "old", (0.0, 1.0), ZERO,
            "keras.layers.BatchNormalization (Keras 3): keras/src/layers/normalization/batch_normalization.py, call",
        ),
        Convention(
            "flax", EXPONENTIAL, 0, 1e-5, 0.99, "old", (0.0, 1.0), ZERO,
            "flax.linen.BatchNorm, flax.nnx.BatchNorm: flax/linen/normalization.py, BatchNorm.__call__",
        ),
        Convention(
            "onnx", EXPONENTIAL, 0, 1e-5, 0.9, "old", (0.0, 1.0), ZERO,
            "BatchNormalization with training_mode=1, opset 14 and 15: onnx/docs/Operators.md",
        ),
        Convention(
            "tensorflow-fused", EXPONENTIAL, 1, 1e-3, 0.99, "old", (0.0, 1.0), ZERO,
            "tf.compat.v1.nn.fused_batch_norm, behind Keras 2's layer for images: "
            "tensorflow/core/kernels/fused_batch_norm_op.cc",
        ),
        Convention(
            "paper", BATCHES, 1, None, None, "", None, REFUSED,
            "Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 2, line 10: m/(m-1)·E[σ²_B]",
        ),
        Convention(
            "population", ROWS, 0, None, None, "", None, ZERO,
            "the mean and variance of all rows: Chan, Golub and LeVeque 1983, The American Statistician 37, 242-247",
        ),
    )
})  # fmt: skip
