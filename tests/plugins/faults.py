"""A plug-in of faults: variants that fail, or cheat, in every way a variant can."""

import ctypes
import os
import signal
import sys
import time
from types import SimpleNamespace

import numpy as np

import bnbench
from bnbench.library import gradients

WORKER = os.getpid()
SIZE = 300  # rows at which a fault shows; at any other number the answer is right


def right(X, y, G1, gamma, beta, G2, **conventions):
    """The right answer."""
    return gradients(X, y, G1, gamma, beta, G2, variant="matrix-numpy", **conventions)


def faulty(name):
    """Register a variant that is right but at SIZE rows, where it does what the function does."""

    def decorate(fault):
        @bnbench.variant(name, family="matrix")
        def step(X, *others, **conventions):
            answer = right(X, *others, **conventions)
            return answer if len(X) != SIZE else fault(answer)

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
        kept.append(np.empty(4_000_000))


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


@faulty("kills-itself")
def kills_itself(answer):
    os.kill(os.getpid(), signal.SIGKILL)


@faulty("has-no-signal-name")
def has_no_signal_name(answer):
    os.kill(os.getpid(), signal.SIGRTMIN + 3)


@faulty("forks")
def forks(answer):
    if os.getpid() == WORKER:  # or each step doubles the processes
        os.fork()  # and both return
    return answer


@faulty("leaves-a-child")
def leaves_a_child(answer):
    if os.fork() == 0:
        time.sleep(60)  # with the worker's pipe in its hand
    os._exit(5)


@faulty("writes-into-the-pipe")
def writes_into_the_pipe(answer):
    os.write(int(sys.argv[1]), b"\xff\xf0 not a length")
    return answer


class Faulty(bnbench.Variant):
    """Right, step by step, where a subclass has not spoiled it; `late` says whether a step was timed already."""

    family = "matrix"

    def prepare(self, batch, problem, regime="fresh"):
        super().prepare(batch, problem, regime)
        self.given, self.wrong, self.late = batch, problem.N == SIZE, False

    def step(self):
        batch, problem = self.batch, self.problem
        conventions = {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps")}
        self.answer = right(*batch, **conventions)
        if self.wrong and self.late:
            self.spoil()

    def spoil(self):
        pass

    def time(self, count):
        self.late = True
        return super().time(count)

    def result(self):
        return self.answer


class IgnoresLoad(Faulty):
    name = "ignores-load"

    def load(self, *parameters):
        if not self.wrong:
            super().load(*parameters)


class SwapsInLoad(Faulty):
    name = "swaps-in-load"

    def load(self, G1, gamma, beta, G2):
        super().load(G1, *((beta, gamma) if self.wrong else (gamma, beta)), G2)


class RaisesInLoad(Faulty):
    name = "raises-in-load"

    def load(self, *parameters):
        if self.wrong:
            raise LookupError("no new parameters here")
        super().load(*parameters)


class ByAddress(Faulty):
    """What native code does: no flag keeps it off."""

    name = "writes-by-address"

    def spoil(self):
        ctypes.memset(self.given.X.ctypes.data, 0, self.given.X.nbytes)


class ByAssignment(Faulty):
    name = "writes-to-y"

    def spoil(self):
        self.given.y[:] = 0


class ByItsOwn(Faulty):
    """Its answer is right until it is timed."""

    name = "turns-wrong"

    def spoil(self):
        self.answer = self.answer._replace(dG1=0 * self.answer.dG1)


class CrashesWhenAsked(Faulty):
    name = "crashes-when-asked"

    @classmethod
    def needs_bytes(cls, problem, regime):
        if problem.N == SIZE:
            os._exit(6)
        return 0


class RefusesByError(Faulty):
    """Its own question whether it can take a problem fails."""

    name = "refuses-by-error"

    @classmethod
    def unsupported(cls, problem, regime):
        if problem.N == SIZE:
            raise LookupError("cannot say")
        return ""
