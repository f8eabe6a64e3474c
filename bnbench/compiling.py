"""Compile times: the seconds of every function that Numba compiles in this process.

A function is compiled once, for the first caller that needs it; a process that calls a single kernel pays for all
that the kernel contains. So an `Account` keeps each function's own seconds, without those of functions compiled on
the way, and the names of all functions that it needs; `Calls` records which kernels are called, and adds up what they
need. Seconds are the compiling thread's processor time, independent of what else the machine does.

Nothing is recorded, and Numba is left alone, until `listen` is called.
"""

import collections
import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

START = "the compiler itself"  # the name of what it does once per process

_account: "Account | None" = None


class Frame:
    """A compilation in progress: what was compiled within it, and the seconds of that."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}  # name of a function to its own seconds
        self.inner_s = 0.0
        self.took_s = 0.0  # its own seconds, once it has ended well


class Account:
    """Every compiled function's seconds, by the library of machine code that it lies in.

    Numba holds a lock while it compiles, so there is one stack of frames.
    """

    def __init__(self) -> None:
        self.parts: weakref.WeakKeyDictionary[Any, dict[str, float]] = (
            weakref.WeakKeyDictionary()
        )  # library to the seconds of all that it needs, by function
        self.from_cache: set[str] = set()  # names of those whose seconds an earlier process wrote down
        self.by_address: weakref.WeakValueDictionary[int, Any] = (
            weakref.WeakValueDictionary()
        )  # address of a C function to its library
        self.names: weakref.WeakKeyDictionary[Any, str] = (
            weakref.WeakKeyDictionary()
        )  # library of a C function to its name
        self.open: list[Frame] = []
        self.times: collections.Counter[str] = collections.Counter()  # how many functions of a name were compiled
        self.log: dict[str, float] = {}  # own seconds by name, of all
        self.start_s: float | None = None
        self.aside_s = 0.0  # by the wall's clock, in which the process compiled, or kept this account
        self.calls: Calls | None = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Time that does not count as compiling, though it may lie within it."""
        with self.frame() as frame:
            yield
            frame.parts.clear()

    @contextlib.contextmanager
    def frame(self) -> Iterator[Frame]:
        """Time a compilation; if it fails, its time counts for its caller, and what it needed is kept."""
        frame, outer = Frame(), self.open[-1] if self.open else Frame()
        self.open.append(frame)
        wall, begun, took = time.perf_counter(), time.thread_time(), None
        try:
            yield frame
            took = time.thread_time() - begun
            frame.took_s = took - frame.inner_s
        finally:
            self.open.pop()
            outer.inner_s += frame.inner_s if took is None else took
            outer.parts |= frame.parts
            if not self.open:
                self.aside_s += time.perf_counter() - wall

    @contextlib.contextmanager
    def compiling(self, name: str) -> Iterator[list]:
        """Time the compilation of a function; its library is to be appended to the list that this yields."""
        made: list = []
        with self.frame() as frame:
            yield made
        with self.aside():
            self.times[name] += 1
            if self.times[name] > 1:  # another of the same name must not hide the first
                name = f"{name} #{self.times[name]}"
            self.log[name] = max(0.0, frame.took_s)
            needs = {START: self.start_s or 0.0} | self.needs(made) | frame.parts | {name: self.log[name]}
            self.parts[made[0]] = needs
        if self.open:
            self.open[-1].parts |= needs

    def needs(self, libraries: Iterable) -> dict[str, float]:
        """The seconds of all functions that these libraries hold or link to, by name."""
        needed: dict[str, float] = {}
        todo = list(libraries)
        while todo:
            library = todo.pop(0)
            if library in self.parts:
                needed = self.parts[library] | needed
            else:  # one that a function's wrapper was made in, say
                todo += getattr(library, "_linking_libraries", ())
        return needed

    def loaded(self, library: Any, needs: dict[str, float]) -> None:
        """Register a library that an earlier process compiled, with the seconds that it recorded."""
        self.parts[library] = needs
        self.from_cache |= needs.keys()

    def start(self) -> None:
        """Measure the compiler's start-up: how much longer a first small function takes than a second."""
        import numba

        self.start_s, log, took = 0.0, self.log.copy(), []
        with self.aside():
            for _ in range(2):
                begun = time.thread_time()
                numba.njit(lambda x: x[0]).compile((numba.float64[::1],))
                took.append(time.thread_time() - begun)
        self.start_s, self.log = max(0.0, took[0] - took[1]), log


