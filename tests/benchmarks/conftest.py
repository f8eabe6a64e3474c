"""The benchmarks run only when asked for: `--benchmark-only`."""

from pathlib import Path


def pytest_collection_modifyitems(config, items):
    if config.getoption("benchmark_only"):
        return
    here = Path(__file__).parent
    unwanted = [item for item in items if here in item.path.parents]
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if here not in item.path.parents]
