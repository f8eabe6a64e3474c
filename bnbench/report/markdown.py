"""The report as Markdown: summary.md."""

from __future__ import annotations

import pandas as pd

from bnbench.report import analysis, answers, tables
from bnbench.report.table import Table, plain


def page(table: pd.DataFrame, environment: dict | None = None) -> str:
    """The text of summary.md, of `tables.frame`'s table: the three answers, then the tables of the report."""
    environment = environment or {}
    here = analysis.present(table)
    right, fastest, slower = (_answer(answer) for answer in answers.answers(table))
    by_size = [tables.loops_or_matrix(part) for part in analysis.parts(here)]
    blocks = ["# bnbench: summary", answers.scope(table)]
    blocks += [plain(source)] if (source := answers.source(environment)) else []
    blocks += [*right, *_sections(*by_size), *fastest, *slower, *_sections(tables.statuses(here))]
    for part in analysis.parts(here):
        blocks += _sections(tables.medians(part), tables.against_frameworks(part))
    blocks += _sections(tables.over_hosts(here), tables.not_ok(here), tables.accuracy(here), tables.compile_times(here))
    blocks += [plain(line)] if (line := answers.not_installed(table)) else []
    return "\n\n".join(blocks) + "\n"


def _answer(answer: answers.Answer) -> list[str]:
    lines = [*answer.lines, *(f"{label}: {line}" for label, lines in answer.settings for line in lines)]
    command = [f"    {answer.command}"] if answer.command else []
    return [f"## {answer.question}", plain(answer.verdict), *command, "\n".join(f"- {plain(line)}" for line in lines)]


def _sections(*shown: Table) -> list[str]:
    return [table.section() for table in shown if table]
