"""Makes the tests' own helper modules importable by name, also from configs."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_finish() -> None:
    """Takes what the imports have made out of the garbage collector's sight.

    mmengine collects garbage at each data set that it builds; in a process that has imported the
    whole of OpenMMLab that takes a third of a second, which was most of many tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_loggers_of_other_tests() -> Iterator[None]:
    """mmengine keeps the last logger for whoever speaks next, and its stream was that test's."""
    yield
    logging = sys.modules.get("mmengine.logging")
    if logging is not None:
        logging.MMLogger._instance_dict.clear()
