"""A step's launches as one CUDA graph, which costs the host one launch."""

import functools
from collections.abc import Callable, Sequence

from bnbench.cuda.runtime import cuda

REASON_LENGTH = 100


def capture(launches: Sequence[Callable]) -> tuple[str, Callable[[], None] | None]:
    """("replayed", a function that replays the launches), or ("none: why", None) where that fails.

    Each launch is a function of the stream. All must have been made before, so that nothing is compiled or loaded now.
    """
    try:
        from cuda.core import Device, Stream

        device = Device()
        device.set_current()
        builder = device.create_graph_builder()
        builder.begin_building()
        for launch in launches:
            launch(builder)
        replay = functools.partial(builder.end_building().complete().launch, Stream.from_handle(0))
        replay()
        cuda.synchronize()
        return "replayed", replay
    except Exception as error:  # whatever this driver or library cannot do: then it is launch by launch
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"none: {text}"[:REASON_LENGTH], None
