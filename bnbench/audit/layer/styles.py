"""A layer of any style as one pair of functions: methods, autograd Functions, custom VJPs."""

import ast
import contextlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from bnbench.audit.layer.names import GRADIENTS, METHODS, bare, parameters


class Refused(ValueError):
    """The functions are of the wrong kind; the text says what was given and what is allowed."""


class _Context:
    """What an autograd Function's forward and backward take for ctx."""

    def __init__(self) -> None:
        self.saved_tensors: tuple = ()
        self.needs_input_grad = (True,) * 8

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def __getattr__(self, name: str) -> Callable:
        if name.startswith(("mark_", "set_")):
            return lambda *_: None
        raise AttributeError(f"ctx has no {name}")


def as_pair(forward: Any, backward: Callable | None) -> tuple[Callable, Callable, Any]:
    """Forward, backward and the class or object whose methods they are, or None."""
    if backward is None:
        forward, backward = _of_one(forward)
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function):
            raise Refused(f"{name} is {function!r}; allowed is a function")
    owner, other = getattr(forward, "__self__", None), getattr(backward, "__self__", None)
    if owner is not None and owner is other and not inspect.ismodule(owner):
        return forward, backward, owner
    names = parameters(forward)[0]
    if names and names[0] == "self":
        owner = _class_of(forward)
        if owner is None:
            raise Refused(
                "forward is a method without its object; allowed are layer.forward and layer.backward, or the class"
            )
        return _Method(owner, forward.__name__), _Method(owner, backward.__name__), owner
    if names and names[0] == "ctx":
        return *_with_context(forward, backward), None
    return forward, backward, None


def _of_one(layer: Any) -> tuple[Callable, Callable]:
    """Forward and backward of a class, an object, an autograd Function or a custom VJP."""
    if hasattr(layer, "defvjp"):
        return _of_custom_vjp(layer)
    forward, backward = method_names(layer)
    if isinstance(layer, type):
        torch = sys.modules.get("torch")
        if torch is not None and issubclass(layer, torch.autograd.Function):
            function: Any = layer
            return _with_context(function.forward, function.backward, getattr(layer, "setup_context", None))
        if all(isinstance(inspect.getattr_static(layer, name), staticmethod) for name in (forward, backward)):
            return getattr(layer, forward), getattr(layer, backward)
        return _Method(layer, forward), _Method(layer, backward)
    return getattr(layer, forward), getattr(layer, backward)


def method_names(layer: object) -> tuple[str, str]:
    """Of a class or an object: what its forward and its backward are called.

    Raises:
        Refused: it has not both.
    """
    spaces = {name for cls in (layer if isinstance(layer, type) else type(layer)).__mro__ for name in vars(cls)}
    for names in METHODS:
        if spaces.issuperset(names) or all(name in getattr(layer, "__dict__", {}) for name in names):
            return names
    raise Refused(
        f"backward is missing, and {getattr(layer, '__name__', layer)!r} has none; allowed is check_layer(forward, "
        f"backward), a class with both methods ({' or '.join(' and '.join(names) for names in METHODS)}), a "
        "torch.autograd.Function or a jax.custom_vjp"
    )


class _Method:
    """A method of a class that has to be made first: as a bound method of it would look."""

    def __init__(self, owner: type, name: str) -> None:
        self.__self__, self.__name__, self.__func__ = owner, name, getattr(owner, name)
        parameters = list(inspect.signature(self.__func__).parameters.values())
        self.__signature__ = inspect.Signature(parameters[1:])
        self.__globals__ = getattr(self.__func__, "__globals__", {})

    def __call__(self, *args: Any, **named: Any) -> Any:
        raise TypeError(f"{self.__name__} needs an object")

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def _with_context(forward: Callable, backward: Callable, setup: Callable | None = None) -> tuple[Callable, Callable]:
    """An autograd Function's static methods as forward(x, …) -> (out, ctx) and backward(dout, ctx)."""
    required, optional = parameters(forward)
    names = required or []
    whole = names[:1] == ["ctx"]
    names = names[whole:]

    def as_forward(*arguments: Any, **named: Any) -> tuple[Any, _Context]:
        ctx = _Context()
        out = forward(ctx, *arguments, **named) if whole else forward(*arguments, **named)
        if not whole and setup is not None:
            setup(ctx, (*arguments, *named.values()), out)
        return (out[0] if isinstance(out, tuple) else out), ctx

    def as_backward(dout: Any, cache: Any) -> Any:
        return backward(cache, dout)

    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    kinds += [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=d) for n, d in optional.items()]
    as_forward.__dict__.update(__signature__=inspect.Signature(kinds), __wrapped__=forward)
    as_backward.__dict__.update(__signature__=inspect.signature(as_backward), __wrapped__=backward)
    return as_forward, as_backward


def _of_custom_vjp(function: Any) -> tuple[Callable, Callable]:
    """A jax.custom_vjp as forward and backward: what JAX itself would call."""
    import jax

    def forward(*arguments: Any) -> Any:
        differentiated = arguments[:3]
        return jax.vjp(lambda *first: function(*first, *arguments[3:]), *differentiated)

    def backward(dout: Any, cache: Any) -> Any:
        return cache(dout)

    wrapped = getattr(function, "fun", function)
    forward.__dict__.update(__signature__=inspect.signature(function), __wrapped__=wrapped)
    return forward, backward


def beta_before_gamma(backward: Callable) -> bool:
    """Whether a backward's last return statement has three names, of which one of β stands before one of γ."""
    function = inspect.unwrap(getattr(backward, "__func__", backward))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    if not returned or not isinstance(returned[-1], ast.Tuple):
        return False
    names = [bare(node.id) if isinstance(node, ast.Name) else "" for node in returned[-1].elts]
    places = [{i for i, name in enumerate(names) if name in GRADIENTS[m].split()} for m in ("beta", "gamma")]
    return len(names) == 3 and all(len(place) == 1 for place in places) and min(places[0]) < min(places[1])


def names_in(code: CodeType | None) -> Iterator[str]:
    """The global names and attributes that a function's code has, those of functions within it too."""
    if code is None:
        return
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from names_in(constant)


def _class_of(function: Callable) -> Any:
    """The class that a plain function is a method of, looked up by its qualified name."""
    value, space = None, getattr(function, "__globals__", {})
    for part in function.__qualname__.split(".")[:-1]:
        value = space.get(part) if value is None else getattr(value, part, None)
    return value


def files_of(*functions: Any) -> set[str]:
    """The files that the author's code is in."""
    files: set[str | None] = set()
    for function in functions:
        function = getattr(function, "__func__", function)
        with contextlib.suppress(TypeError, OSError):
            files.add(inspect.getsourcefile(inspect.unwrap(function)))
    return {file for file in files if file is not None}
