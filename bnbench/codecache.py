"""Compiled code on disk: compiled by one process, loaded by others.

A file holds the code of one function for one signature, processor and setting of Numba, and its checksum. There is no
index, unlike in Numba's own cache: a damaged file costs one compilation and is then replaced, and processes that write
at once write the same. Loading means unpickling, which can run any code: only files that nobody else can write to are
read.
"""

import contextlib
import functools
import hashlib
import io
import os
import pickle
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import platformdirs
from llvmlite import binding
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult
from numba.core.environment import Environment, _rebuild_env, lookup_environment
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from bnbench import compiling
from bnbench.width import vectors

SWITCH = "BNBENCH_JIT_CACHE"  # environment:
OFF = "off"  # every process compiles afresh,
FRESH = "fresh"  # or that as well, but keeps what it compiled for others: workers whose compiling is timed;
ALWAYS = "always"  # with this they load it too, with the seconds it once took
KEPT_FOLDERS = 3
IN_USE_S = 24 * 3600.0  # since a process began with a folder, in which it may still be using it
CHECKSUM_BYTES = hashlib.sha256().digest_size

VERSIONS = numba.__version__, llvmlite.__version__, np.__version__, sys.version, sys.platform
# Settings of Numba that leave the code as it is, and that often differ from process to process. All others are part of
# the key: one too many costs a compilation, one too few a wrong answer.
NOT_IN_CODE = {"CACHE_DIR", "CACHE_LOCATOR_CLASSES", "DEBUG_CACHE", "DISABLE_JIT", "FUNCTION_CACHE_SIZE", "GDB_BINARY"}
NOT_IN_CODE |= {"NUMBA_NUM_THREADS", "NUMBA_DEFAULT_NUM_THREADS", "THREADING_LAYER", "THREADING_LAYER_PRIORITY"}


@functools.cache
def cache_dir() -> Path | None:
    """The folder that holds this version's compiled code; None where caching is off or not possible."""
    return find_folder()[0]


def find_folder() -> tuple[Path | None, str]:
    """The folder of this version's compiled code, made if absent; and why there is none, or why none can be added."""
    switch = os.environ.get(SWITCH, "")
    if switch == OFF:
        return None, f"{SWITCH} is off"
    if switch not in ("", FRESH, ALWAYS):
        allowed = f'allowed is "off" or "{ALWAYS}"'
        warnings.warn(f"{SWITCH} is {switch!r} and has no effect; {allowed}", RuntimeWarning, stacklevel=3)
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    base = platformdirs.user_cache_path("bnbench") / "compiled"
    if not sources:
        return None, "the package has no sources here to tell its versions apart by"
    if not base.is_absolute():
        return None, f"this user has no home for it: {base}"
    folder = base / hashlib.sha256(b"".join(map(source_digest, sources))).hexdigest()[:16]
    for each in (base, folder):
        if not ours(each):
            return None, f"{each} cannot be created, belongs to another user, or is writable by others"
    with contextlib.suppress(OSError):  # a cache that can only be read is as good
        os.utime(folder)
        tidy(base)
    return folder, "" if os.access(folder, os.W_OK) else f"{folder} is not writable"


def report() -> dict[str, Any]:
    """Where compiled code is kept, how many files of what size, and a warning, a sentence or ""."""
    folder, reason = find_folder()
    sizes = []
    with contextlib.suppress(OSError):
        sizes = [entry.stat().st_size for entry in os.scandir(folder)] if folder else []
    kept = {"folder": str(folder) if folder else "", "files": len(sizes), "bytes": sum(sizes)}
    return kept | {"warning": reason and f"compiled code is not kept, so every process compiles again: {reason}"}


def tidy(base: Path) -> None:
    """Remove the folders of other versions, except the latest few."""
    by_age = sorted((path.stat().st_mtime, path) for path in base.iterdir())
    for used, old in by_age[:-KEPT_FOLDERS]:
        if used < time.time() - IN_USE_S:
            shutil.rmtree(old, ignore_errors=True)


