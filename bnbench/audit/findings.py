"""The findings on a formula: on each gradient, on each activation and normalization, and overall."""

from dataclasses import dataclass, field
from typing import Any

from bnbench import notebook
from bnbench.audit.conventions import Conventions
from bnbench.audit.mistakes import Mistake
from bnbench.problem import Problem
from bnbench.validation import FLOAT32_PRECISION

SHOWN = 3  # alternatives that are named
FROZEN = "it is right for frozen statistics: who trains with it trains as if μ and s were given constants"


@dataclass(frozen=True)
class Finding:
    """The finding on one gradient.

    Attributes:
        name: "loss", "dG1", "dgamma", "dbeta" or "dG2".
        right: whether it is the gradient, to rounding, on every problem of its case.
        mistakes: the fewest known mistakes that reproduce its numbers on every problem; empty where it is right
            or none do.
        text: one line for the reader.
        form: what is wrong with its form or precision (shape, dtype, float32's accuracy) if nothing else is; else "".
        reading: if no known mistake reproduces it, the factor by which it or its terms are off; else "".
    """

    name: str
    right: bool
    mistakes: tuple[Mistake, ...]
    text: str
    form: str = ""
    reading: str = ""

    @property
    def explained(self) -> bool:
        """Whether it is right, or known what is wrong with it."""
        return bool(self.right or self.mistakes or self.form or self.reading)