class Calls:
    """The compiled functions that are called within the context, and what a process that calls them must compile."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.libraries: dict = {}  # to the name of what was called
        self.before = set(account.log)

    def __enter__(self) -> "Calls":
        from numba.core.registry import CPUDispatcher

        plain = CPUDispatcher.__call__

        def call(dispatcher: Any, *arguments: Any, **named: Any) -> Any:
            answer = plain(dispatcher, *arguments, **named)
            begun = time.perf_counter()
            for overload in overloads(dispatcher, arguments):
                self.libraries.setdefault(overload.library, dispatcher.py_func.__qualname__)
            self.account.aside_s += time.perf_counter() - begun
            return answer

        self.account.calls, CPUDispatcher.__call__ = self, call
        return self

    def __exit__(self, *exception: Any) -> None:
        from numba.core.registry import CPUDispatcher

        self.account.calls = None
        del CPUDispatcher.__call__  # that of the class below, in C, is in force again
        self.compiled = set(self.account.log) - self.before

    def kernels(self) -> dict[str, float]:
        """The compile seconds that each called function adds to those before it, by name.

        Last comes what was compiled meanwhile for none of them, such as a ufunc.
        """
        known: dict[str, float] = {}
        by_name: dict[str, float] = {}
        for library, name in self.libraries.items():
            needs = self.account.needs([library])
            new = {part: seconds for part, seconds in needs.items() if part not in known}
            known |= new
            if START in new:
                by_name[START] = new.pop(START)
            name = name.replace(".<locals>", "")
            by_name[name] = by_name.get(name, 0.0) + sum(new.values())
        others = {part: self.account.log[part] for part in sorted(self.compiled - known.keys())}
        return ({START: self.account.start_s or 0.0} if others else {}) | by_name | others

    @property
    def from_cache(self) -> bool:
        """Whether any of it was compiled by an earlier process, which recorded the seconds."""
        return not self.account.from_cache.isdisjoint(self.account.needs(self.libraries))


def overloads(dispatcher: Any, arguments: tuple) -> list:
    """The compiled overload of a dispatcher for these arguments; all overloads if that is unclear."""
    from numba.core.typing.typeof import Purpose, typeof

    compiled = dispatcher.overloads
    if len(compiled) > 1:
        overload = compiled.get(tuple(typeof(argument, Purpose.argument) for argument in arguments))
        if overload is not None:
            return [overload]
    return list(compiled.values())


def listen() -> Account:
    """Start keeping an account; the existing one if there is one."""
    global _account
    if _account is None:
        _account = Account()
        _wrap(_account)
    return _account


def account() -> Account | None:
    """The account of this process, or None."""
    return _account


def aside() -> contextlib.AbstractContextManager:
    """As `Account.aside`, if an account is kept."""
    return _account.aside() if _account is not None else contextlib.nullcontext()


def called(addresses: Iterable[int]) -> None:
    """Record that C functions, made by `numba.cfunc`, will be called by their addresses."""
    if _account is not None and _account.calls is not None:
        for address in addresses:
            library = _account.by_address.get(int(address))
            if library is not None:
                _account.calls.libraries.setdefault(library, _account.names[library])


def _wrap(account: Account) -> None:
    """Time every compilation of Numba's: of functions, of what they call, and of C functions."""
    from numba.core.ccallback import CFunc
    from numba.core.compiler import CompilerBase

    begin = CompilerBase.__init__

    @functools.wraps(begin)
    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        if account.start_s is None:
            account.start()
        begin(self, *arguments, **named)

    def timed(method: Callable) -> Callable:
        @functools.wraps(method)
        def compile_it(self: Any, *arguments: Any, **named: Any) -> Any:
            function = arguments[0] if arguments else named["func_ir" if "func_ir" in named else "func"]
            with account.compiling(_name(function, self.state.args)) as made:
                result = method(self, *arguments, **named)
                made.append(result.library)
            return result

        return compile_it

    CompilerBase.__init__ = __init__
    CompilerBase.compile_extra = timed(CompilerBase.compile_extra)
    CompilerBase.compile_ir = timed(CompilerBase.compile_ir)
    load, make = CFunc.compile, CFunc._compile_uncached

    @functools.wraps(make)
    def _compile_uncached(self: Any) -> Any:
        with account.compiling(_name(self._pyfunc, self._sig.args) + ", as a C function") as made:
            result = make(self)
            result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)  # else made later
            made.append(result.library)
        return result

    @functools.wraps(load)
    def compile_c(self: Any) -> None:
        load(self)
        account.by_address[self.address] = self._library
        account.names[self._library] = self.__qualname__

    CFunc.compile, CFunc._compile_uncached = compile_c, _compile_uncached


def _name(function: Any, types: Iterable) -> str:
    """A function's name in the account, the same in every process."""
    of = getattr(function, "func_id", None)  # of Numba's intermediate representation
    if of is not None:
        where = of.modname, of.func_qualname, of.firstlineno
    else:
        where = function.__module__, function.__qualname__, function.__code__.co_firstlineno
    return "{}.{}:{}".format(*where) + f"({', '.join(map(str, types))})"
