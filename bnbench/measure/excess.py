"""What of a first step's time is the work of a compiler: numbers only."""

from typing import Any

import numpy as np

COMPILED_S, COMPILED_STEPS = 0.05, 10  # an excess below these is warming up, not compiling
FIRST_TOUCH_S = 4 / 2**30  # seconds a byte of fresh memory may take where a virtual machine hands it out slowly


def least_excess_s(step_s: Any, fresh_bytes: Any) -> Any:
    """From how many seconds on a first step's excess over a steady one is a compiler's, element by element.

    A first step is also the first to touch its memory, and may meet cold caches.
    """
    return np.maximum(COMPILED_S, np.maximum(COMPILED_STEPS * step_s, FIRST_TOUCH_S * fresh_bytes))
