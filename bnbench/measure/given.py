"""The arrays that a variant is given: two sets of parameters for the same data, protected, and looked at afterwards."""

import dataclasses
import zlib

import numpy as np

from bnbench.problem import Batch, Problem, leaves, rebuilt


def other_parameters(batch: Batch, problem: Problem) -> Batch:
    """The batch with other parameters: every entry has another size, and the sign that it had not.

    Whoever keeps the parameters of `prepare`, or takes one of them for another's, is far off at these.
    """
    drawn = dataclasses.replace(problem, seed=problem.seed + 1).sample(X=batch.X, y=batch.y)
    old = batch.theta
    turned = (-np.copysign(new, own) for new, own in zip(leaves(drawn.theta), leaves(old), strict=True))
    return batch.with_theta(rebuilt(old, turned))


def protected(batch: Batch) -> Batch:
    """The batch, its arrays read-only from here on. Native code can write to them still: see `digest`."""
    for _, array in batch.named_arrays():
        array.flags.writeable = False
    return batch


def digest(batch: Batch) -> tuple[int, ...]:
    """A checksum of each array's bytes; arrays are C-contiguous."""
    return tuple(zlib.crc32(array.data) for _, array in batch.named_arrays())


def changed(batch: Batch, before: tuple[int, ...]) -> str:
    """The names of the arrays that are not what they were, or ""."""
    pairs = zip(batch.named_arrays(), before, digest(batch), strict=True)
    return ", ".join(name for (name, _), then, now in pairs if then != now)
