"""Questions about batch normalisation, answered by experiment against what theory says exactly.

A study is a module of this package with a QUESTION, `count(preset)`, the number of its cells, and `run(preset, cells)`,
which gives a `Study`; it is a client of the library, and what it measures is written cell by cell, to be resumed.
"""

import importlib
from types import ModuleType

from bnbench.study.base import Cells, Claim, Study, claim, interval, verdict

__all__ = ["PRESETS", "STUDIES", "Cells", "Claim", "Study", "claim", "interval", "study", "verdict"]

STUDIES = ("running", "affine", "saturation")
PRESETS = ("quick", "default")


def study(name: str) -> ModuleType:
    """The module of a study of `STUDIES`."""
    return importlib.import_module(f"bnbench.study.{name}")
