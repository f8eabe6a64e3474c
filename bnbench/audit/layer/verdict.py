"""The verdict on a layer, in words for its author."""

from dataclasses import dataclass, field, replace
from typing import Any

from bnbench import notebook
from bnbench.audit.layer.conventions import Conventions


@dataclass(frozen=True)
class LayerVerdict:
    """The verdict on a layer; `str` of it is for its author.

    Attributes:
        correct: whether the backward is the gradient of this forward, in all that it gives.
        conventions: what the forward computes; `.statistics`, `.ddof`, `.eps`, `.eps_place`, and more.
        findings: "dx", "dgamma", "dbeta", as far as they are given, to "right" or a sentence.
        mistakes: sentences; empty where it is right.
        terms: "a", "b", "c" of dx = (γ/s)(a dout - b mean(dout) - c x̂ mean(dout x̂)), and the factors of "dgamma" and
            "dbeta", each as text; without those that have no name.
        remarks: what is worth knowing and no mistake.
    """

    correct: bool
    conventions: Conventions
    findings: dict[str, str]
    mistakes: tuple[str, ...]
    terms: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """One line."""
        if self.correct:
            return f"right; {self.conventions}"
        return f"wrong: {'; and '.join(self.mistakes)}"

    def with_remark(self, text: str) -> "LayerVerdict":
        """The same, with one remark more."""
        return replace(self, remarks=(*self.remarks, text))

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "correct": self.correct,
            "conventions": self.conventions.plain() | {"text": str(self.conventions)},
            "findings": dict(self.findings),
            "mistakes": list(self.mistakes),
            "terms": dict(self.terms),
            "remarks": list(self.remarks),
            "text": self.headline,
        }

    def _repr_html_(self) -> str:
        """In a notebook: the verdict, each finding, and how dx reads in its terms."""
        first, *rest = str(self).split("\n")
        notes = [line.strip() for line in rest if not line.startswith(tuple(f"  {name}: " for name in self.findings))]
        return notebook.table(first, ("gradient", "finding"), self.findings.items(), notes)

    def __str__(self) -> str:
        if self.correct:
            lines = [self.headline]
        elif not self.findings:  # it did not even return
            lines = [f"wrong: {self.mistakes[0]}"]
        else:
            wrong = " and ".join(name for name, text in self.findings.items() if text != "right")
            lines = [f"wrong in {wrong}; its forward: {self.conventions}"]
        lines += [f"  {name}: {text}" for name, text in self.findings.items()]
        reading = []
        if self.conventions.statistics == "batch":
            reading.append(f"s = {self.conventions.formula}")
        if not self.correct and {"a", "b", "c"} & set(self.terms):
            reading.append("dx = (γ/s) ( a dout - b mean(dout) - c x̂ mean(dout x̂) )")
        lines += [f"  read with {', '.join(reading)}"] if reading else []
        lines += [f"  note: {remark}" for remark in self.remarks]
        return "\n".join(lines)
