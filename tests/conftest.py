"""What every test shares: one thread, here and in the commands and pages that a test starts.

Two pytest workers of two threads each on two cores wait for each other: a page of eleven seconds
then takes minutes.

A network named by its file leaves the file's folder on the path: no test finds that of another.
"""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
pytest.register_assert_rewrite("contracts", "program_references")  # they assert, too
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background


@pytest.fixture(autouse=True)
def _path_as_it_was() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before
