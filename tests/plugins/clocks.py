"""A plug-in of variants whose step takes a known time."""

import time

import bnbench
from bnbench.library import gradients


class Spinning(bnbench.Variant):
    """The right answer, once; every step spins until `length_s` after its start."""

    family = "clock"
    length_s = 0.0
    first_s = 0.0

    def prepare(self, batch, problem, regime="fresh"):
        super().prepare(batch, problem, regime)
        self.first = True
        conventions = {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps")}
        self.answer = gradients(*batch, variant="matrix-numpy", **conventions)

    def step(self):
        end = time.perf_counter() + self.length_s + (self.first_s if self.first else 0.0)
        self.first = False
        while time.perf_counter() < end:
            pass

    def result(self):
        return self.answer


@bnbench.variant("spin-2ms", family="clock")
class Spin2ms(Spinning):
    length_s = 2e-3


@bnbench.variant("spin-50us", family="clock")
class Spin50us(Spinning):
    length_s = 50e-6


@bnbench.variant("slow-first", family="clock")
class SlowFirst(Spinning):
    length_s = 2e-3
    first_s = 0.5
