"""`audit --layer`: the verdict on every layer of a file."""

import argparse
from typing import TYPE_CHECKING

from bnbench.commands.common import FAULT, OK, UsageError, print_json

if TYPE_CHECKING:
    from bnbench.audit.layer import LayerVerdict


def judged(pair: tuple, layout: str | None, eps: float | None) -> "LayerVerdict":
    """The verdict on a layer; where no layout is given and it does not take rows, by one that it takes."""
    from bnbench.audit.layer import check_layer
    from bnbench.audit.layer.layouts import LAYOUTS

    verdicts: list[LayerVerdict] = []
    for one in (layout,) if layout else LAYOUTS:
        verdict = check_layer(*pair, layout=one, eps=eps)
        if verdict.findings and not (verdicts and verdict.conventions.unread):
            return verdict if not verdicts else verdict.with_remark(f"judged with --layout {one}")
        verdicts.append(verdict)
    return verdicts[0]


def judge_layers(options: argparse.Namespace) -> int:
    """Print the verdicts; the exit code."""
    from bnbench.audit.layer import files
    from bnbench.commands.terminal import working

    try:
        eps = None if options.eps is None else float(options.eps)
        layers = files.layers(options.layer)
        with working(f"judging {options.layer}"):
            verdicts = {name: judged(pair, options.layout, eps) for name, pair in layers.items()}
    except (files.FileError, ValueError) as error:
        raise UsageError(error) from error
    if options.json:
        plain = [{"name": name} | verdict.plain() for name, verdict in verdicts.items()]
        print_json(plain if len(plain) > 1 else plain[0])
    else:
        print("\n\n".join(f"{name}: {verdict}" for name, verdict in verdicts.items()))
    return OK if all(verdict.correct for verdict in verdicts.values()) else FAULT
