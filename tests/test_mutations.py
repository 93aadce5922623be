"""The faults of scripts/mutations.py stand where they say, so that the list cannot rot."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from faults import FAULTS, Fault  # noqa: E402
from mutations import files_for  # noqa: E402

SOURCE = ROOT / "src" / "secateur"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted_and_is_one(fault: Fault) -> None:
    whole = (SOURCE / fault.file).read_text()
    assert fault.file.startswith(("channels/", "surgery/"))
    assert whole.count(fault.text) == 1
    planted = ast.parse(whole.replace(fault.text, fault.replacement))
    assert ast.dump(planted) != ast.dump(ast.parse(whole))


def test_names_are_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 35


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_file_of_the_engine_is_tried_once_the_telling_ones_first(fault: Fault) -> None:
    files = files_for(fault)
    assert files[: len(fault.first)] == [f"tests/test_{name}.py" for name in fault.first]
    every = {p.name for kind in ("channels", "surgery") for p in _tests(kind)}
    assert sorted(Path(name).name for name in files) == sorted(every)


def _tests(kind: str) -> list[Path]:
    return list((ROOT / "tests").glob(f"test_{kind}_*.py"))


def test_an_unknown_fault_is_refused_and_a_known_one_listed() -> None:
    command = [sys.executable, str(SCRIPTS / "mutations.py")]
    refused = subprocess.run([*command, "--only", "pad"], capture_output=True, text=True)
    assert refused.returncode == 2 and "pad-other-end" in refused.stderr
    listed = subprocess.run([*command, "--list"], check=True, capture_output=True, text=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [f.name for f in FAULTS]
