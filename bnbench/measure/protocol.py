"""What a worker answers to each request, a type each. Code of a plug-in stands behind it: nothing is taken on trust."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bnbench.measure.interference import Interference, Sample

PROTOCOL = 5  # another as soon as a request, an answer, the drawn data or the derivation problems are others
OF_ONE_LAYER = 4  # an older one, in which all is the same where problems are `plain`

Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Positive = Annotated[float, Meta(gt=0, le=1e12)]
Whole = Annotated[int, Meta(ge=0)]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """An answer; what a variant itself gave as `answer` is for the judge to look at."""


class Accounts(Answer):
    """What came between a sample and the machine, as `Interference` has it."""

    elapsed_s: Seconds
    stolen_s: Seconds
    others_s: Seconds
    switches: Whole
    faults: Seconds


Taken = tuple[Positive, Accounts]  # a sample


class Hello(Answer):
    """Whether a variant can run here ("" where it can), on what device, and how its worker is to be spoken to."""

    unavailable: str
    device: str
    compile_allowance_s: Seconds
    protocol: Whole


class Survey(Answer):
    """Why a variant cannot take a problem, or "", and the bytes that it says it needs beyond X and y."""

    unsupported: str
    needs_bytes: Whole


class Opened(Answer):
    """Set-up and first step, with other parameters than the cell's."""

    prepare_s: Seconds
    first_step_s: Seconds
    answer: Any
    threads_in_force: dict[str, Whole]


class Reloaded(Answer):
    """A step with the cell's own parameters; what compiling took, in seconds by kernel."""

    answer: Any
    details: dict[str, str]
    kernels: dict[str, Seconds]


class Calibration(Answer):
    """How many steps a sample holds, how long one took, and what is a sample already.

    A bare time is an older worker's: it has no accounts, and is no sample.
    """

    inner_loops: Annotated[int, Meta(gt=0)]
    step_s: Positive
    samples: list[Taken | float]


class LookedAgain(Answer):
    """The answer of the last timed step, and the names of the arrays that were changed, or ""."""

    answer: Any
    changed: str


class DeviceTimes(Answer):
    """What only a device has: its times beside the samples, and its clocks before and after these."""

    cold_s: Seconds | None = None
    host_to_device_s: Seconds | None = None
    end_to_end_s: Seconds | None = None
    clocks: dict[str, dict[str, str | float | None]] = {}


class Closed(Answer):
    """Peak of memory in the cell and what the worker holds without it; the range of the processor's clock."""

    peak_bytes: Whole
    baseline_bytes: Whole
    clock_mhz: tuple[Positive, Positive] | None


ANSWERS: dict[str, Any] = {
    "hello": Hello,
    "survey": Survey,
    "load": None,
    "open": Opened,
    "reload": Reloaded,
    "derive": list[Any],
    "calibrate": Calibration,
    "sample": Taken,
    "look_again": LookedAgain,
    "device_times": DeviceTimes,
    "close": Closed,
}


def sample(taken: Taken) -> Sample:
    """A sample that a worker took."""
    step_s, accounts = taken
    return Sample(step_s, Interference(**msgspec.structs.asdict(accounts)))


def read(do: str, answer: Any) -> Any:
    """A worker's answer to a request as its type.

    Raises:
        ValueError: it is none.
    """
    return msgspec.convert(answer, ANSWERS[do], from_attributes=True)
