"""What every test shares: one torch thread, so that parallel tests do not slow each other down.

A network named by its file leaves the file's folder on the path: no test finds that of another.
"""

import sys
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _path_as_it_was() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before
