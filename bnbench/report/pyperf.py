"""A run's samples as a file of pyperf, whose tools then read them: `pyperf stats`, `hist`, `compare_to`."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.compare import runs
from bnbench.folder import FolderError, told, write_new
from bnbench.record import Record
from bnbench.report.units import plural

if TYPE_CHECKING:
    from bnbench.compare.runs import Run

CONVENTIONS = ("ddof", "eps")  # named only where they differ within the run


class ExportError(FolderError):
    """There is nothing to export, or not there; the message is one line."""


def write(run: Run, path: str | Path) -> None:
    """Write the ok records of a run into a new file, as pyperf's own commands refuse to replace one.

    A benchmark is a variant at a cell, a value the seconds of one step. pyperf's runs are processes: each pass of an
    interleaved run is one, any other record is one as a whole. pyperf's `loops` is the number of steps of a value.

    Raises:
        ExportError: pyperf is missing, the file is there, or no record is ok.
        FolderError: the file cannot be written.
    """
    try:
        import pyperf
    except ImportError as error:
        raise ExportError(
            "--pyperf needs pyperf, which is not installed; pip install 'bnbench[pyperf]' adds it"
        ) from error
    path = Path(path)
    if os.path.lexists(path):
        raise ExportError(f"{path} is there already; name a new file, as for pyperf's own --output")
    records = [record for record in run.records if record.timed]
    if not records:
        raise ExportError(f"{run.folder} has no record that is ok; pyperf has no empty file")
    common = {host: metadata(part.environment) for host, part in runs.by_host(run).items()}
    named = names(records)
    suite = pyperf.BenchmarkSuite(
        [
            pyperf.Benchmark(
                [
                    pyperf.Run(
                        part,
                        metadata=common.get(record.host or "", common.get("", {})) | own(record) | {"name": name},
                        collect_metadata=False,
                    )
                    for part in record.by_pass
                ]
            )
            for name, record in zip(named, records, strict=True)
        ]
    )
    text = io.StringIO()
    suite.dump(text)
    content = text.getvalue().encode()
    with told(path):
        write_new(path, gzip.compress(content) if path.suffix == ".gz" else content)  # as pyperf goes by the name


def names(records: Sequence[Record]) -> list[str]:
    """A name for each record that says what is measured: variant, sizes, setting."""
    cells = [record.cell.columns for record in records]
    differing = [name for name in CONVENTIONS if len({cell[name] for cell in cells}) > 1]
    return [
        f"{record.variant} N={cell['N']} p1={cell['p1']} p2={cell['p2']} {cell['dtype']} "
        f"{cell['activation']} {'batch' if cell['normalization'] == 'batch' else 'no-normalization'} "
        f"{cell['regime']} {plural(cell['threads'], 'thread')}"
        + "".join(f" {name}={cell[name]:g}" for name in differing)
        + (f" host {record.host}" if record.host else "")
        for record, cell in zip(records, cells, strict=True)
    ]


def metadata(environment: dict[str, Any]) -> dict[str, Any]:
    """What pyperf's metadata has names for, of environment.json."""
    machine, software = environment["machine"], environment.get("software", {})
    known = {
        "hostname": machine.get("host"),
        "platform": machine.get("system"),
        "cpu_model_name": machine.get("cpu"),
        "cpu_count": machine.get("processors"),
        "python_version": software.get("python"),
        "date": (environment.get("date") or "")[:19].replace("T", " "),
        "bnbench_version": software.get("bnbench"),
        "bnbench_command": environment["command"],
        "unit": "second",
    }
    return {name: value for name, value in known.items() if value and isinstance(value, str | int)}


def own(record: Record) -> dict[str, Any]:
    """What is said of one record: the steps of a value (of several passes only the first's are known), and the cell."""
    steps = None if len(record.by_pass) > 1 else record.inner_loops
    known = {"loops": steps, "mem_max_rss": record.peak_bytes}
    return {name: value for name, value in known.items() if value} | {
        f"bnbench_{name}": value for name, value in ({"variant": record.variant} | record.cell.axes).items()
    }
