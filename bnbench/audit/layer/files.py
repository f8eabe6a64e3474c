"""The layers of a file: functions whose names have forward and backward in them; classes with both methods."""

import contextlib
import importlib.util
import inspect
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from bnbench.audit.layer.styles import Refused, method_names

FORWARD, BACKWARD = re.compile("forward|fwd|fprop"), re.compile("backward|bwd|bprop")
OWN = ("norm", "bn")  # of a file with layers of many kinds, those whose names have one of these are judged


class FileError(Exception):
    """The file is missing, fails, or has no layer; the text says which, in one line."""


def layers(path: str | Path) -> dict[str, tuple]:
    """Names to `(forward, backward)`; backward is None for a class, an autograd Function or a custom VJP.

    Raises:
        FileError: there is none.
    """
    module = _module(Path(path))
    functions: dict[str, Callable] = {}
    wholes: dict[str, tuple[Callable, Callable | None]] = {}
    for name, value in vars(module).items():
        if hasattr(value, "defvjp"):
            wholes[name] = (value, None)
        elif inspect.isclass(value) and value.__module__ == module.__name__:
            with contextlib.suppress(Refused):
                method_names(value)
                wholes[name] = (value, None)
        elif callable(value) and not inspect.isclass(value):
            functions[name] = value
    pairs = wholes | _pairs(functions)
    if not pairs:
        there = ", ".join(
            name for name, value in functions.items() if getattr(value, "__module__", "") == module.__name__
        )
        raise FileError(
            f"{Path(path).name} has no functions with forward and backward in their names, and no class "
            f"with both; it has {there or 'no functions'}. A formula of a whole step is judged by audit --formula"
        )
    own = {name: pair for name, pair in pairs.items() if any(word in name.lower() for word in OWN)}
    return own or pairs


def _pairs(functions: dict[str, Callable]) -> dict[str, tuple[Callable, Callable | None]]:
    """Forward and backward functions by what else is in their names: of several forwards the one that shares most."""
    forwards, backwards = (
        {"".join(word.split(name.lower())).strip("_"): name for name in functions if word.search(name.lower())}
        for word in (FORWARD, BACKWARD)
    )
    pairs: dict[str, tuple[Callable, Callable | None]] = {}
    for stem, name in backwards.items():
        near = [other for other in forwards if _shared(stem, other)]
        if stem in forwards:
            pairs[name] = functions[forwards[stem]], functions[name]
        elif near or len(forwards) == 1:  # batchnorm_backward_alt is of batchnorm_forward
            best = max(near or forwards, key=lambda other: (_shared(stem, other), -len(other)))
            pairs[name] = functions[forwards[best]], functions[name]
    return pairs


def _shared(one: str, other: str) -> int:
    """How many letters two names begin with in common; 0 where they share no whole word."""
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    whole = common == len(other) and one[common : common + 1] in ("", "_")
    return common if whole else 0


def _module(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise FileError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"layer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileError(f"{path.name}: allowed is a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))  # files beside it are imported by their names
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        import traceback

        own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        line = f" line {own[-1].lineno}: {own[-1].line}" if own else ""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise FileError(f"{path.name}{line} could not be loaded: {text}") from error
    return module
