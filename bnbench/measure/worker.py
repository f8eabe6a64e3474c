"""The worker process: one variant, alive for a whole sweep, driven a sample at a time.

Requests in the life of a cell: `survey` says what the variant cannot take and what it needs; `load` samples the batch;
`open` prepares the variant with other parameters than the cell's and makes the first step; `reload` loads the cell's
own and makes another; `derive` runs the derivation problems, once a setting; `calibrate` finds how many steps a sample
holds; `sample` times one sample; `look_again` gives the last step's answer, and says what was overwritten on the way;
`device_times`, on a device, times its copies and cold steps; `close` says the peak of memory and lets go of everything.

What a plug-in says of itself is made text and numbers here: no object of its own reaches the parent. What the answers
are is in protocol.py.
"""

import contextlib
import dataclasses
import functools
import gc
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import psutil

from bnbench import compiling, validation
from bnbench.codecache import ALWAYS, FRESH, OFF, SWITCH
from bnbench.cuda import device
from bnbench.measure.child import limit_memory, plain_line, serve
from bnbench.measure.data import SharedTable, sample_batch
from bnbench.measure.given import changed, digest, other_parameters, protected
from bnbench.measure.interference import Sample, Usage, children, clock_mhz, page_faults
from bnbench.measure.memory import keep, peak_bytes, reset_peak, resident_bytes
from bnbench.measure.protocol import ANSWERS, PROTOCOL
from bnbench.problem import Batch, Problem
from bnbench.variants import Variant, load_plugin, variants

SAMPLE_S = 5e-3  # a sample lasts at least this long
MARGIN = 1.1  # by which calibration, whose steps may be slower than later ones, must pass that
RESOLUTIONS = 1000  # and at least so many times the clock's resolution
MOST_LOOPS = 10**8  # of a step that takes 50 ps: no call does
WARM_S = 2e-3  # steps before a sample, for caches and thread pools that others' samples left cold
PAGE_BYTES = 4096
LONG_STEP_S = 0.1  # a step from this length on warms itself
MOST_BYTES = 2**62  # that a variant may be said to need: more than there are
DEVICE_TIMES = ("cold_s", "host_to_device_s", "end_to_end_s")


@contextlib.contextmanager
def told(problem: Problem) -> Iterator[None]:
    """Say of what a plug-in raises where its author finds it."""
    try:
        yield
    except Exception as error:
        vars(error)["told"] = validation.raised_text(error, problem)
        raise


