"""Numba's `njit` with a compilation cache that cannot go stale, and that finds what a factory made.

Numba's own cache looks only at the file that holds the function: a change in a helper of another module
goes unseen. And Numba's key of a function that holds another compiled one differs from process to process, so that it
is compiled anew in each. Here the cache folder is named after a hash of all the package's sources (`codecache`), and a
function's key is made of what it holds.
"""

import contextlib
import hashlib

import numba
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba import _dynfunc
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from bnbench.codecache import CodeCache, cache_dir, source_digest

# What vectorises a sum without making NaN disappear: `nnan` and `ninf` are left out on purpose.
REASSOCIATE = {"reassoc", "contract", "nsz", "arcp", "afn"}


def key(function, options) -> str:
    """A hash of which function it is, how it is compiled and what it holds, compiled functions by their own key."""
    code = function.__code__
    options = options | {"fastmath": sorted(options["fastmath"] or ())}  # a set: in another order in every process
    which = function.__module__, function.__qualname__, code.co_firstlineno, sorted(options.items())
    digest = hashlib.sha256(repr(which).encode() + code.co_code)
    for cell in function.__closure__ or ():
        held = cell.cell_contents
        compiled = isinstance(held, CPUDispatcher)
        digest.update(key(held.py_func, held.targetoptions).encode() if compiled else dumps(held))
    return digest.hexdigest()


def cached(compiled, function, options):
    """Give a compiled function our cache, where there is one and the function has a source file."""
    folder = cache_dir()
    if folder is not None:
        with contextlib.suppress(OSError):
            source = source_digest(function.__code__.co_filename).hex()
            compiled._cache = CodeCache(folder, function.__name__, source + key(function, options))


def named(function, options):
    """Make a closure's name its own in every process.

    Numba counts functions to name them in the machine code: what one process compiled and another loads may be called
    as something else is there, and the linker takes the first of a name.
    """
    if function.__closure__:
        function.__qualname__ += f".{key(function, options)[:12]}"


class InnerLibrary(JITCodeLibrary):
    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    def serialize_using_object_code(self):
        self._ensure_finalized()
        return self.name, "bitcode", self._get_module_for_linking().as_bitcode()


def _entry(library, fndesc, env):
    library._ensure_finalized()
    return _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname.split(".")[-1], "", 0, env, (library,))


class InnerCompiler(Compiler):
    def define_pipelines(self):
        state = self.state
        state.library = InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.targetctx.get_executable = _entry
        return super().define_pipelines()


def njit(*, fastmath=False, parallel=False, forceinline=False, inner=False):
    """`numba.njit(nogil, error_model="numpy")`, cached in `cache_dir()`.

    An inner function has no entry for Python, which takes long to compile: only compiled code may call it. With
    NUMBA_DISABLE_JIT the function is left as it is.
    """
    options = {"fastmath": fastmath, "parallel": parallel, "error_model": "numpy", "forceinline": forceinline}
    options |= {"nogil": True, "no_cpython_wrapper": inner, "no_cfunc_wrapper": True}

    def decorate(function):
        if numba.config.DISABLE_JIT:
            return function
        named(function, options)
        dispatcher = numba.njit(**options, **({"pipeline_class": InnerCompiler} if inner else {}))(function)
        cached(dispatcher, function, dispatcher.targetoptions)
        return dispatcher

    return decorate


def cfunc(signature, *, fastmath=False, parallel=False):
    """`numba.cfunc(error_model="numpy")`, compiled or taken from `cache_dir()` at once. Its `address` is for C."""
    options = {"nopython": True, "fastmath": fastmath, "parallel": parallel, "error_model": "numpy"}

    def decorate(function):
        named(function, options)
        compiled = CFunc(function, normalize_signature(signature), locals={}, options=options)
        cached(compiled, function, options)
        compiled.compile()
        return compiled

    return decorate
