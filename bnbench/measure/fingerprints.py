"""What a variant is made of, as a short hash: its own sources and the versions of the packages that they import.

A variant whose fingerprint is the same in two runs has not changed between them: where its time did, the cause lies
elsewhere. What every variant shares, such as the workers, has a fingerprint of its own, `MEASURING`.
"""

import ast
import hashlib
import importlib.util
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from bnbench.measure.environment import version
from bnbench.variants import variants
from bnbench.variants.registry import HOMES

PACKAGE_FOLDER = Path(__file__).parents[2]
MEASURING = "measuring"
SHARED = (  # modules in which nothing of a step is computed: how data are drawn, variants found, samples taken
    *("bnbench", "bnbench.codecache", "bnbench.compiling", "bnbench.problem", "bnbench.record", "bnbench.threads"),
    *("bnbench.variants", "bnbench.variants.base", "bnbench.variants.function", "bnbench.variants.registry"),
)
NATIVE = ("cpp", "pythran", "r")  # folders of bnbench/variants with sources in files, each read by peer_<folder>


def of_names(names: Iterable[str], root: Path = PACKAGE_FOLDER) -> dict[str, str]:
    """The fingerprint of each variant, by name, and that of what measures them; of a plug-in's only its file counts.

    Args:
        names: the variants.
        root: the folder that holds the package; that of another version has its own fingerprints.
    """
    tree = Tree(root)
    found = {MEASURING: tree.hashed([*SHARED, *tree.below("bnbench.measure")], follow=False)}
    for name in names:
        if name in HOMES:
            found[name] = tree.hashed([HOMES[name]], follow=True)
        elif cls := variants().get(name):
            file = Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or root)
            found[name] = _digest([file.read_bytes()]) if file.is_file() else ""
    return found


def of_others(name: str) -> bool:
    """Whether a variant's computing is that of a framework, or R's, and not this package's."""
    module = HOMES.get(name, "").rpartition(".")[2]
    return module.startswith("peer_") and module not in ("peer_cpp", "peer_pythran")


class Tree:
    """The sources of the package in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.read: dict[str, tuple[bytes, set[str]]] = {}

    def path(self, module: str) -> Path | None:
        """The file of a module of this package; None where there is none."""
        stem = self.root.joinpath(*module.split("."))
        return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)

    def below(self, package: str) -> list[str]:
        """The modules of a package, by name."""
        folder = self.root.joinpath(*package.split("."))
        return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py"))]

    def source(self, module: str) -> tuple[bytes, set[str]]:
        """A module's text, and the names of what it imports, wherever it does; no names where it is no Python."""
        if module not in self.read:
            path = self.path(module)
            text, names = path.read_bytes() if path else b"", set()
            try:
                nodes = list(ast.walk(ast.parse(text)))
            except (SyntaxError, ValueError):
                nodes = []
            for node in nodes:
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            self.read[module] = text, names
        return self.read[module]

    def hashed(self, modules: Iterable[str], *, follow: bool) -> str:
        """The fingerprint of modules; with follow of what they import too, but for `SHARED` and the measuring."""
        waiting, texts, packages = list(modules), {}, set()
        while waiting:
            module = waiting.pop()
            text, names = self.source(module)
            texts[module] = text
            for folder in NATIVE:
                if follow and module.endswith(f".peer_{folder}"):
                    files = self.root.joinpath("bnbench", "variants", folder).rglob("*.*")
                    texts |= {str(path): path.read_bytes() for path in files if path.suffix != ".pyc"}
            for name in names if follow else ():
                if name.partition(".")[0] != "bnbench":
                    packages.add(name.partition(".")[0])
                elif name not in texts and name not in SHARED and ".measure" not in name and self.path(name):
                    waiting.append(name)
        versions = [f"{name} {_version(name)}".encode() for name in sorted(packages - sys.stdlib_module_names)]
        return _digest([*(texts[name] for name in sorted(texts)), *versions, platform.python_version().encode()])


def _version(package: str) -> str:
    """The version of what is imported by this name; TensorFlow's for processors alone has another name."""
    found = version(package)
    return version(f"{package}-cpu") if found == "not installed" and importlib.util.find_spec(package) else found


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