@dataclass(frozen=True)
class Case:
    """A formula under one activation and normalization.

    Attributes:
        activation, normalization: what it was called with.
        problems: those it was tried on.
        findings: name to Finding; empty where it did not return on all of them.
        mistakes: the fewest known mistakes that reproduce all its gradients at once; empty where all are right,
            or where no one or two do.
        alternatives: other sets of as few mistakes that give the same numbers on these problems.
        raised: what the formula raised; "" if it did not.
        answered: on how many of the problems it returned.
        unsupported: why the variant declines all of them; "" if it does not.
        conventions: those that are built in.
        remarks: what is worth knowing and no mistake.
        loss, depth, linear, units: of the problems, as in `Problem`.
    """

    activation: str
    normalization: str
    problems: tuple[Problem, ...]
    findings: dict[str, Finding]
    mistakes: tuple[Mistake, ...] = ()
    alternatives: tuple[tuple[Mistake, ...], ...] = ()
    raised: str = ""
    answered: int = 0
    unsupported: str = ""
    conventions: Conventions = field(default_factory=Conventions)
    remarks: tuple[str, ...] = ()
    loss: str = "squared"
    depth: int = 1
    linear: int = 0
    units: int = 0

    @property
    def correct(self) -> bool:
        """Whether it returned wherever it was asked, and every gradient, and the loss, is right."""
        return bool(self.findings) and not self.raised and all(finding.right for finding in self.findings.values())

    @property
    def first_wrong(self) -> str:
        """Of several layers, where to look: what is wrong first on the way from the loss and the head down; or ""."""
        wrong = [name for name, finding in self.findings.items() if not finding.right]
        if self.depth == 1 or not wrong or (self.mistakes and not self.unexplained):
            return ""
        first = wrong[0]
        if first == "loss":
            return "the loss itself is wrong: look at the forward pass"
        layer = f"layer {int(first.split('[')[1][:-1]) + 1}" if "[" in first else "the head"
        return f"from the head down {first} is the first that is wrong, of {layer}"

    @property
    def where(self) -> str:
        """What it was called with beside the activation, in words."""
        told = {"batch": "with batch normalization", "frozen": "with frozen statistics"}
        words = [told.get(self.normalization, "without normalization")]
        words += [f"{self.depth} layers"] * (self.depth > 1) + [f"{self.loss} loss"] * (self.loss != "squared")
        words += ["linear terms"] * bool(self.linear) + ["unit effects"] * bool(self.units)
        return ", ".join(words)

    @property
    def known(self) -> tuple[Mistake, ...]:
        """The known mistakes that are named, in the formula as a whole or in single gradients."""
        named = [*self.mistakes, *(mistake for finding in self.findings.values() for mistake in finding.mistakes)]
        return tuple(dict.fromkeys(named))

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The wrong outputs that nothing known explains."""
        return tuple(name for name, finding in self.findings.items() if not finding.explained)

    def lines(self) -> list[str]:
        """The findings in words, a line each."""
        if self.unsupported:
            return [f"not tried: {self.unsupported}"]
        remarks = [f"remark: {remark}" for remark in self.remarks if remark != FROZEN]  # which the headline says
        if self.raised:
            wrong = [finding.text for finding in self.findings.values() if not finding.right]
            return [f"raised {self.raised}", *wrong, *(remarks if wrong else [])]
        if self.correct:
            return ["right: the loss and every gradient", *remarks]
        lines = [self.findings[name].text for name in self.findings]
        if self.alternatives:
            sets = [" + ".join(mistake.label for mistake in other) for other in self.alternatives]
            more = f" and {len(sets) - SHOWN} more" if len(sets) > SHOWN else ""
            lines.append(f"the same numbers here: {'; '.join(sets[:SHOWN])}{more}")
        return lines + [self.first_wrong] * bool(self.first_wrong) + remarks


@dataclass(frozen=True)
class Diagnosis:
    """The findings on a formula, case by case; `str` of it is a report of a few lines.

    Attributes:
        cases: one for each activation and normalization it was tried with.
        unavailable: why the variant cannot run here, so that nothing is ruled; "" where it can.
        own: that it is right in its own conventions, where it is wrong in those asked for; or "".
    """

    cases: tuple[Case, ...]
    unavailable: str = ""
    own: str = ""

    @property
    def answered(self) -> list[Case]:
        """The cases in which it returned: a formula that raises on every problem does not take that activation."""
        return [case for case in self.cases if case.answered]

    @property
    def correct(self) -> bool:
        """Whether it is right in every case in which it returned, and returned in one at least."""
        return bool(self.answered) and all(case.correct for case in self.answered)

    @property
    def mistakes(self) -> tuple[str, ...]:
        """Names of the known mistakes, over all cases."""
        return tuple(dict.fromkeys(mistake.name for case in self.cases for mistake in case.known))

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The outputs that are wrong and that nothing known explains, over all cases."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.unexplained))

    @property
    def conventions(self) -> Conventions:
        """Those of the first case that returned."""
        return next((case.conventions for case in self.answered), Conventions())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is worth knowing and no mistake, over all cases."""
        return tuple(dict.fromkeys(remark for case in self.answered for remark in case.remarks))

    def plain(self) -> dict[str, Any]:
        """The diagnosis as JSON has it."""
        cases = []
        for case in self.cases:
            findings = {
                name: {
                    "right": finding.right,
                    "mistakes": [m.label for m in finding.mistakes],
                    "reading": finding.reading,
                    "text": finding.text,
                }
                for name, finding in case.findings.items()
            }
            alternatives = [[mistake.label for mistake in other] for other in case.alternatives]
            about = {"activation": case.activation, "normalization": case.normalization, "correct": case.correct}
            about |= {"raised": case.raised, "gradients": findings, "alternatives": alternatives}
            about |= {"conventions": case.conventions.plain(), "unexplained": list(case.unexplained)}
            about |= {"loss": case.loss, "depth": case.depth, "linear": case.linear, "units": case.units}
            cases.append(about | {"unsupported": case.unsupported})
        ruling = "holds" if self.correct else "wrong" if self.tried else "not tried"
        return {
            "ruling": ruling,
            "reason": self.headline,
            "correct": self.correct,
            "conventions": self.conventions.plain(),
            "mistakes": list(self.mistakes),
            "unexplained": list(self.unexplained),
            "remarks": list(self.remarks),
            "cases": cases,
        }

    @property
    def tried(self) -> bool:
        """Whether it was called at all, so that it can be ruled on."""
        return any(not case.unsupported for case in self.cases)

    @property
    def headline(self) -> str:
        """One line: right, or wrong by which known mistakes; or why it was not tried."""
        if self.correct:
            said = list(dict.fromkeys(phrase for case in self.answered for phrase in case.conventions.says()))
            return "; ".join(["right: the loss and every gradient", *([", ".join(said)] if said else [])])
        if not self.tried:
            return f"not tried: {self.unavailable or self.cases[0].unsupported}"
        raised = [case.raised for case in self.answered or self.cases if case.raised]
        wrong = [finding for case in self.cases for finding in case.findings.values() if not finding.right]
        texts = list(dict.fromkeys(mistake.text for case in self.cases for mistake in case.known))
        texts += list(dict.fromkeys(finding.reading for finding in wrong if finding.reading))
        if not texts and wrong and all(finding.form for finding in wrong):
            single = all(FLOAT32_PRECISION in finding.form for finding in wrong)
            texts = [f"it is {FLOAT32_PRECISION}" if single else wrong[0].form]
        if texts and (left := self.unexplained):
            names = " and ".join(left)
            texts.append(f"{names} {'is' if len(left) == 1 else 'are'} wrong in a way that no known mistake explains")
        texts += [text for text in dict.fromkeys(case.first_wrong for case in self.cases) if text]
        texts += [FROZEN] * any(FROZEN in case.remarks for case in self.cases)
        if raised and (not texts or any(case.findings for case in self.answered if case.raised)):
            texts.append(f"it raised {raised[0]}")
        if self.own:
            return f"wrong for what it was held to; {self.own}" + "".join(f"; held to that: {text}" for text in texts)
        return f"wrong: {'; and '.join(texts) or 'no known mistake or pair of mistakes reproduces its numbers'}"

    def _repr_html_(self) -> str:
        """In a notebook: the headline, and a row for each case."""
        rows = [(case.activation, case.where, "; ".join(case.lines())) for case in self.cases]
        return notebook.table(self.headline, ("activation", "where", "finding"), rows)

    def __str__(self) -> str:
        groups: dict[tuple, list[Case]] = {}
        for case in self.cases:
            same = tuple((name, finding.right, finding.mistakes) for name, finding in case.findings.items())
            key = (case.where, same, case.alternatives, case.raised, case.unsupported, case.remarks)
            groups.setdefault(key, []).append(case)
        blocks = [self.headline]
        for (where, *_), cases in groups.items():
            names = ", ".join(case.activation for case in cases)
            blocks.append("\n    ".join([f"  {names}, {where}:", *cases[0].lines()]))
        return "\n".join(blocks)
