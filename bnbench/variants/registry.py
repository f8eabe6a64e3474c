"""The registry: names to Variant classes. Built-in ones are imported when they are asked for; plug-ins join it."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from bnbench.variants.base import Variant

FAMILIES = ("loops", "matrix", "fused", "autodiff")
ENTRY_POINTS = "bnbench.variants"
BUILT_IN = {  # module to the variants that it defines
    "loops_python": ("loops-python",),
    "loops_numba": ("loops-numba", "loops-numba-parallel"),
    "matrix_numpy": ("matrix-numpy",),
    "matrix_numba": ("matrix-numba",),
    "matrix_kronecker": ("matrix-kronecker",),
    "fused_numba": ("fused-numba",),
    "on_cuda": ("loops-cuda", "matrix-cuda", "fused-cuda"),
    "peer_cpp": ("loops-cpp", "matrix-eigen"),
    "peer_pythran": ("loops-pythran", "matrix-pythran"),
    "peer_autograd": ("autograd",),
    "peer_torch": ("torch-eager", "torch-compile", "torch-cuda", "torch-cuda-compile"),
    "peer_jax": ("jax-jit", "jax-cuda"),
    "peer_tensorflow": ("tensorflow-xla",),
    "peer_r": ("r-matrix", "r-loop", "rcpp-loop"),
}
HOMES = {name: f"bnbench.variants.{module}" for module, names in BUILT_IN.items() for name in names}

# Built-in variants hold their places from the start, with None until their modules are imported.
_registry: dict[str, type[Variant] | None] = dict.fromkeys(HOMES)

_turns = threading.RLock()  # another thread waits for the entry points; one of them may ask for the variants itself
_loaded: set[str] = set()
_plugins: dict[Path, list[str]] = {}  # file to the names it registered
_loading: list[list[str]] = []  # names registered so far by each plug-in that is being loaded; none may come twice


class PluginError(Exception):
    """A plug-in could not be loaded; the message is one line."""


def register(cls: type[Variant]) -> None:
    """Add a Variant class under its name, which must be new."""
    name, family = cls.name, getattr(cls, "family", None)
    if not isinstance(name, str) or not name or any(c in ", /" for c in name) or not name.isprintable():
        raise ValueError(f"variant name is {name!r}; allowed is a word without commas, slashes or blanks")
    if not isinstance(family, str) or not family:
        raise ValueError(f"family of {name} is {family!r}; allowed is a word such as {', '.join(FAMILIES)}")
    if HOMES.get(name, cls.__module__) != cls.__module__ or not _replaces(cls, _registry.get(name) or cls):
        raise ValueError(f"variant name {name!r} is taken; give the plug-in another")
    _registry[name] = cls
    if _loading:
        _loading[-1].append(name)


def _replaces(cls: type[Variant], old: type[Variant]) -> bool:
    """Whether a class may take another's name: only the same definition run again, as in a notebook cell."""
    same = (cls.__module__, cls.__qualname__) == (old.__module__, old.__qualname__)
    twice = any(cls.name in names for names in _loading)
    return cls is old or (same and not twice and not cls.__module__.startswith("bnbench."))


def find(name: str) -> type[Variant] | None:
    """The class of a name, or None; for a built-in one, only its own module is imported.

    Raises:
        PluginError: as `variants`, where the name is not a built-in one's.
    """
    if name not in HOMES:
        return variants().get(name)
    importlib.import_module(HOMES[name])  # waits where another thread is at it
    return _registry[name]


def variants() -> Mapping[str, type[Variant]]:
    """Name to Variant class, in registration order: the built-in ones, entry points, loaded plug-ins.

    Raises:
        PluginError: an installed entry point could not be loaded.
    """
    load_built_in()
    return MappingProxyType(cast("dict[str, type[Variant]]", _registry))  # all are imported now


def load_built_in() -> None:
    """Import the built-in variants and the installed entry points, once."""
    if ENTRY_POINTS in _loaded:
        return
    import importlib.metadata

    for home in HOMES.values():
        importlib.import_module(home)
    with _turns:
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
            if entry.name not in _loaded:
                _loaded.add(entry.name)
                _guarded(f"entry point {entry.name} ({entry.value})", entry.load)
        _loaded.add(ENTRY_POINTS)


def load_plugin(path: str | Path) -> list[str]:
    """Run a plug-in file, once, and return the names of the variants it registered.

    Raises:
        PluginError: the file is missing, fails, or registers no variant; then nothing of it stays.
    """
    import hashlib
    import importlib.util

    load_built_in()
    path = Path(path).resolve()
    if path in _plugins:
        return _plugins[path]
    if not path.is_file():
        raise PluginError(f"plug-in {path.name}: there is no such file at {path}")
    # The folder's hash tells files of the same name apart, and is the same in every process.
    module_name = f"bnbench_plugin_{path.stem}_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plug-in {path.name}: allowed is a Python file, NAME.py")
    module, run = importlib.util.module_from_spec(spec), spec.loader.exec_module
    sys.modules[module_name] = module
    try:
        names = _guarded(f"plug-in {path.name}", lambda: run(module))
        if not names:
            raise PluginError(
                f"plug-in {path.name} registers no variant; decorate a function with @bnbench.variant(name, family=…)"
            )
    except BaseException:
        del sys.modules[module_name]
        raise
    _plugins[path] = names
    return names


def _guarded(what: str, load: Callable[[], object]) -> list[str]:
    """Load a plug-in and return the names it registered; where it fails, the registry is as before."""
    before = dict(_registry)
    names: list[str] = []
    _loading.append(names)
    try:
        load()
        return list(dict.fromkeys(names))
    except BaseException as error:
        _registry.clear()
        _registry.update(before)
        if isinstance(error, KeyboardInterrupt):
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"{what} could not be loaded: {text}") from error
    finally:
        _loading.pop()
