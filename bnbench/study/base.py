"""What every study is made of: claims with their verdicts, and cells that are computed once and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bnbench.folder import FolderError, told

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bnbench.report.table import Table

HOLDS, REFUTED, UNDECIDED = "holds", "refuted", "undecided"
LEVEL = 0.95  # of intervals


class Claim(NamedTuple):
    """What theory says, and what was measured.

    Attributes:
        text: the claim, with the tolerance that it states.
        theory, measured: theory's value and the measured one.
        low, high: the measured one's interval.
        verdict: "holds", "refuted" or "undecided".
    """

    text: str
    theory: float
    measured: float
    low: float
    high: float
    verdict: str


class Study(NamedTuple):
    """A question, and how it was answered.

    Attributes:
        name, question: of the study.
        answer: a few sentences that are drawn from the data.
        claims: what theory says, each with its verdict.
        table: what was measured, a row a measurement.
        plots: name to a function that draws; the figure's label (`Figure.set_label`) is its caption.
        tables: of the page, beside the claims.
    """

    name: str
    question: str
    answer: str
    claims: list[Claim]
    table: pd.DataFrame
    plots: Mapping[str, Callable[[], Figure]]
    tables: Sequence[Table] = ()


def verdict(theory: float, low: float, high: float, tolerance: float) -> str:
    """What an interval says of a claim that the true value is within tolerance (absolute) of theory's.

    It holds where the whole interval is within the tolerance, and is refuted where all of it is outside: where it is
    too wide to say, or no number, the claim is undecided.
    """
    if low > theory + tolerance or high < theory - tolerance:
        return REFUTED
    return HOLDS if theory - tolerance <= low <= high <= theory + tolerance else UNDECIDED


def claim(text: str, theory: float, measured: float, low: float, high: float, tolerance: float) -> Claim:
    """A claim with its verdict; the tolerance is absolute."""
    return Claim(text, theory, measured, low, high, verdict(theory, low, high, tolerance))


def interval(samples: Any) -> tuple[float, float, float]:
    """The mean of independent samples, and its interval by Student's t at `LEVEL`; infinitely wide for one sample."""
    from scipy import stats

    x = np.asarray(samples, float)
    if len(x) < 2:
        return float(x.mean()), -np.inf, np.inf
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


class Cells:
    """What studies have computed, a line of JSON a cell, appended and synced; a line that a kill tore off is dropped.

    `cells(key, compute)` is the row of a cell: what compute() gives, or what an earlier call has written.
    """

    def __init__(self, path: Path, done: Callable[[], None] = lambda: None) -> None:
        """Open the file at `path`, made if absent; `done` is called whenever a cell has its row.

        Raises:
            FolderError: it cannot be written, or a line that is whole is no cell.
        """
        self.rows: dict[str, dict] = {}
        self.done = done
        with told(path):
            self.file: IO[bytes] = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by __exit__
        self.file.seek(0)
        content = self.file.read()
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                read = json.loads(line)
                self.rows[read["key"]] = read["row"]
            except (ValueError, KeyError, TypeError) as error:
                self.file.close()
                raise FolderError(f"{path} line {number} is no cell of a study; use another --out") from error
        if torn:
            os.truncate(path, len(content) - len(torn))

    def __enter__(self) -> Cells:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def __call__(self, key: str, compute: Callable[[], dict]) -> dict:
        """The row of a cell, with arrays as lists; `compute` is called only where no row of this key is there."""
        if key not in self.rows:
            line = json.dumps({"key": key, "row": compute()}, default=methodcaller("tolist"))
            self.file.write(line.encode() + b"\n")
            os.fsync(self.file.fileno())
            self.rows[key] = json.loads(line)["row"]  # the same, whether computed or read
        self.done()
        return self.rows[key]
