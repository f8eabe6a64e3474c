"""The judge process: it computes references and gives verdicts, so that workers hold and compile neither."""

import sys

from bnbench import validation
from bnbench.measure.child import serve
from bnbench.measure.data import sample_batch
from bnbench.problem import Problem
from bnbench.reference import reference


class Judge:
    """The requests: `refer` to a problem, then `judge` answers to it; `derive` judges the derivation check."""

    def __init__(self):
        self.problem = self.data = None
        self.references = {}
        self.derivations = {}

    def refer(self, problem: Problem, data: str):
        """Compute the reference of a problem; returns how many elements are ambiguous at a kink."""
        self.problem, self.data, self.references = problem, data, {}
        return self.known(False).ambiguous

    def known(self, tf32):
        """The reference of the problem referred to, with the errors allowed where products may round to TF32 or not."""
        if tf32 not in self.references:
            batch = sample_batch(self.problem, self.data)
            unit = validation.TF32_UNIT if tf32 else 0.0
            self.references[tf32] = reference(batch, self.problem, factor_unit=unit)
        return self.references[tf32]

    def judge(self, answer, tf32: bool = False):
        """The verdict on an answer to the problem referred to; tf32 where its products may round to TF32."""
        return validation.judge(answer, self.known(tf32), self.problem)

    def derive(self, activation: str, normalization: str, answers: list):
        """The reason why the answers to the derivation problems are wrong; "" where none is."""
        key = activation, normalization
        if key not in self.derivations:
            problems = validation.derivation_problems(*key)
            self.derivations[key] = [(problem, reference(batch, problem)) for batch, problem in problems]
        for (problem, known), answer in zip(self.derivations[key], answers, strict=True):
            if answer == validation.UNSUPPORTED:
                continue
            verdict = validation.judge(answer, known, problem)
            if not verdict.valid:
                return (
                    f"derivation check (N={problem.N}, p1={problem.p1}, p2={problem.p2}, ddof={problem.ddof}, "
                    f"eps={problem.eps:g}): {verdict.reason}"
                )
        return ""


def main():
    """Serve a sweep's requests."""
    judge = Judge()
    serve({"refer": judge.refer, "judge": judge.judge, "derive": judge.derive})


if __name__ == "__main__":
    sys.exit(main())
