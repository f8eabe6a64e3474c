"""The layers of a file: functions whose names are, or end in, forward and backward; classes with both methods."""

import importlib.util
import inspect
import sys
from pathlib import Path

OWN = ("norm", "bn")  # of a file with layers of many kinds, those whose names have one of these are judged


class FileError(Exception):
    """The file is missing, fails, or has no layer; the text says which, in one line."""


def layers(path: str | Path) -> dict[str, tuple]:
    """Names to `(forward, backward)`; backward is None for a class, an autograd Function or a custom VJP.

    Raises:
        FileError: there is none.
    """
    module = _load(Path(path))
    functions, wholes = {}, {}
    for name, value in vars(module).items():
        if hasattr(value, "defvjp"):
            wholes[name] = (value, None)
        elif inspect.isclass(value) and value.__module__ == module.__name__:
            if all(callable(getattr(value, method, None)) for method in ("forward", "backward")):
                wholes[name] = (value, None)
        elif callable(value) and not inspect.isclass(value):
            functions[name] = value
    pairs = wholes | _pairs(functions)
    if not pairs:
        there = ", ".join(
            name for name, value in functions.items() if getattr(value, "__module__", "") == module.__name__
        )
        raise FileError(
            f"{Path(path).name} has no functions whose names are, or end in, forward and backward, and no class "
            f"with both; it has {there or 'no functions'}. A formula of a whole step is judged by audit --formula"
        )
    own = {name: pair for name, pair in pairs.items() if any(word in name.lower() for word in OWN)}
    return own or pairs


def _pairs(functions):
    """Forward and backward functions by what their names begin with; one forward serves every backward."""
    found = {}
    for kind in ("forward", "backward"):
        found[kind] = {n.lower()[: -len(kind)].strip("_"): n for n in functions if n.lower().endswith(kind)}
    forwards, backwards = found["forward"], found["backward"]
    pairs = {}
    for stem, name in backwards.items():
        other = forwards.get(stem) or (next(iter(forwards.values())) if len(forwards) == 1 else None)
        if other:
            pairs[name] = (functions[other], functions[name])
    return pairs


def _load(path):
    path = path.resolve()
    if not path.is_file():
        raise FileError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"layer_{path.stem}", path)
    if spec is None:
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
