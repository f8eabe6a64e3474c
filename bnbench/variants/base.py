"""The one interface of every implementation, and the registry that they and plug-ins join."""

import gc
import importlib
import inspect
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from bnbench.problem import Batch, Gradients, Problem, check_conventions

# What a variant may support a part of, and the field of a problem that it is.
SUPPORTS = {"activations": "activation", "normalizations": "normalization", "ddof": "ddof", "eps": "eps"}
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
    "peer_autograd": ("autograd",),
    "peer_torch": ("torch-eager", "torch-compile", "torch-cuda", "torch-cuda-compile"),
    "peer_jax": ("jax-jit", "jax-cuda"),
    "peer_tensorflow": ("tensorflow-xla",),
    "peer_r": ("r-matrix", "r-loop", "rcpp-loop"),
}
HOMES = {name: f"bnbench.variants.{module}" for module, names in BUILT_IN.items() for name in names}

# The built-in ones stand in their order from the start, with None until their modules are imported.
_registry: dict[str, type["Variant"] | None] = dict.fromkeys(HOMES)


class PluginError(Exception):
    """A plug-in could not be loaded; the message is one line."""


class Variant(ABC):
    """One implementation of the step. A subclass with a `name` joins the registry.

    `prepare` is called once a problem, `step` any number of times (it alone is timed), `result` after it.
    The first paragraph of a subclass's docstring is its description in `list`.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    device: ClassVar[str] = "cpu"
    formula: ClassVar[str] = ""  # how it arranges the computation, for the report: a line of mathematics each
    compile_allowance_s: ClassVar[float] = 0.0  # added to the time-out for a first step that compiles
    arrays_like_X: ClassVar[float] = 0  # the memory model: how many arrays of that size a step holds at its peak,
    arrays_like_Z: ClassVar[float] = 1
    arrays_like_G1: ClassVar[float] = 3  # the parameters' copy, their gradient and its copy
    keeps_X: ClassVar[bool] = False  # and whether it has an X of its own where that is fixed
    algorithms: ClassVar[Mapping[str, str]] = MappingProxyType({})  # name to what it is, where it chooses among some
    supports: ClassVar[Mapping[str, tuple]] = MappingProxyType({})  # of `SUPPORTS`, those values alone

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            register(cls)

    @classmethod
    def unavailable(cls) -> str:
        """Why it cannot run on this machine, as a sentence; "" where it can."""
        return ""

    @classmethod
    def unsupported(cls, problem: Problem, regime: str) -> str:
        """Why it cannot take this problem, as a sentence; "" where it can: by default, what `supports` says."""
        return cls.declines(problem)

    @classmethod
    def declines(cls, problem: Problem) -> str:
        """Why a problem's conventions are none of those that `supports` names; "" where they are."""
        for name, field in SUPPORTS.items():
            value, allowed = getattr(problem, field), cls.supports.get(name)
            if allowed is not None and value not in allowed:
                return f"{field} is {value}; it supports {', '.join(f'{each}' for each in allowed)}"
        return ""

    @classmethod
    def needs_bytes(cls, problem: Problem, regime: str) -> int:
        """Bytes it takes beyond X and y at a problem; where a worker has not so many, the cell is not tried.

        By default so many arrays of the size of X, Z and Γ1 as the class says.
        """
        N, p1, p2 = problem.N, problem.p1, problem.p2
        like_X = cls.arrays_like_X + (cls.keeps_X and regime == "fixed" and problem.normalization == "batch")
        numbers = N * (like_X * p1 + cls.arrays_like_Z * p2 + 1) + cls.arrays_like_G1 * p1 * p2
        return int(numbers * (4 if problem.dtype == "float32" else 8))

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh"):
        """Set up for a problem; in the regime "fixed" what depends on X alone may be kept.

        The arrays of the batch are C-contiguous, of the problem's dtype, and stay the caller's: read only.
        A subclass calls this first; `self.batch` is then the caller's X and y with parameters of the variant's own.
        """
        parameters = (None if array is None else np.array(array) for array in batch[2:])
        self.batch, self.problem, self.regime = Batch(*batch[:2], *parameters), problem, regime

    def load(self, G1, gamma, beta, G2):
        """Take new parameters, of the same shapes, for the steps to come.

        The default prepares anew with them, which is right wherever `prepare` put the parameters, and slow. A variant
        that reads them from `self.batch` in every step says `load = Variant.load_in_place`; one that keeps them
        elsewhere overrides it.
        """
        self.prepare(Batch(*self.batch[:2], G1, gamma, beta, G2), self.problem, self.regime)

    def load_in_place(self, G1, gamma, beta, G2):
        """Copy new parameters into those of `self.batch`."""
        for mine, new in zip(self.batch[2:], (G1, gamma, beta, G2), strict=True):
            if mine is not None:
                mine[...] = new

    def __reduce__(self):
        raise TypeError(
            f"a {type(self).__name__} can be neither copied nor pickled: it holds memory that compiled code knows by "
            "address; allowed is to copy what bnbench.prepare gives, which sets up anew"
        )

    def start_compiler(self) -> float:
        """Seconds of what a compiler other than Numba's does but once a process; 0 where there is none.

        A worker that times compiling calls it before each `prepare`, and takes the first answer. From here on what was
        compiled for another problem must not serve this one, unless a process compiles it once for all problems.
        """
        return 0.0

    @abstractmethod
    def step(self):
        """Forward and backward pass into the variant's own buffers; synchronised when it returns."""

    def time(self, count: int) -> float:
        """Seconds of so many steps, by this process's clock; override it where the steps run under another."""
        steps, step = range(count), self.step
        gc.disable()
        try:
            start = time.perf_counter()
            for _ in steps:
                step()
            return time.perf_counter() - start
        finally:
            gc.enable()

    def device_times(self) -> dict[str, float]:
        """Of a step on a device, beside its warm time: medians in seconds, any of these.

        `cold_s`: a step after the device's cache was emptied; `host_to_device_s`: copying X, y and the parameters
        there; `end_to_end_s`: those copies, a step, and the gradients copied back.
        """
        return {}

    def use_threads(self, threads: int) -> dict[str, int]:
        """Hold thread pools that threadpoolctl and Numba do not know to so many threads; pool to number in force."""
        return {}

    def details(self) -> dict[str, str]:
        """What else to record of the last step: the algorithm that was used, a library that it ran on."""
        return {}

    @abstractmethod
    def result(self) -> Gradients:
        """The last step's `Gradients`, in arrays that later steps leave alone."""