def ours(folder: Path) -> bool:
    """Whether nobody else can write into a folder, which is made if absent."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _ours(folder.stat())
    except OSError:
        return False


def _ours(about: os.stat_result) -> bool:
    return os.name != "posix" or (about.st_uid == os.geteuid() and not about.st_mode & 0o022)


def source_digest(path: str | Path) -> bytes:
    """A hash of a source file."""
    return hashlib.sha256(Path(path).read_bytes()).digest()


def settings() -> list[tuple[str, str]]:
    """All settings of Numba that may change the code."""
    numba.config.reload_config()  # as its compiler does
    return sorted(
        (name, repr(value))
        for name, value in vars(numba.config).items()
        if name.isupper() and name not in NOT_IN_CODE and "CUDA" not in name
    )


class CodeCache(NullCache):
    """The cache that Numba asks for one function's code; the key says everything but Numba's settings."""

    def __init__(self, folder: Path, name: str, key: str) -> None:
        self.folder, self.name, self.key = folder, name, key

    @property
    def cache_path(self) -> str:
        """The folder, for Numba's statistics."""
        return str(self.folder)

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """Compiled code; None if there is none that is intact, or none with its compile times where they are needed.

        What only a compiler asks for is left out, unlike in Numba's own cache, for it takes longer than all else here:
        Numba's implementations of Python and NumPy, which it loads when it compiles, and the bitcode of the function.
        """
        if os.environ.get(SWITCH) == FRESH:
            return None
        account = compiling.account()
        with compiling.aside():
            content = read(self._path(sig, target_context.codegen()))
            if content is None:
                return None
            code, needs = Unpickler(io.BytesIO(content)).load()
            if account is not None and needs is None:  # whoever compiled it took no time
                return None
            rtsys.initialize(target_context)
            result = rebuild(target_context, *code)
            if account is not None:
                account.loaded(result.library, needs)
            return result

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save compiled code; if that fails (full disk, folder not ours), it is compiled again."""
        if data.library.has_dynamic_globals:  # addresses of this process
            return
        account = compiling.account()
        with compiling.aside(), contextlib.suppress(OSError):
            needs = None if account is None else account.needs([data.library])
            code = defined_symbols(data.library), data._reduce()
            write(self._path(sig, data.codegen), dumps((code, needs)))

    def _path(self, signature: Any, codegen: Any) -> Path:
        what = self.key, repr(signature), codegen.magic_tuple(), VERSIONS, vectors(), settings()
        return self.folder / f"{self.name}-{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}"


class LoadedLibrary(JITCodeLibrary):
    """The object code of a library; its bitcode is parsed when a function that calls it is compiled."""

    def __init__(self, codegen: Any, symbols: set[str], name: str, object_code: bytes, bitcode: bytes) -> None:
        super().__init__(codegen, name)
        self.bitcode = bitcode
        self.enable_object_caching()
        self._set_compiled_object(object_code)
        self._finalize_final_module()
        codegen._engine._defined_symbols |= symbols

    def _get_module_for_linking(self) -> Any:
        if self._shared_module is None:
            self._shared_module: Any = binding.parse_bitcode(self.bitcode)
        return self._shared_module


def defined_symbols(library: Any) -> set[str]:
    """The names that a library defines."""
    module = library._get_module_for_linking()
    every = (*module.functions, *module.global_variables)
    return {symbol.name for symbol in every if not symbol.is_declaration}


def rebuild(context: Any, symbols: set[str], state: tuple) -> CompileResult:
    """What `CompileResult._rebuild` makes of a state, with a `LoadedLibrary` in it."""
    (name, kind, code), fndesc, env, signature, objectmode, lifted, annotation, reload_init, referenced_envs = state
    if kind != "object":
        return CompileResult._rebuild(context, *state)
    for initialize in reload_init:
        initialize()
    codegen = context.codegen()
    library = LoadedLibrary(codegen, symbols, name, *code)
    entry = context.get_executable(library, fndesc, env)
    for each in referenced_envs:
        codegen.set_env(each.env_name, each)
    known = {"target_context": context, "typing_context": context.typing_context, "library": library}
    known |= {"entry_point": entry, "fndesc": fndesc, "environment": env, "referenced_envs": referenced_envs}
    known |= {"signature": signature, "objectmode": objectmode, "lifted": lifted, "reload_init": reload_init}
    return CompileResult(**dict.fromkeys(CompileResult._fields) | known | {"type_annotation": annotation})


class Unpickler(pickle.Unpickler):
    """Loads what Numba pickled, without importing the modules of functions that were inlined."""

    def find_class(self, module: str, name: str) -> Any:
        """As usual, except for what rebuilds an environment."""
        if (module, name) == (_rebuild_env.__module__, _rebuild_env.__name__):
            return rebuild_environment
        return super().find_class(module, name)


def rebuild_environment(module: str, constants: list, name: str) -> Environment:
    """A function's environment. Compiled code uses nothing of its module, which is not imported if absent."""
    environment = lookup_environment(name)
    if environment is None:
        loaded = sys.modules.get(module)
        environment = Environment({"__name__": module} if loaded is None else loaded.__dict__)
        environment.consts[:] = constants
        environment.env_name = name
        Environment._memo[name] = environment
    return environment


def read(path: Path) -> bytes | None:
    """What was written to a file; None if it is absent, damaged, or may be somebody else's."""
    try:
        with open(path, "rb") as file:
            whole = file.read() if _ours(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    checksum, content = whole[:CHECKSUM_BYTES], whole[CHECKSUM_BYTES:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write(path: Path, content: bytes) -> None:
    """Write a file atomically, in place of whatever is there."""
    if not ours(path.parent):
        return
    handle, unfinished = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
