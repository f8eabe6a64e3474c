"""The judge process: it computes references and gives verdicts, so that workers hold and compile neither."""

import dataclasses
import itertools
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from bnbench import validation
from bnbench.measure.child import serve
from bnbench.measure.data import SharedTable, sample_batch
from bnbench.measure.given import other_parameters
from bnbench.measure.plan import DRAWN
from bnbench.problem import Batch, Problem
from bnbench.reference import Reference, reference

CONVENTIONS = (  # of a problem, which the derivation check is about
    *("activation", "normalization", "loss", "depth", "linear", "units"),
    *DRAWN,
)
PREPARED, LOADED, TIMED = "prepared", "after other parameters were loaded", "after it was timed"  # stages of a run


class Judge:
    """The requests: `refer` to a problem, `judge` answers to it; `derive` judges the derivation check.

    A variant is prepared with other parameters than the problem's own, which are loaded then.
    """

    def __init__(self) -> None:
        self.problem: Problem | None = None
        self.references: dict[bool, list[Reference]] = {}  # by whether products may round to TF32
        # of each derivation problem: it, as it is with the cell's own conventions built in, and its references
        self.derivations: dict[tuple, tuple[Problem, Problem, list[Reference]]] = {}

    def refer(self, problem: Problem, table: SharedTable | None) -> None:
        """Compute the references of a problem, in advance."""
        self.known(problem, table, False)

    def known(self, problem: Problem, table: SharedTable | None, tf32: bool) -> list[Reference]:
        """The references of a problem, with the errors allowed where products may round to TF32, or not."""
        if problem != self.problem:
            self.problem, self.references = problem, {}
        if tf32 not in self.references:
            unit = validation.TF32_UNIT if tf32 else 0.0
            self.references[tf32] = references(sample_batch(problem, table), problem, factor_unit=unit)
        return self.references[tf32]

    def judge(
        self, answer: Any, problem: Problem, table: SharedTable | None, stage: str, tf32: bool = False
    ) -> validation.Verdict:
        """The verdict on an answer to a problem; tf32 where its products may round to TF32."""
        return verdict(answer, self.known(problem, table, tf32), problem, stage)

    def derive(self, problem: Problem, held: Sequence[str], answers: list) -> tuple[str, str]:
        """The reason why the answers to the derivation problems are wrong, "" where none is; and what was not tried.

        Who ignores ddof or eps, and has the cell's own built in, is right here: all answers are then those at the
        cell's. One that is so at some problems alone is not.
        """
        tried = [(place, *answer) for place, answer in enumerate(answers) if answer != validation.UNSUPPORTED]
        left = sum(answer == validation.UNSUPPORTED for answer in answers[: validation.DERIVATIONS])
        if not tried:
            return "", "the derivation check was not made: it declines every problem of it, whatever the conventions"
        declined = (
            f"{left} of the {validation.DERIVATIONS} problems of the derivation check are declined" if left else ""
        )
        wrong_by = []
        for built_in in itertools.chain(*(itertools.combinations(DRAWN, count) for count in range(len(DRAWN) + 1))):
            if set(built_in) & set(held):
                continue
            reasons = [self.derived(problem, place, conventions, built_in, both) for place, conventions, both in tried]
            wrong = [reason for reason in reasons if reason]
            if not wrong:
                return "", declined
            wrong_by.append(wrong)
        return min(wrong_by, key=len)[0], ""

    def derived(
        self, cell: Problem, place: int, conventions: dict[str, Any] | str, built_in: Sequence[str], both: list
    ) -> str:
        """What is wrong with the answers to a derivation problem, where the cell's own conventions are built in."""
        setting = attrgetter(*CONVENTIONS)(cell)
        key = cell if conventions == validation.OWN_SIZES else setting, place, str(conventions), built_in
        if key not in self.derivations:
            if isinstance(conventions, str):  # its own sizes
                own = validation.own_sizes(cell)
                assert own is not None, "a worker has answered to it"
                batch, problem = own
            else:
                batch, problem = validation.derivation_problem(place, *setting[:2], **conventions)
            real = dataclasses.replace(problem, **{name: getattr(cell, name) for name in built_in})
            self.derivations[key] = problem, real, references(batch, real)
        problem, real, known = self.derivations[key]
        for stage, answer in zip((PREPARED, LOADED), both, strict=True):
            ruled = verdict(answer, known, real, stage)
            if not ruled.valid:
                return (
                    f"derivation check (N={problem.N}, p1={problem.p1}, p2={problem.p2}, ddof={problem.ddof}, "
                    f"eps={problem.eps:g}): {ruled.reason}"
                )
        return ""


def references(batch: Batch, problem: Problem, **more: float) -> list[Reference]:
    """The reference at the batch's own parameters, and the one at the others."""
    return [reference(each, problem, **more) for each in (batch, other_parameters(batch, problem))]


def verdict(answer: Any, known: Sequence[Reference], problem: Problem, stage: str) -> validation.Verdict:
    """The verdict on an answer at a stage: at the other parameters of `prepare`, or at the own ones from then on."""
    at_others = stage == PREPARED
    ruled = validation.judge(answer, known[at_others], problem)
    if ruled.valid or at_others:
        return ruled
    reason = ruled.reason
    if stage == LOADED and validation.judge(answer, known[True], problem).valid:
        reason = "they are ignored, the answer is that to the ones before"
    return dataclasses.replace(ruled, reason=f"{stage}: {reason}")


def main() -> None:
    """Serve a sweep's requests."""
    judge = Judge()
    serve({"refer": judge.refer, "judge": judge.judge, "derive": judge.derive})


if __name__ == "__main__":
    main()