class FunctionVariant(Variant):
    """A plain function as a variant: what `@bnbench.variant` makes of it.

    It is given the conventions that are among its keywords. Without `activation` or `normalization` it is taken to have
    the library's default built in, unless it says what it supports; without `ddof` or `eps` it is held to what is
    asked.
    """

    function: ClassVar[Callable]
    load = Variant.load_in_place

    @classmethod
    def unsupported(cls, problem, regime):
        """What it says itself, and an activation or normalization that it has no keyword for."""
        taken = keywords(cls.function)
        for name, plural, built_in in (
            ("activation", "activations", "relu"),
            ("normalization", "normalizations", "batch"),
        ):
            value = getattr(problem, name)
            if name not in taken and plural not in cls.supports and value != built_in:
                return (
                    f"{name} is {value}; the function has no keyword {name}, so {built_in} is taken to be built in "
                    f"(another is said by supports={{'{plural}': [...]}})"
                )
        return cls.declines(problem)

    def prepare(self, batch, problem, regime="fresh"):
        """Keep the arrays and the conventions that the function is called with."""
        super().prepare(batch, problem, regime)
        taken = keywords(self.function)
        self.conventions = {name: getattr(problem, name) for name in SUPPORTS.values() if name in taken}
        self.answer, self.read = None, ()

    def step(self):
        """Call the function."""
        self.answer = self.function(*self.batch, **self.conventions)

    def result(self):
        """What the function returned, as Gradients where it has five parts; tensors and rows of numbers are read."""
        if not isinstance(self.answer, tuple | list) or len(self.answer) != len(Gradients._fields):
            return self.answer
        pairs = zip(Gradients._fields, self.answer, strict=True)
        parts, remarks = zip(*(_read(name, value) for name, value in pairs), strict=True)
        self.read = tuple(filter(None, remarks))
        return Gradients(*parts)

    def details(self):
        """How the answer was read, where that is worth a remark."""
        return {"read": "; ".join(self.read)} if self.read else {}


def _read(name, value):
    """A part of an answer as a NumPy array, where another library's array or a single row stands for it; a remark."""
    remark = ""
    if value is not None and not isinstance(value, np.ndarray | np.generic | int | float | str):
        library = type(value).__module__.split(".")[0]
        kind = type(value).__name__ if library == "builtins" else f"{library}.{type(value).__name__}"
        array = value
        try:
            if hasattr(value, "detach"):  # PyTorch's, from whatever device and graph
                array = value.detach().cpu()
            array = np.asarray(array)
        except Exception:  # of whatever library it is: the verdict says what it is not
            return value, ""
        if array.dtype.kind != "f":
            return value, ""
        value = array
        remark = f"{name} came back as a {kind}, and was read as an array"
    single = isinstance(value, np.ndarray) and value.ndim and (value.size == 1 if name == "loss" else 1 in value.shape)
    if single and (name == "loss" or (name in ("dgamma", "dbeta", "dG2") and value.ndim == 2)):
        remark = f"{name} has shape {value.shape}, and was read as {'a number' if name == 'loss' else 'a vector'}"
        value = value.reshape(() if name == "loss" else -1)
    return value, remark


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to: to Numba that is a type of its own, for which it compiles anew."""
    view = array.view()
    view.flags.writeable = False
    return view


def keywords(function) -> frozenset[str]:
    """Those of the conventions that a function can be given by name; all of them where that cannot be told."""
    every = frozenset(SUPPORTS.values())
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return every
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return every
    return every & {one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}


def _misfit(function) -> str:
    """Why a function cannot be called as a step is, where it can be told; a layer's is told what to type."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    names = [name for name, one in signature.parameters.items() if one.kind is not one.KEYWORD_ONLY]
    conventions = dict.fromkeys(keywords(function))
    if not names:
        return ""
    try:
        signature.bind(*Batch._fields, **conventions)
    except TypeError:
        pass
    else:
        return ""
    told = f"{getattr(function, '__name__', 'it')}({', '.join(signature.parameters)})"
    if len(names) <= 4:
        return (
            f"{told} is a layer's function, not a step; leave the decorator out and type: "
            "python -m bnbench audit --layer FILE.py"
        )
    return f"{told} cannot be called as step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps)"


