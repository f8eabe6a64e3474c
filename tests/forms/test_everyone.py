"""Every built-in variant, as a call and as a prepared object's later calls, on problems drawn at random.

BNBENCH_EVERYONE=300 takes so many problems; tests/peers does the same with the frameworks.
"""

import pytest
from conftest import BUILT_IN
from drawn import WIDTHS, every_call_is_right

COUNTS = {"matrix-kronecker": 12}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_call_is_right(name, width):
    # catches: parameters that stay those of the set-up, signs, offsets, shapes and conventions that nobody tried
    every_call_is_right(name, COUNTS.get(name, 24), width)
