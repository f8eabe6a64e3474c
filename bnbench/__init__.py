"""Backpropagation through batch normalisation, loops against matrix form: proven right and measured honestly."""

from typing import Any

from bnbench.library import gradients, prepare
from bnbench.problem import Batch, Gradients, Problem

# `bnbench.variants` is from here on the function of the contract; the package of that name stays importable.
from bnbench.variants import PluginError, Variant, variant, variants

__version__ = "0.1.0"

__all__ = [
    "CONVENTIONS",
    "Batch",
    "BatchNormClassifier",
    "BatchNormRegressor",
    "Gradients",
    "PluginError",
    "Problem",
    "RunningStatistics",
    "Sums",
    "Variant",
    "__version__",
    "can_fail",
    "check_layer",
    "diagnose",
    "gradients",
    "identify",
    "population",
    "predict",
    "prepare",
    "variant",
    "variants",
]


def __getattr__(name: str) -> Any:
    if name == "diagnose":  # the audit's imports are paid by those who ask for it
        from bnbench.audit.diagnosis import diagnose

        return diagnose
    if name == "Sums":
        from bnbench.chunked.sums import Sums

        return Sums
    if name == "predict":
        from bnbench.prediction import predict

        return predict
    if name in ("BatchNormClassifier", "BatchNormRegressor"):
        import bnbench.estimators as estimators

        return getattr(estimators, name)
    if name in ("CONVENTIONS", "RunningStatistics", "identify", "population"):
        import bnbench.running as running

        return getattr(running, name)
    if name in ("torch", "jax", "chunked"):  # what only its users have loaded
        import importlib

        return importlib.import_module(f"bnbench.{name}")
    if name in ("check_layer", "can_fail"):
        import bnbench.audit.layer as layer

        return getattr(layer, name)
    raise AttributeError(f"module 'bnbench' has no attribute {name!r}")
