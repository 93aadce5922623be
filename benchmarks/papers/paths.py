"""Makes what the tables share with other benchmarks and with the tests importable."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

for folder in ("benchmarks", "tests"):
    sys.path.insert(0, str(ROOT / folder))