class Worker:
    """The requests' handlers for one variant; the answers are those of protocol.py, as dicts."""

    variant: Variant  # from `open` to `close`, as
    calls: compiling.Calls | None  # what it compiles is
    batch: Batch  # from `load` to `close`; the other parameters until `open` has used them
    other: Batch

    def __init__(self, name: str) -> None:
        import numba  # noqa: F401  - its threads are held to the cell's before a variant imports it

        self.name = name
        self.account = compiling.account()
        self.allowed = processors()
        self.clocks: dict[str, Any] = {}  # a device's, before and after the samples
        self.start_s: float | None = None  # what the variant's own compiler does but once

    @functools.cached_property
    def cls(self) -> type[Variant]:
        """The variant's class."""
        return variants()[self.name]

    def forget(self, *names: str) -> None:
        """Let go of what is held for a cell."""
        for name in names:
            vars(self).pop(name, None)

    def hello(self) -> dict[str, Any]:
        """Whether the variant can run here, on what device, and how this worker is to be spoken to."""
        if self.name not in variants():
            reason, device, allowance_s = f"this version has no variant {self.name}", "cpu", 0.0
        else:
            device, allowance_s = plain_line(str(self.cls.device)), float(self.cls.compile_allowance_s)
            reason = sentence("unavailable", self.cls.unavailable())
        return {"protocol": PROTOCOL, "device": device, "compile_allowance_s": allowance_s, "unavailable": reason}

    def survey(self, problem: Problem, regime: str) -> dict[str, Any]:
        """Why the variant cannot take a problem, or "", and the bytes that it says it needs beyond X and y."""
        reason = sentence("unsupported", self.cls.unsupported(problem, regime))
        needs = 0 if reason else min(MOST_BYTES, max(0, int(self.cls.needs_bytes(problem, regime))))
        return {"unsupported": reason, "needs_bytes": needs}

    def load(self, problem: Problem, table: SharedTable | None, memory_limit: int, keep_memory: bool = False) -> None:
        """Sample the batch and draw the other parameters, within the cell's memory limit; nothing may write to them.

        From the first cell on that asks for it, freed memory is kept.
        """
        if keep_memory:
            keep()
        self.forget("variant", "batch", "other")
        gc.collect()
        gc.freeze()  # what is left are libraries: no later collection has to walk through them
        if self.cls.device == "cpu":  # a GPU's driver maps far more than it uses
            limit_memory(memory_limit)
        # Where on a page the cell's arrays begin is randomised per process: else it might depend on the length of a
        # path, be the same in all processes of one version and another in the next one's, and pass for a change.
        self.padding = np.empty(16 * random.randrange(PAGE_BYTES // 16), np.uint8)
        self.batch = protected(sample_batch(problem, table))
        self.other = protected(other_parameters(self.batch, problem))
        self.digest = digest(self.batch)
        reset_peak()

    def open(self, problem: Problem, regime: str, threads: int) -> dict[str, Any]:
        """Prepare with the other parameters and make the first step, both timed; its answer is to be judged.

        What Numba compiles on the way is no part of the times where it is accounted for, and is said by `reload`.
        """
        self.variant = self.cls()
        self.pin(threads)
        if compiles_afresh():
            start_s = float(self.variant.start_compiler())
            self.start_s = start_s if self.start_s is None else self.start_s
        self.calls = compiling.Calls(self.account) if self.account else None
        with self.compiled(), told(problem):
            prepare_s = self.timed(lambda: self.variant.prepare(self.other, problem, regime))
            self.peak = peak_bytes()
            self.pin(threads)
            first_step_s = self.timed(self.variant.step)
        self.pin(threads)
        answer = validation.parts_of(self.variant.result())
        self.forget("other")
        reset_peak()
        return {
            "prepare_s": prepare_s,
            "first_step_s": first_step_s,
            "answer": answer,
            "threads_in_force": self.in_force(),
        }

    def compiled(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which what is compiled is accounted for, where there is an account."""
        return self.calls or contextlib.nullcontext()

    def timed(self, do: Callable[[], object]) -> float:
        """Seconds of a call, without those in which Numba compiled."""
        aside = self.account.aside_s if self.account else 0.0
        begun = time.perf_counter()
        do()
        took = time.perf_counter() - begun
        return max(0.0, took - (self.account.aside_s - aside)) if self.account else took

    def reload(self) -> dict[str, Any]:
        """Load the cell's own parameters, which are there to stay, and make a step; the answer to be judged.

        And what a process must compile that runs this cell alone, in seconds by kernel.
        """
        with self.compiled():
            self.variant.load(*self.batch.parameters())
            self.variant.step()
        answer = validation.parts_of(self.variant.result())
        reset_peak()
        return {"answer": answer, "details": self.details() | self.from_cache(), "kernels": self.kernels()}

    def kernels(self) -> dict[str, float]:
        """What compiling took, by kernel, where it is accounted for: Numba's, and what a compiler does but once."""
        seconds = self.calls.kernels() if self.calls else {}
        return {plain_line(name): took for name, took in seconds.items()} | (
            {f"the compiler of {self.name}": self.start_s} if self.start_s else {}
        )

    def from_cache(self) -> dict[str, str]:
        """A remark where what compiling took is not this process's own, or not all that it would be without a cache."""
        if self.calls and self.calls.from_cache:
            return {"compile_s": "as it was when the cache was filled"}
        if os.environ.get(SWITCH) == ALWAYS and self.cls.start_compiler is not Variant.start_compiler:
            return {"compile_s": "less what its compiler had kept of earlier runs"}
        return {}

    def details(self) -> dict[str, str]:
        """What the variant says of its last step."""
        return {plain_line(str(name)): plain_line(str(value)) for name, value in self.variant.details().items()}

    def derive(self, problem: Problem, regime: str, held: tuple[str, ...]) -> list:
        """The answers to the derivation problems of a cell, each with the conventions that it was drawn with.

        What the variant does not support, or says with NotImplementedError, is drawn with other conventions; where
        none are left it is marked, and one of the cell's own sizes is drawn as well. It is held to the cell's
        ddof or eps where that was asked for by name.
        """
        answers = [
            self.drawn(
                (
                    (
                        conventions,
                        validation.derivation_problem(place, problem.activation, problem.normalization, **conventions),
                    )
                    for conventions in validation.conventions_to_draw(problem, held)
                ),
                regime,
            )
            for place in range(validation.DERIVATIONS)
        ]
        if validation.UNSUPPORTED in answers and (own := validation.own_sizes(problem)):
            answers.append(self.drawn([(validation.OWN_SIZES, own)], regime))
        reset_peak()
        return answers

    def drawn(self, choices: Iterable[tuple[Any, tuple[Batch, Problem]]], regime: str) -> Any:
        """The conventions of the first choice that the variant takes; its answers at other and at own parameters."""
        for conventions, (batch, problem) in choices:
            if self.cls.unsupported(problem, regime):
                continue
            own, variant, both = protected(batch), self.cls(), []
            try:
                variant.prepare(protected(other_parameters(own, problem)), problem, regime)
                variant.step()
                both.append(validation.parts_of(variant.result()))
                variant.load(*own.parameters())
                variant.step()
                both.append(validation.parts_of(variant.result()))
            except NotImplementedError:
                continue
            return conventions, both
        return validation.UNSUPPORTED

    def calibrate(self, processors: Sequence[int] | None = None) -> dict[str, Any]:
        """How many steps a sample must hold, found on warm steps only, and how long a step took.

        A step that fills a sample alone is a sample already, and given as one. Until `close`, or the next calibration,
        all threads run on these processors alone, where some are named.
        """
        self.children = children()  # a process that the variant drives works for it
        hold_to(processors or self.allowed, self.children)
        self.clock_mhz = clock_mhz()
        if self.cls.device != "cpu":
            self.clocks = {"before": device.clocks()}
        target = max(SAMPLE_S, RESOLUTIONS * time.get_clock_info("perf_counter").resolution)
        count, first = 1, self.sample(1, LONG_STEP_S)
        if LONG_STEP_S <= first.step_s < 10 * LONG_STEP_S:  # or was it only held up?
            first = min(first, self.sample(1, LONG_STEP_S), key=lambda sample: sample.step_s)
        if first.step_s >= LONG_STEP_S:
            return {"inner_loops": 1, "step_s": first.step_s, "samples": [first]}
        took = self.time(1)
        while took < MARGIN * target:
            count = min(100 * count, max(2 * count, math.ceil(1.4 * target * count / took))) if took > 0 else 2 * count
            if count > MOST_LOOPS:
                raise ValueError(f"time({count}) is {took:.3g} s: no clock that steps can be timed by")
            took = min(self.time(count) for _ in range(3))
        return {"inner_loops": count, "step_s": took / count, "samples": []}

    def time(self, count: int) -> float:
        """Seconds of so many steps, by the variant's clock."""
        took = float(self.variant.time(count))
        if not 0 <= took < math.inf:
            raise ValueError(f"time({count}) is {took}; allowed are seconds above 0")
        return took

    def sample(self, inner_loops: int, step_s: float) -> Sample:
        """Seconds a step, over one sample, after warm steps; and what came in between, page faults a step."""
        before = Usage.now(self.children)
        if step_s < LONG_STEP_S:
            self.time(max(1, min(inner_loops, math.ceil(WARM_S / step_s))))
        faults_before = page_faults()
        took = self.time(inner_loops) / inner_loops
        faults = (page_faults() - faults_before) / inner_loops
        self.clock_mhz += clock_mhz()
        return Sample(took, dataclasses.replace(before.until(Usage.now(self.children)), faults=faults))

    def look_again(self) -> dict[str, Any]:
        """The answer of the last step that was timed, to be judged, and which arrays of the batch were changed."""
        self.peak = max(self.peak, peak_bytes())
        answer = validation.parts_of(self.variant.result())
        names = changed(self.batch, self.digest)
        reset_peak()
        return {"answer": answer, "changed": names}

    def device_times(self) -> dict[str, Any]:
        """What only a device has: its times beside the samples, and its clocks before and after these."""
        self.clocks["after"] = device.clocks()
        times = self.variant.device_times()
        return {name: float(times[name]) for name in DEVICE_TIMES if name in times} | {"clocks": self.clocks}

    def close(self) -> dict[str, Any]:
        """Peak of resident memory in this cell, what the worker holds without it, in bytes; the clock's range.

        The cell's arrays are let go. What compilation left behind is in both, so their difference is the cell's.
        """
        peak = max(self.peak, peak_bytes())
        self.forget("variant", "batch")
        reset_peak()
        hold_to(self.allowed)
        clock = [min(self.clock_mhz), max(self.clock_mhz)] if self.clock_mhz else None
        return {"peak_bytes": peak, "baseline_bytes": min(peak, resident_bytes()), "clock_mhz": clock}

    def pin(self, threads: int) -> None:
        """Hold BLAS, OpenMP and Numba to so many threads; again after each stage that may load a library."""
        import threadpoolctl

        self.limits = threadpoolctl.threadpool_limits(threads)
        self.own_pools = self.variant.use_threads(threads)
        if "numba" in sys.modules:
            sys.modules["numba"].set_num_threads(threads)

    def in_force(self) -> dict[str, int]:
        """Library to the thread count it has now."""
        import threadpoolctl

        pools = {
            f"{pool['internal_api']} ({os.path.basename(pool['filepath'])})": pool["num_threads"]
            for pool in threadpoolctl.threadpool_info()
        }
        if "numba" in sys.modules:
            pools["numba"] = sys.modules["numba"].get_num_threads()
        return pools | {str(name): int(count) for name, count in self.own_pools.items()}


def processors() -> list[int]:
    """The processors that this process may use; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def hold_to(processors: Sequence[int], children: Sequence[psutil.Process] = ()) -> None:
    """Have every thread of this process and of these run on these processors alone, where the system can."""
    if not processors or not hasattr(os, "sched_setaffinity"):
        return
    for process in (os.getpid(), *(child.pid for child in children)):
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            os.sched_setaffinity(process, processors)
            for thread in os.listdir(f"/proc/{process}/task"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread), processors)


def compiles_afresh() -> bool:
    """Whether no variant may find here what an earlier process compiled."""
    return os.environ.get(SWITCH) in (FRESH, OFF)


def sentence(method: str, answer: object) -> str:
    """What a variant's method says, which is text, or TypeError."""
    if not isinstance(answer, str):
        raise TypeError(f'{method}() gives {answer!r}; allowed is a sentence, or "" where there is no reason')
    return plain_line(answer)


def main() -> None:
    """Serve a sweep's requests: worker FD LIMIT NAME [PLUGIN ...]."""
    name, *plugins = sys.argv[3:]
    if os.environ.get(SWITCH) in (FRESH, OFF, ALWAYS):
        compiling.listen()
    for plugin in plugins:
        load_plugin(plugin)
    worker = Worker(name)
    serve({request: getattr(worker, request) for request in ANSWERS})


if __name__ == "__main__":
    main()
