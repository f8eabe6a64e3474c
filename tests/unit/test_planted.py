"""The bugs that `tests/planted.py` plants: their places are still there."""

import planted
import pytest


@pytest.mark.parametrize("name", planted.BUGS)
def test_its_place_is_there_once(name):
    # catches: a bug that is no longer planted, so that nobody sees that no test finds it
    bug = planted.BUGS[name]
    text = (planted.ROOT / "bnbench" / bug.file).read_text(encoding="utf-8")
    assert text.count(bug.was) == 1
    assert bug.is_ != bug.was
    assert all((planted.ROOT / "tests" / each).exists() for each in bug.tests.split())
