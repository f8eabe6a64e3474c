"""The page bnbench/docs/api.md, made from the code: `python -m tests.api` writes it, a test says whether it is current.

Annotations are shown as the source has them, defaults as their values.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

import bnbench

PAGE = Path(__file__).parents[1] / "bnbench" / "docs" / "api.md"
HEAD = """\
# The library, name by name

Every public name of bnbench: its signature with types, and what it does. `python -m pydoc bnbench.NAME` has the
arguments, shapes and errors too; [gradient](gradient.md), [layer](layer.md), [statistics](statistics.md),
[estimators](estimators.md) and [plugins](plugins.md) show them at work. `bnbench.torch` and `bnbench.jax` are on the
page of the [gradient](gradient.md#in-pytorchs-and-jaxs-training-loops).

This page is made from the code, by `python -m tests.api`.
"""
RETURNED = {  # what no one makes, but calls give
    "bnbench.library": ["Prepared"],
    "bnbench.audit.layer": ["LayerVerdict", "CanFail"],
    "bnbench.audit.findings": ["Diagnosis"],
    "bnbench.running.identification": ["Identification", "Fit"],
    "bnbench.problem": ["Statistics"],
}
MEANT = {"Prepared": ("", "gradients", "pack", "unpack")}  # methods, where others are the library's own business
WIDTH = 110


def page():
    """The text of the page."""
    public = {name: getattr(bnbench, name) for name in sorted(bnbench.__all__, key=str.lower)}
    returned = {
        name: getattr(importlib.import_module(home), name) for home, names in RETURNED.items() for name in names
    }
    parts = {
        "Functions": {name: one for name, one in public.items() if inspect.isfunction(one)},
        "Classes": {name: one for name, one in public.items() if inspect.isclass(one)},
        "What calls return": returned,
        "Values": {name: one for name, one in public.items() if not callable(one)},
    }
    blocks = [HEAD.strip()]
    for title, names in parts.items():
        blocks.append(f"## {title}")
        for name, one in names.items():
            blocks += [f"### `{name}`", *(told(name, one) if callable(one) else value(one))]
    return "\n\n".join(blocks) + "\n"


def told(name, one):
    """The blocks on a function or class."""
    if inspect.isfunction(one):
        return [code(f"bnbench.{name}", one), paragraph(one)]
    blocks, given = [paragraph(one)], ()
    if name in bnbench.__all__ and not issubclass(one, tuple | Exception) and not inspect.isabstract(one):
        blocks.insert(0, code(f"bnbench.{name}", one))
        given = inspect.signature(one).parameters  # of which each is an attribute too
    rows = [f"| `{name}` | {kind} |" for name, kind in attributes(one).items() if name not in given]
    if rows and name not in MEANT:
        blocks.append("\n".join(["| attribute | type |", "|---|---|", *rows]))
    rows = [
        f"- `{signature(f'.{called}' if called else name.lower(), method)}`: {paragraph(method)}"
        for called, method in methods(one).items()
        if called in MEANT.get(name, (called,))
    ]
    if rows:
        blocks.append("\n".join(rows))
    return blocks


def value(one):
    """The blocks on a value."""
    if isinstance(one, str):
        return ["A text: the version of the package."]
    kind = type(next(iter(one.values()))).__name__
    return [f"A mapping of name to `{kind}`: {', '.join(f'`{name}`' for name in one)}."]


def code(name, one):
    """A signature as a block, wrapped."""
    text = signature(name, one)
    if len(text) > WIDTH:
        head, inside, returns = re.fullmatch(r"([\w.]+)\((.*)\)( -> .*)?", text).groups(default="")
        whole = re.sub(r"(?<!,) |, (?=[^\[(]*[\])])", lambda blank: blank[0].replace(" ", "\0"), inside)
        lines = textwrap.fill(whole, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
        text = f"{head}(\n{lines},\n){returns}".replace("\0", " ")
    return f"```py\n{text}\n```"


def signature(name, one):
    """A call with its types, as the source has them, and defaults."""
    kinds, returns = annotations(one)
    told, seen = [], {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    for parameter in inspect.signature(one).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        if parameter.kind is parameter.KEYWORD_ONLY and not seen & {parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL}:
            told.append("*")
        seen.add(parameter.kind)
        kind, default = kinds.get(parameter.name, ""), ""
        if parameter.default is not parameter.empty:
            shown = repr(parameter.default).replace("'", '"').replace("e-0", "e-")
            default = f" = {shown}" if kind else f"={shown}"
        told.append(f"{star}{parameter.name}{f': {kind}' if kind else ''}{default}")
    return f"{name}({', '.join(told)}){f' -> {returns}' if returns else ''}"


def annotations(one):
    """The types of a function's arguments or of a class's, and what it returns, as the source has them."""
    if inspect.isclass(one):
        if "__init__" not in vars(one) or "__dataclass_fields__" in vars(one):
            return attributes(one, properties=False), ""
        one = vars(one)["__init__"]
    node = parsed(one)
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    returns = kind(node.returns) if node.returns and node.name != "__init__" else ""
    return {arg.arg: kind(arg.annotation) for arg in every if arg and arg.annotation}, returns


@functools.cache
def parsed(one):
    """The syntax tree of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]


def attributes(cls, properties=True):
    """The public attributes of a class and its bases here, each with its type."""
    found = {}
    for base in reversed(bases(cls)):
        for node in parsed(base).body:
            if isinstance(node, ast.AnnAssign) and not node.target.id.startswith("_"):
                found[node.target.id] = kind(node.annotation)
            elif properties and [ast.unparse(one) for one in getattr(node, "decorator_list", ())] == ["property"]:
                found[node.name] = kind(node.returns)
    return found if not properties else {name: f"`{text}`".replace("|", "\\|") for name, text in found.items()}


def kind(annotation):
    """A type; of an `Annotated` array with its shape behind it."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        first, *sizes = annotation.slice.elts
        return f"{ast.unparse(first)} ({','.join(size.value for size in sizes)}{',' * (len(sizes) == 1)})"
    return ast.unparse(annotation).replace("'", "")


def methods(cls):
    """The public methods of a class and its bases here."""
    found = {}
    for base in reversed(bases(cls)):
        for name, one in vars(base).items():
            if not name.startswith("_") or (name == "__call__" and inspect.isfunction(one)):
                one = one.__func__ if isinstance(one, classmethod | staticmethod) else one
                if inspect.isfunction(one) and one.__doc__:
                    found[name] = one
    return {name.replace("__call__", ""): one for name, one in found.items()}


def bases(cls):
    """The class and what it inherits from here."""
    return [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "bnbench"]


def paragraph(one):
    """The first paragraph of a docstring, on one line, so that Markdown takes nothing for HTML."""
    return " ".join(inspect.cleandoc(one.__doc__ or "").split("\n\n")[0].split()).replace("<", "\\<")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"Page: {PAGE}\n")
