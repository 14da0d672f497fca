"""Every test here asks another implementation, and is passed over where it is not installed."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
EXAMPLES = 2_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.long)


def oracle(name: str) -> ModuleType:
    """Another implementation; without it the test is skipped, and says so."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed; make test-long does that.")
