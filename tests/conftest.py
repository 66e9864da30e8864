"""Makes the tests' own helper modules importable by name, also from configs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _no_loggers_of_other_tests() -> Iterator[None]:
    """mmengine keeps the last logger for whoever speaks next, and its stream was that test's."""
    yield
    logging = sys.modules.get("mmengine.logging")
    if logging is not None:
        logging.MMLogger._instance_dict.clear()
