"""The judge process: it computes references and gives verdicts, so that workers hold and compile neither."""

import dataclasses
import sys

from bnbench import validation
from bnbench.measure.child import serve
from bnbench.measure.data import Stored, sample_batch
from bnbench.measure.given import other_parameters
from bnbench.problem import Problem
from bnbench.reference import reference

PREPARED, LOADED, TIMED = "prepared", "after other parameters were loaded", "after it was timed"  # stages of a run


class Judge:
    """The requests: `refer` to a problem, `judge` answers to it; `derive` judges the derivation check.

    A variant is prepared with other parameters than the problem's own, which are loaded then.
    """

    def __init__(self):
        self.problem, self.references = None, {}
        self.derivations = {}  # of each derivation problem, its references by conventions

    def refer(self, problem: Problem, table: Stored | None):
        """Compute the references of a problem, in advance."""
        self.known(problem, table, False)

    def known(self, problem, table, tf32):
        """The references of a problem, with the errors allowed where products may round to TF32, or not."""
        if problem != self.problem:
            self.problem, self.references = problem, {}
        if tf32 not in self.references:
            unit = validation.TF32_UNIT if tf32 else 0.0
            self.references[tf32] = references(sample_batch(problem, table), problem, factor_unit=unit)
        return self.references[tf32]

    def judge(self, answer, problem: Problem, table: Stored | None, stage: str, tf32: bool = False):
        """The verdict on an answer to a problem; tf32 where its products may round to TF32."""
        return verdict(answer, self.known(problem, table, tf32), problem, stage)

    def derive(self, problem: Problem, held: tuple[str, ...], answers: list) -> tuple[str, str]:
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
        found = []
        for built_in in ((), ("ddof",), ("eps",), ("ddof", "eps")):
            if set(built_in) & set(held):
                continue
            reasons = [self.derived(problem, place, conventions, built_in, both) for place, conventions, both in tried]
            wrong = [reason for reason in reasons if reason]
            if not wrong:
                return "", declined
            found.append(wrong)
        return min(found, key=len)[0], ""

    def derived(self, cell, place, conventions, built_in, both) -> str:
        """What is wrong with the answers to a derivation problem, where the cell's own conventions are built in."""
        setting = cell.activation, cell.normalization, cell.ddof, cell.eps
        key = cell if conventions == validation.OWN_SIZES else setting, place, str(conventions), built_in
        if key not in self.derivations:
            if conventions == validation.OWN_SIZES:
                batch, problem = validation.own_sizes(cell)
            else:
                batch, problem = validation.derivation_problem(place, *setting[:2], **conventions)
            real = dataclasses.replace(problem, **{name: getattr(cell, name) for name in built_in})
            self.derivations[key] = problem, real, references(batch, real)
        problem, real, known = self.derivations[key]
        for stage, answer in zip((PREPARED, LOADED), both, strict=True):
            found = verdict(answer, known, real, stage)
            if not found.valid:
                return (
                    f"derivation check (N={problem.N}, p1={problem.p1}, p2={problem.p2}, ddof={problem.ddof}, "
                    f"eps={problem.eps:g}): {found.reason}"
                )
        return ""


def references(batch, problem, **more):
    """The reference at the batch's own parameters, and the one at the others."""
    return [reference(each, problem, **more) for each in (batch, other_parameters(batch, problem))]


def verdict(answer, known, problem, stage):
    """The verdict on an answer at a stage: at the other parameters of `prepare`, or at the own ones from then on."""
    at_others = stage == PREPARED
    found = validation.judge(answer, known[at_others], problem)
    if found.valid or at_others:
        return found
    reason = found.reason
    if stage == LOADED and validation.judge(answer, known[True], problem).valid:
        reason = "they are ignored, the answer is that to the ones before"
    return dataclasses.replace(found, reason=f"{stage}: {reason}")


def main():
    """Serve a sweep's requests."""
    judge = Judge()
    serve({"refer": judge.refer, "judge": judge.judge, "derive": judge.derive})


if __name__ == "__main__":
    sys.exit(main())
