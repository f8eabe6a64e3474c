"""The arrays that a variant is given: two sets of parameters for the same data, protected, and looked at afterwards."""

import dataclasses
import zlib

import numpy as np

from bnbench.problem import Batch, Problem


def other_parameters(batch: Batch, problem: Problem) -> Batch:
    """The batch with other parameters: every entry has another size, and the sign that it had not.

    Whoever keeps the parameters of `prepare`, or takes one of them for another's, is far off at these.
    """
    drawn = dataclasses.replace(problem, seed=problem.seed + 1).sample(X=batch.X, y=batch.y)
    turned = {
        name: -np.copysign(getattr(drawn, name), old)
        for name, old in zip(Batch._fields[2:], batch[2:], strict=True)
        if old is not None
    }
    return batch._replace(**turned)


def protected(batch: Batch) -> Batch:
    """The batch, its arrays read-only from here on. Native code can write to them still: see `digest`."""
    for array in batch:
        if array is not None:
            array.flags.writeable = False
    return batch


def digest(batch: Batch) -> tuple[int, ...]:
    """A checksum of each array's bytes; arrays are C-contiguous."""
    return tuple(0 if array is None else zlib.crc32(array.data) for array in batch)


def changed(batch: Batch, before: tuple[int, ...]) -> str:
    """The names of the arrays that are not what they were, or ""."""
    pairs = zip(Batch._fields, before, digest(batch), strict=True)
    return ", ".join(name for name, then, now in pairs if then != now)
