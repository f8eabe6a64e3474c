"""`sweep --dry-run`: what would be measured, and roughly how long that takes."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bnbench.commands.common import OK, print_json

if TYPE_CHECKING:
    from bnbench.measure.plan import Plan
    from bnbench.record import Record

START_S, BESIDE_SAMPLES_S = 20.0, 0.6  # of a sweep, and of a variant at a cell: as the presets take on two cores
AGAIN_S, BESIDE_AGAIN_S = 6.0, 0.1  # of a pass after the first: nothing is compiled or judged
WIDTH = 100  # columns


def dry_run(plan: "Plan", there: "Iterable[Record]", notes: Sequence[str], as_json: bool) -> int:
    """Say which variants and cells a plan still has to measure beside these records; nothing is started."""
    from bnbench.commands.progress import clock
    from bnbench.measure.forecast import Forecast
    from bnbench.record import SETTING
    from bnbench.variants import variants

    known, done = variants(), {record.key: record for record in there if not record.lacked_time}
    names = plan.variants or tuple(known)
    absent = [name for name in names if known[name].__module__.startswith("bnbench.") and known[name].unavailable()]
    here = [name for name in names if name not in absent]
    forecast = Forecast(plan)
    for record in done.values():
        forecast.learn(record)
    missing = ((cell, [name for name in here if (name, cell) not in done]) for cell in plan.cells())
    to_do = [(cell, names) for cell, names in missing if names]
    count = sum(len(names) for _, names in to_do)
    roughly = sum(forecast.cost(*each) for each in to_do) + BESIDE_SAMPLES_S * count + START_S * bool(count)
    roughly += (plan.passes - 1) * (sum(forecast.cost(*each) for each in to_do) + BESIDE_AGAIN_S * count + AGAIN_S)
    roughly = min(roughly, plan.time_budget or roughly)
    if as_json:
        cells = [cell.columns | {"variants": names} for cell, names in to_do]
        print_json({"cells": cells, "not_installed": absent, "roughly_s": roughly, "notes": list(notes)})
        return OK
    already = f"; {len(done)} are there already" if done else ""
    _say(f"Nothing is measured. To be done: {len(to_do)} cells, {count} measurements{already}.")
    settings: dict[tuple, list[str]] = {}
    for cell, _ in to_do:
        settings.setdefault(cell.setting, []).append("x".join(map(str, cell.sizes)))
    for setting, sizes in settings.items():
        _say(
            f"{', '.join(f'{name} {value}' for name, value in zip(SETTING, setting, strict=True))}: {', '.join(sizes)}"
        )
    _say(f"Variants: {', '.join(here) or 'none'}")
    if absent:
        _say(f"Not installed here, and left out: {', '.join(absent)}")
    budget = f", all of it at {plan.time_budget:g} s" if plan.time_budget else ""
    _say(
        f"That takes roughly {clock(roughly)} minutes, more where steps are long; a measurement ends at "
        f"{plan.timeout:g} s{budget}, compiling apart."
    )
    for note in notes:
        _say(f"note: {note}")
    return OK


def _say(text: str) -> None:
    print(textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
