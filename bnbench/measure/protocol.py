"""What a worker answers to each request. Code of a plug-in stands behind it, so the parent takes nothing on trust."""

import json
import math

from bnbench.measure.interference import Interference

PROTOCOL = 4  # another as soon as a request, an answer, the drawn data or the derivation problems are others


def number(value) -> bool:
    """Whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def above_0(value) -> bool:
    """Whether this is a finite number above 0."""
    return number(value) and value > 0


def whole(value) -> bool:
    """Whether this is a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def text(value) -> bool:
    """Whether this is text."""
    return isinstance(value, str)


def anything(value) -> bool:
    """Any answer of a variant's: it is for the judge to say."""
    return True


def nothing(value) -> bool:
    """None."""
    return value is None


def listed(fits):
    """A list of such values."""
    return lambda value: isinstance(value, list) and all(map(fits, value))


def mapped(fits):
    """A dict from text to such values."""
    return lambda value: isinstance(value, dict) and all(text(name) and fits(part) for name, part in value.items())


def fields(**expected):
    """A dict with these names, each with such a value."""
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == expected.keys()
        and all(fits(value[name]) for name, fits in expected.items())
    )


def some_of(**expected):
    """A dict with some of these names, each with such a value."""
    return lambda value: (
        isinstance(value, dict) and all(name in expected and expected[name](part) for name, part in value.items())
    )


def plain(value) -> bool:
    """Whether this is a number, text, or a dict or list of those: what JSON can hold."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def sampled(value) -> bool:
    """A sample's seconds a step, and what came in between."""
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and above_0(value[0]) and isinstance(value[1], Interference) and mapped(number)(vars(value[1]))


def either(*kinds):
    """A value that is of one of these kinds."""
    return lambda value: any(fits(value) for fits in kinds)


ANSWERS = {
    "hello": fields(unavailable=text, device=text, compile_allowance_s=number, protocol=whole),
    "survey": fields(unsupported=text, needs_bytes=whole),
    "load": nothing,
    "open": fields(prepare_s=number, first_step_s=number, answer=anything, threads_in_force=mapped(whole)),
    "reload": fields(answer=anything, details=mapped(text), kernels=mapped(number)),
    "derive": listed(anything),
    # a bare time is an older worker's: it has no accounts, and is no sample
    "calibrate": fields(inner_loops=above_0, step_s=above_0, samples=listed(either(sampled, above_0))),
    "sample": sampled,
    "look_again": fields(answer=anything, changed=text),
    "device_times": some_of(cold_s=number, host_to_device_s=number, end_to_end_s=number, clocks=mapped(mapped(plain))),
    "close": fields(peak_bytes=whole, baseline_bytes=whole, clock_mhz=plain),
}