def _supported(supports) -> Mapping[str, tuple]:
    """What a variant says it supports, checked: a tuple for each name."""
    made = {}
    for name, values in dict(supports or {}).items():
        if name not in SUPPORTS:
            raise ValueError(f"supports has {name!r}; allowed are {', '.join(SUPPORTS)}")
        values = tuple(values) if isinstance(values, tuple | list | set | frozenset | range) else (values,)
        for value in values:
            asked = {"activation": "relu", "normalization": "batch", "ddof": 0, "eps": 0.0} | {SUPPORTS[name]: value}
            check_conventions(**asked)
        if not values:
            raise ValueError(f"supports has no {name}; allowed is at least one")
        made[name] = values
    return MappingProxyType(made)


def register(cls: type[Variant]):
    """Add a Variant class under its name; the name must be new."""
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


def _replaces(cls, old):
    """Whether a class may take another's name: it is that very definition run again, as in a notebook's cell."""
    same = (cls.__module__, cls.__qualname__) == (old.__module__, old.__qualname__)
    twice = any(cls.name in names for names in _loading)
    return cls is old or (same and not twice and not cls.__module__.startswith("bnbench."))


def variant(name: str, *, family: str, device: str = "cpu", supports: Mapping | None = None):
    """Register a function or a `Variant` subclass under a name: `@bnbench.variant("mine", family="matrix")`.

    The function is `step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps)` and returns
    `loss, dG1, dgamma, dbeta, dG2` in the arrays' dtype. A keyword that it lacks is one that it does not take.

    Args:
        name: a word.
        family: "loops", "matrix", "fused", "autodiff" or another word.
        device: "cpu", or "cuda" where its steps run there.
        supports: what it is right for, where that is not everything: any of "activations", "normalizations", "ddof" and
            "eps" to a value or several, as in `supports={"activations": ["relu"], "ddof": 0}`. It is asked that alone.

    Raises:
        ValueError: the name is taken or no plain word, the function cannot be called so, supports is not as above.
    """
    supported = _supported(supports)

    def decorate(target):
        if isinstance(target, type) and issubclass(target, Variant):
            target.name, target.family, target.device = name, family, device
            target.supports = supported or target.supports
            register(target)
            return target
        if not callable(target):
            raise ValueError(f"variant {name!r} decorates {target!r}; allowed is a function or a Variant")
        if reason := _misfit(target):
            raise ValueError(f"variant {name!r}: {reason}")
        called = getattr(target, "__name__", name)
        body = {
            "supports": supported,
            "name": name,
            "family": family,
            "device": device,
            "function": staticmethod(target),
            "__doc__": target.__doc__ or f"The plug-in function {called}.",
            "__module__": target.__module__,
            "__qualname__": getattr(target, "__qualname__", called),
        }
        type(called, (FunctionVariant,), body)
        return target

    return decorate


def find(name: str) -> type[Variant] | None:
    """The class of a name, None where there is none; of a built-in one no other module is imported.

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
    return MappingProxyType(_registry)


def load_built_in():
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
    # The folder's hash keeps files of one name apart, in every process alike.
    module_name = f"bnbench_plugin_{path.stem}_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None:
        raise PluginError(f"plug-in {path.name}: allowed is a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        names = _guarded(f"plug-in {path.name}", lambda: spec.loader.exec_module(module))
        if not names:
            raise PluginError(
                f"plug-in {path.name} registers no variant; decorate a function with @bnbench.variant(name, family=…)"
            )
    except BaseException:
        del sys.modules[module_name]
        raise
    _plugins[path] = names
    return names


_turns = threading.RLock()  # another thread waits for the entry points; one of them may ask for the variants itself
_loaded: set[str] = set()
_plugins: dict[Path, list[str]] = {}  # file to the names it registered
_loading: list[list[str]] = []  # names registered so far by each plug-in that is being loaded; none may come twice


def _guarded(what, load):
    """Load a plug-in and return the names it registered; where it fails, the registry is as before."""
    before, names = dict(_registry), []
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
