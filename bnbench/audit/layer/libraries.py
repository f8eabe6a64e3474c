"""Arrays in the library and dtype that a layer wants: NumPy's, PyTorch's or JAX's."""

import contextlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench.audit.layer.styles import names_in


@dataclass(frozen=True)
class Manner:
    """How the layer wants its arrays: of which library and dtype, gamma of which shape, and how many nodes."""

    library: str
    dtype: str
    shape: tuple[int, ...]
    width: int

    def array(self, values: Any, like: Any = None) -> Any:
        """The values in the layer's library, or in that of what its forward gave."""
        values, library = np.array(values, self.dtype, order="C"), self.library
        if library == "numpy":
            module = type(like).__module__.partition(".")[0]
            library = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}.get(module, "numpy")
        if library == "torch":
            tensor = sys.modules["torch"].from_numpy(values)
            return tensor.to(like.dtype) if isinstance(like, sys.modules["torch"].Tensor) else tensor
        if library == "jax":
            with self.precision():
                return sys.modules["jax"].numpy.asarray(values)
        return values

    def precision(self) -> contextlib.AbstractContextManager:
        """The context in which JAX computes in float64, where that is wanted of it."""
        jax: Any = sys.modules.get("jax")
        if jax is None or self.dtype != "float64" or self.library != "jax":
            return contextlib.nullcontext()
        return (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True)


def manners(functions: tuple[Callable, ...]) -> list[tuple[str, str]]:
    """Library and dtype to try with these functions, the likeliest first."""
    loaded = [name for name in ("torch", "jax") if name in sys.modules]
    own = {name for name in loaded if _use(functions, name)}
    order = sorted(loaded, key=lambda name: name not in own)
    tensors = [(name, dtype) for name in order for dtype in ("float64", "float32")]
    arrays = [("numpy", "float64"), ("numpy", "float32")]
    return tensors + arrays if own and not _use(functions, "numpy") else arrays[:1] + tensors + arrays[1:]


def _use(functions: tuple[Callable, ...], library: str) -> bool:
    """Whether the functions' code names a module of the library: a file may import more than one."""
    for function in functions:
        function = inspect.unwrap(getattr(function, "__func__", function))
        space, code = getattr(function, "__globals__", {}), getattr(function, "__code__", None)
        for name in names_in(code):
            value = space.get(name)
            if inspect.ismodule(value) and value.__name__.split(".")[0] == library:
                return True
    return False


def numbers(value: Any) -> np.ndarray:
    """An array of any library as NumPy's."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of what NumPy reads as one array; None for anything else."""
    try:
        shape = value.shape if hasattr(value, "shape") else None if value is None else np.shape(value)
        return shape if shape is None else tuple(shape)
    except (TypeError, ValueError, RuntimeError):
        return None
