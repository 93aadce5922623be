"""A whole session in a process that forbids sockets and the unpickling of what can call code.

Run by test_security.py: an audit hook cannot be taken off again.
"""

from __future__ import annotations

import copy
import pickle
import socket
import sys
from pathlib import Path

import torch

FORBIDDEN = {
    "socket.__new__",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "urllib.Request",
    "pickle.find_class",  # what an unpickler does before it can call anything
}
RECIPE = """
name: tiny
data:
  {kind: synthetic, n_locations: 4, clips_per_location: 1, seconds: 1.0, rate: 16000, n_folds: 2}
features: {rate: 16000, n_fft: 1024, hop: 512, n_mels: 32, seconds: 1.0}
networks: [{kind: vgg, width: 4}]
sparsity: {penalty: bn_l1_proximal, total_shrink: [0]}
training: {epochs: 1, batch_size: 10}
pruning: {criteria: [l1], scopes: [uniform], ratios: [0.5]}
fine_tuning: {epochs: 1}
seeds: 1
"""


def forbid(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse what the project promises never to do."""
    if event in FORBIDDEN:
        raise PermissionError(f"{event}{arguments}")


def refused(act: object) -> bool:
    """Whether the hook bites."""
    try:
        act()  # type: ignore[operator]
    except PermissionError:
        return True
    return False


def session(folder: Path) -> None:
    """The main road, then a study to its page, by the command line."""
    import secateur as sc
    from secateur.cli.main import main
    from secateur.networks.vgg import vgg

    torch.manual_seed(0)
    model, example = vgg(width=4), torch.zeros(1, 1, 32, 33)
    channels = sc.trace(model, example)
    scores = sc.score(channels, [sc.l1])["l1"]
    plan = sc.uniform(scores, channels, sc.Budget(macs="50%"))
    small = sc.cut(channels, plan).network
    x, y = torch.randn(20, 1, 32, 33), torch.arange(20) % 10
    for _ in range(2):  # the second finds the first one's checkpoint and reads it
        training = sc.Training(epochs=1, lr=0.01)
        sc.fit(copy.deepcopy(small), x, y, training, seed=0, checkpoint=folder / "fit.pt")
    sc.save(small, folder / "small.safetensors")
    sc.load(folder / "small.safetensors", build=lambda: vgg(width=4))
    (folder / "tiny.yaml").write_text(RECIPE)
    study = str(folder / "study")
    commands = [
        ["inspect", "secateur.networks.vgg:vgg", "--arg", "width=4", "-o", str(folder / "inspect")],
        ["study", "run", str(folder / "tiny.yaml"), "--out", study, "--workers", "0"],
        ["report", study],
    ]
    for command in commands:
        sys.argv = ["secateur", *command]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    pickled = pickle.dumps(Path)
    sys.addaudithook(forbid)
    assert refused(lambda: socket.socket()) and refused(lambda: socket.getaddrinfo("localhost", 80))
    assert refused(lambda: pickle.loads(pickled))
    session(Path(sys.argv[1]))
    sys.stdout.write("done\n")
