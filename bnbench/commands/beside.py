"""Two versions of the package measured side by side, for `compare --interleaved`: by which plan, into which runs."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.commands.common import UsageError, default_folder, saved_plan
from bnbench.commands.plans import make_plan

if TYPE_CHECKING:
    from bnbench.compare.runs import Run
    from bnbench.store import Journal

PLAN = {"N": (10, 1000), "p1": (4, 32), "p2": (4, 32), "threads": (1,), "sampling_s": 1.0}


class Beside:
    """What a command measures two versions by.

    Attributes:
        plan, table, names, passes: what is measured, and how often.
        folder: where its runs go.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """From the command's flags.

        Raises:
            UsageError: flags that are not what they may be.
        """
        from bnbench.measure import data, environment, interleaved
        from bnbench.measure.plan import STEADY

        self.options = options
        self.passes = read_passes(options.passes, interleaved.PASSES, interleaved.LEAST_PASSES)
        plan, self.table = make_plan(options, PLAN | {"memory": STEADY})
        self.plan = plan if len(plan.memory) == 1 else dataclasses.replace(plan, memory=STEADY)
        self.names = plan.variants or own_variants()
        self.description = environment.describe() | data.described(self.table)
        self.saved = saved_plan(self.plan, self.table) | {"variants": self.names, "passes": self.passes}
        self.folder = Path(options.out) if options.out else default_folder(self.saved)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures should know before they are made."""
        from bnbench.commands.sweep import notes

        return [*notes(self.table), *self.description["warnings"]]

    def measured(
        self,
        sources: dict[str, Path],
        folder: Path,
        *,
        wanted: Collection[tuple[Any, ...]] | None = None,
        say: Collection[str] = (),
        refs: dict[str, str] | None = None,
    ) -> tuple[Run, Run]:
        """Measure both sides into the runs folder/old and folder/new; these as read back.

        Args:
            sources: for each side the folder that holds its package.
            folder: where the runs go.
            wanted: of variants and cells (`verdicts.key`) those that are measured; None for all.
            say: what is said first.
            refs: what the sides are called, for the runs' descriptions.
        """
        from bnbench.commands.progress import Progress
        from bnbench.compare import runs, verdicts
        from bnbench.measure import interleaved

        pairs = [(name, cell) for cell in self.plan.cells() for name in self.names]
        if wanted is not None:
            pairs = [pair for pair in pairs if (pair[0], None, *pair[1].axes.values()) in wanted]
        names = [name for name in self.names if any(name == pair[0] for pair in pairs)]
        sizes = dict.fromkeys("x".join(map(str, cell.sizes)) for _, cell in pairs)
        plan = self.plan if wanted is None else dataclasses.replace(self.plan, sizes=tuple(sizes))
        with Progress(plan, self.passes, quiet=self.options.quiet) as progress:
            for text in say:
                progress.say(text)
            with self.journals(folder, sources, names, refs or {}) as written:  # before anything is measured
                records = interleaved.interleave(
                    plan,
                    sources,
                    names,
                    only=set(pairs),
                    table=self.table,
                    events=progress.of_pass,
                    passes=self.passes,
                )
                for side, journal in written.items():
                    for record in records[side]:
                        if wanted is None or verdicts.key(record) in wanted:
                            journal.append(record)
        old, new = (runs.read(folder / side) for side in interleaved.SIDES)
        return old, new

    @contextlib.contextmanager
    def journals(
        self, folder: Path, sources: dict[str, Path], names: Collection[str], refs: dict[str, str]
    ) -> Iterator[dict[str, Journal]]:
        """The journals of both sides; where what is done with them fails, an interrupt too, they are no runs."""
        import secrets

        from bnbench import store
        from bnbench.measure.fingerprints import of_names

        token = secrets.token_hex(8)
        with contextlib.ExitStack() as opened:
            written: dict[str, Journal] = {}
            try:
                for side, source in sources.items():
                    described = store.new_environment(self.description, self.saved, command_line(self.options))
                    described |= {"interleaved": token, "side": side, "fingerprints": of_names(names, source)} | refs
                    written[side] = opened.enter_context(store.Journal(folder / side, described, resume=False))
                yield written
            except BaseException:
                for journal in written.values():
                    journal.discard()
                raise


def own_variants() -> tuple[str, ...]:
    """What is compared unless variants are named: no frameworks, and nothing that cannot run here.

    Plug-ins are asked by their workers, not here, where one that hangs would cost everything.
    """
    from bnbench.variants import variants

    return tuple(
        name
        for name, cls in variants().items()
        if not cls.__module__.startswith("bnbench.variants.peer_")
        and not (cls.__module__.startswith("bnbench.") and cls.unavailable())
    )


def command_line(options: argparse.Namespace) -> str:
    """The command that does this comparison again."""
    from bnbench.commands.common import command_line

    left_out = ("old", "new", "all", "markdown", "force", "threshold", "strict")
    return command_line("compare", options, leave_out=left_out)


def read_passes(text: str | None, default: int, least: int) -> int:
    """A number of passes."""
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise UsageError(f"--passes is {text!r}; expected a whole number of at least {least}")
    return int(text)
