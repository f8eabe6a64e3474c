"""What an object keeps: its parameters and its gradients, found by what they are called."""

import contextlib
import copy
import itertools
from collections.abc import Sequence
from typing import Any

from bnbench.audit.layer.names import bare


def slot(owner: Any, names: Sequence[str]) -> tuple[Any, str] | None:
    """Where an object keeps what has such a name: itself or a dictionary of its, and the name there; or None."""
    name = attribute_name(owner, names)
    if name is not None:
        return owner, name
    for space in ("params", "parameters", "param", "weights"):
        kept = getattr(owner, space, None)
        if isinstance(kept, dict):
            keys = {bare(key): key for key in kept if isinstance(key, str)}
            key = next((keys[name.lower()] for name in names if name.lower() in keys), None)
            if key is not None:
                return kept, key
    return None


def held(space: Any, name: str) -> Any:
    """What is kept there."""
    return space[name] if isinstance(space, dict) else getattr(space, name)


def attribute_name(owner: Any, names: Sequence[str]) -> str | None:
    """The attribute of an object that has one of these names, whatever its case and underscores; or None."""
    spaces = {bare(name): name for name in dir(owner) if not name.startswith("__")}
    for name in names:
        if name.lower() in spaces and not callable(getattr(owner, spaces[name.lower()])):
            return spaces[name.lower()]
    return None


def attribute(owner: Any, names: Sequence[str]) -> Any:
    """A gradient that an object keeps: in an attribute of such a name, a dictionary, or a parameter's .grad."""
    for space in ("grads", "gradients", "grad"):
        kept = getattr(owner, space, None)
        if isinstance(kept, dict):
            keys = {bare(str(key)): value for key, value in kept.items()}
            for name in itertools.chain(names, (name.removeprefix("d").strip("_") for name in names)):
                if name in keys:
                    return keys[name]
    own = attribute_name(owner, names)
    return None if own is None else getattr(owner, own)


def copied(owner: Any) -> Any:
    """A copy of an object, as deep as can be had: each call begins with the state that it was given in."""
    for make in (copy.deepcopy, copy.copy):
        with contextlib.suppress(Exception):
            return make(owner)
    return owner
