"""Use an installed Secateur a little, from any folder; run it as `python -I smoke.py [VENV]`.

Fails if the installed package lacks a file that only the source tree has: a template, the demo's
recipe, py.typed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path


def command(*words: str, cwd: str) -> str:
    """What `secateur WORDS` prints, where only installed packages are seen."""
    line = [str(Path(sys.executable).with_name("secateur")), *words]
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=cwd, env=outside)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> None:
    """Import, help, version, a cut, a page, the demo's recipe."""
    import torch

    import secateur as sc
    from secateur.networks.vgg import vgg
    from secateur.study.recipe import read_recipe

    place = Path(sc.__file__).resolve()
    if len(sys.argv) > 1:
        assert place.is_relative_to(Path(sys.argv[1]).resolve()), f"{place} is another Secateur"
    assert sc.__version__ == version("secateur")
    assert (place.parent / "py.typed").is_file()
    read_recipe(Path(str(files("secateur.study") / "demo.yaml")))

    model, example = vgg(width=4), torch.zeros(1, 1, 32, 33)
    channels = sc.trace(model, example)
    scores = sc.score(channels, [sc.l1])["l1"]
    plan = sc.uniform(scores, channels, sc.Budget(macs="50%"))
    small = sc.cut(channels, plan).network
    assert sum(p.numel() for p in small.parameters()) == plan.after.params

    with tempfile.TemporaryDirectory() as folder:
        assert command("--version", cwd=folder) == f"{sc.__version__}\n"
        assert "prune" in command("--help", cwd=folder)
        network = ["secateur.networks.vgg:vgg", "--arg", "width=4", "--input", "1x32x33"]
        command("prune", *network, "--macs", "50%", "-o", folder, cwd=folder)
        command("inspect", *network, "-o", folder, cwd=folder)
        for name in ("plan.json", "network.safetensors", "page.html"):
            assert (Path(folder) / name).is_file(), f"{name} was not written"
    print(f"secateur {sc.__version__} at {place.parent} works")


if __name__ == "__main__":
    main()
