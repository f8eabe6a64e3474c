"""Numba's `njit` with a compilation cache that cannot go stale, and that finds what a factory made.

Numba's own cache looks only at the file that holds the function: a change in a helper of another module
goes unseen. And Numba's key of a function that holds another compiled one differs from process to process, so that it
is compiled anew in each. Here the cache folder is named after a hash of all the package's sources (`codecache`), and a
function's key is made of what it holds.
"""

import contextlib
import gc
import hashlib
from collections.abc import Callable
from typing import Any

import numba
from numba import _dynfunc
from numba.core import compiler, typed_passes, untyped_passes
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import PassManager
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from bnbench.codecache import CodeCache, cache_dir, source_digest

# What vectorises a sum without making NaN disappear: `nnan` and `ninf` are left out on purpose.
REASSOCIATE = {"reassoc", "contract", "nsz", "arcp", "afn"}


def key(function: Callable, options: dict[str, Any]) -> str:
    """A hash of a function, its compilation options and what it closes over; compiled functions by their own key."""
    code = function.__code__
    options = options | {"fastmath": sorted(options["fastmath"] or ())}  # a set: in another order in every process
    which = function.__module__, function.__qualname__, code.co_firstlineno, sorted(options.items())
    digest = hashlib.sha256(repr(which).encode() + code.co_code)
    for cell in function.__closure__ or ():
        held = cell.cell_contents
        compiled = isinstance(held, CPUDispatcher)
        digest.update(key(held.py_func, held.targetoptions).encode() if compiled else dumps(held))
    return digest.hexdigest()


def cached(compiled: Any, function: Callable, options: dict[str, Any]) -> None:
    """Give a compiled function our cache, if there is one and the function has a source file."""
    folder = cache_dir()
    if folder is not None:
        with contextlib.suppress(OSError):
            source = source_digest(function.__code__.co_filename).hex()
            compiled._cache = CodeCache(folder, function.__name__, source + key(function, options))


def named(function: Callable, options: dict[str, Any]) -> None:
    """Give a closure a name that is the same in every process and no other function's.

    Numba numbers functions to name them in machine code: a function that one process compiled and another loads may
    have the name of a different function there, and the linker takes the first of a name.
    """
    if function.__closure__:
        function.__qualname__ += f".{key(function, options)[:12]}"


class InnerLibrary(JITCodeLibrary):
    """The code of a function that only compiled code calls, linked into every caller and made machine code there.

    Numba's own library also optimises it and makes machine code that nobody runs: a third of the compile time.
    """

    alone = False  # optimised here too: where sums may be reordered, so that no caller decides on their order

    def _optimize_final_module(self) -> None:
        if self.alone:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def no_entry(library: Any, fndesc: Any, env: Any) -> Any:
    """A stand-in for a function's entry from Python, which it lacks: Numba identifies the function by it."""
    library._ensure_finalized()
    return _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname.split(".")[-1], "", 0, env, (library,))


class Unchecked(PassManager):
    """Compiler passes without Numba's self-check after each of them."""

    _ENFORCING = False


PLAIN_PASSES = (
    *("TranslateByteCode", "FixupArgs", "IRProcessing", "RewriteSemanticConstants", "DeadBranchPrune"),
    *("GenericRewrites", "ReconstructSSA", "NopythonTypeInference", "PreLowerStripPhis", "IRLegalization"),
    *("AnnotateTypes", "NativeLowering", "NoPythonBackend"),
)


class Whole(compiler.Compiler):
    """Numba's compiler without garbage collection, which takes a tenth of the time and frees hardly anything."""

    def compile_extra(self, func: Any) -> Any:
        """Compile a function."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(func)
        finally:
            if collects:
                gc.enable()


class Plain(Whole):
    """The same with only the passes that loops over numbers and given arrays need."""

    def define_pipelines(self) -> list[PassManager]:
        """The one pipeline."""
        manager = Unchecked("plain")
        for name in PLAIN_PASSES:
            manager.add_pass(getattr(untyped_passes, name, None) or getattr(typed_passes, name), name)
        manager.finalize()
        return [manager]


class Inner(Plain):
    """The same for an inner function, in its own library and without an entry."""

    def define_pipelines(self) -> list[PassManager]:
        """The one pipeline."""
        state = self.state
        state.library = InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.alone = "reassoc" in state.flags.fastmath.flags
        state.targetctx.get_executable = no_entry  # a copy of the context, for this function alone
        return super().define_pipelines()


class Apart(Inner):
    """The same for one whose arrays do not overlap."""

    def define_pipelines(self) -> list[PassManager]:
        """The one pipeline."""
        self.state.flags.noalias = True
        return super().define_pipelines()


def njit(
    *,
    fastmath: bool | set[str] = False,
    parallel: bool = False,
    forceinline: bool = False,
    inner: bool = False,
    plain: bool = False,
    apart: bool = False,
) -> Callable[[Callable], Any]:
    """`numba.njit(nogil, error_model="numpy")`, cached in `cache_dir()`, or within its callers if it is inner.

    A plain function loops over numbers and the arrays that it is given: it creates none, and has neither array
    expressions nor closures. An inner function is plain, has no entry for Python and no machine code outside its
    callers': only compiled code may call it, and it must not print. With NUMBA_DISABLE_JIT functions stay as they are.
    """
    plain = plain or inner
    options = {"fastmath": fastmath, "parallel": parallel, "error_model": "numpy", "forceinline": forceinline}
    options |= {"nogil": True, "no_cpython_wrapper": inner, "no_cfunc_wrapper": True, "_nrt": not plain}
    pipeline = Apart if apart else Inner if inner else Plain if plain else Whole

    def decorate(function: Callable) -> Any:
        if numba.config.DISABLE_JIT:
            return function
        named(function, options)
        dispatcher = numba.njit(**options, pipeline_class=pipeline)(function)
        if not inner:
            cached(dispatcher, function, dispatcher.targetoptions)
        return dispatcher

    return decorate


def cfunc(signature: Any, *, fastmath: bool | set[str] = False, parallel: bool = False) -> Callable[[Callable], CFunc]:
    """`numba.cfunc(error_model="numpy")`, compiled or taken from `cache_dir()` at once. Its `address` is for C.

    Plain, as in `njit`, unless it is parallel.
    """
    options = {"nopython": True, "fastmath": fastmath, "parallel": parallel, "error_model": "numpy", "_nrt": parallel}

    def decorate(function: Callable) -> CFunc:
        named(function, options)
        pipeline = Whole if parallel else Plain
        compiled = CFunc(function, normalize_signature(signature), {}, options, pipeline_class=pipeline)
        cached(compiled, function, options)
        compiled.compile()
        return compiled

    return decorate
