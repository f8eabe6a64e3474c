"""When compiled code may use several threads, and when calls must take turns.

Numba's threads do not survive a fork: OpenMP's library ends the child that calls it, and other layers leave it waiting
for threads that are not there. So a child forked from a process whose threads ran already takes one thread. And
Numba's workqueue layer ends a process in which two threads enter parallel code at once: there they take turns.
"""

import contextlib
import os
import sys
import threading
import warnings
import weakref
from typing import Any, Protocol, TypeVar


class Renewable(Protocol):
    """What is set up anew in a forked child."""

    def renew(self) -> None:
        """Forget what the parent set up."""


Renewed = TypeVar("Renewed", bound=Renewable)

_survivors: weakref.WeakSet[Renewable] = weakref.WeakSet()
_state: dict[str, Any] = {"forked": False, "said": False}
_turns = threading.RLock()
_at_once = contextlib.nullcontext()
_layer = ""


def survive(thing: Renewed) -> Renewed:
    """Have `thing.renew()` called in every forked child, before anything else runs there; the thing."""
    _survivors.add(thing)
    return thing


def alone() -> bool:
    """Whether compiled code is limited to one thread in this process; the first call warns and says why."""
    if _state["forked"] and not _state["said"]:
        _state["said"] = True
        warnings.warn(
            "this process was forked from one whose compiled code had threads, which do not survive a fork: one "
            "thread is used. For more, start processes with 'spawn' or 'forkserver'",
            stacklevel=3,
        )
    return _state["forked"]


def guard() -> contextlib.AbstractContextManager:
    """The context for a call of parallel code: threads take turns in it where the threading layer asks for that."""
    global _layer
    if not _layer:
        import numba

        try:
            _layer = numba.threading_layer()
        except ValueError:  # known only once parallel code has run
            return _turns
    return _turns if _layer == "workqueue" else _at_once


def forked_with(module: str) -> bool:
    """Whether this process was forked from one that had already loaded a module."""
    return module in _state.get("modules", ())


def _running() -> bool:
    numba = sys.modules.get("numba")
    try:
        if numba is None or not hasattr(numba, "threading_layer"):  # not imported, or not to its end
            return False
        numba.threading_layer()
    except ValueError:
        return False
    return True


def _in_child() -> None:
    global _turns
    _turns = threading.RLock()
    _state["forked"] = _state["forked"] or _running()
    _state["modules"] = frozenset(sys.modules)
    for thing in list(_survivors):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
