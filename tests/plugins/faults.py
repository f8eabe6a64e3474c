"""A plug-in of faults: variants that fail in every way a variant can."""

import ctypes
import os
import sys
import time
from types import SimpleNamespace

import numpy as np

import bnbench
from bnbench.library import gradients

SIZE = 300  # rows from which a fault shows; below it the answer is right


def right(X, y, G1, gamma, beta, G2, **conventions):
    """The right answer."""
    return gradients(X, y, G1, gamma, beta, G2, variant="matrix-numpy", **conventions)


def faulty(name):
    """Register a variant that is right below SIZE rows and does what the function does from there on."""

    def decorate(fault):
        @bnbench.variant(name, family="matrix")
        def step(X, *others, **conventions):
            answer = right(X, *others, **conventions)
            return answer if len(X) < SIZE else fault(answer)

        return fault

    return decorate


@faulty("raises")
def raises(answer):
    raise ArithmeticError("the plug-in\ngave up")


@faulty("exits")
def exits(answer):
    sys.exit(3)


@faulty("exits-hard")
def exits_hard(answer):
    os._exit(4)


@faulty("segfaults")
def segfaults(answer):
    ctypes.string_at(0)


@faulty("allocates")
def allocates(answer):
    kept = []
    while True:
        kept.append(np.ones(4_000_000))


@faulty("hangs")
def hangs(answer):
    while True:
        time.sleep(60)


@faulty("gives-none")
def gives_none(answer):
    return None


@faulty("gives-four")
def gives_four(answer):
    return answer[:4]


@faulty("gives-nan")
def gives_nan(answer):
    return answer._replace(dbeta=answer.dbeta * np.array([np.nan] + [1] * (len(answer.dbeta) - 1)))


@faulty("misses-one")
def misses_one(answer):
    return SimpleNamespace(loss=answer.loss, dG1=answer.dG1, dbeta=answer.dbeta, dG2=answer.dG2)


@faulty("one-is-none")
def one_is_none(answer):
    return answer._replace(dgamma=None)


@faulty("transposes")
def transposes(answer):
    return answer._replace(dG1=answer.dG1.T.copy())


@faulty("wrong-dtype")
def wrong_dtype(answer):
    other = np.float32 if answer.dG1.dtype == np.float64 else np.float64
    return answer._replace(dG2=answer.dG2.astype(other))


@faulty("gives-text")
def gives_text(answer):
    return answer._replace(dG2="large")


class RefusesByError(bnbench.Variant):
    """Its own question whether it can take a problem fails."""

    name = "refuses-by-error"
    family = "matrix"

    @classmethod
    def unsupported(cls, problem, regime):
        if problem.N >= SIZE:
            raise LookupError("cannot say")
        return ""

    def step(self):
        batch, problem = self.batch, self.problem
        conventions = {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps")}
        self.answer = right(*batch, **conventions)

    def result(self):
        return self.answer
