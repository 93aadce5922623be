"""Ask every package that is installed to remove half of the channels of ten small networks.

    python benchmarks/peers.py                      all packages that are installed here; print
    python benchmarks/peers.py torch-pruning nni    these
    python benchmarks/peers.py --loud fasterai      show what the packages themselves print
    python benchmarks/peers.py --write              write docs/peers.md from the rows there are

Needs torch, and of the packages those it is to ask: each can be run in an environment of its own,
which its dependencies may call for. Rows go to out/peers/, one file a package. `--write` needs the
development environment. How a result is judged: see `examine`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import io
import json
import logging
import platform
import signal
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # the code of this commit

import torch
from peers_adapters import PEERS, Peer
from peers_networks import INPUT, NETWORKS, WIDTH, Network, with_distinct_weights
from peers_page import outcomes
from sections import ROOT, current_commit, write_section
from torch import Tensor, nn

ROWS = ROOT / "out" / "peers"
PAGE = ROOT / "docs" / "peers.md"
TOLERANCE = 1e-10
TIME_LIMIT = 600
"""Seconds for one network."""

Row = dict[str, Any]


def examine(peer: Peer, network: Network, *, loud: bool = False) -> Row:
    """Have one network pruned, and compare the result with the masked network.

    *removed* is the share of the parameters that the network of half the width does without. The
    masked network is the one that came in, with 0 for every element of a parameter that is not in
    the result; elements are known by their values, no two of which are the same. *error* is
    max |result - masked| / max |masked| over the outputs in float64 on seeded noise, and the
    verdict *exact* up to 1e-10, else *differs*; *unchanged* if no parameter went; *failed* if the
    package raised, did not end in ten minutes, or its result does not run.
    """
    torch.manual_seed(0)
    x = torch.randn(INPUT, generator=torch.Generator().manual_seed(1))
    with contextlib.nullcontext() if loud else silence():
        model, half = (peer.prepare(network.build(n).eval(), x) for n in (WIDTH, WIDTH // 2))
    model = with_distinct_weights(model).eval()
    before = copy.deepcopy(model)
    try:
        with contextlib.nullcontext() if loud else silence(), limited():
            small = peer.prune(model, x, network.heads)
    except Exception as error:
        return {"verdict": "failed", "failure": said(error)}
    gone = count(before) - count(small)
    row = {
        "removed": gone / (count(before) - count(half)),
        "untouched": same(model, before),
    }
    if not gone:
        return row | {"verdict": "unchanged"}
    try:
        return row | compare(small, before, x)
    except Exception as error:
        return row | {"verdict": "failed", "failure": f"its result does not run: {said(error)}"}


def compare(small: nn.Module, model: nn.Module, x: Tensor) -> Row:
    """The result against the masked network."""
    kept = torch.cat([parameter.detach().flatten() for parameter in small.parameters()])
    known = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    changed = int((~torch.isin(kept, known) & (kept != 0)).sum())
    masked = copy.deepcopy(model)
    with torch.no_grad(), silence():
        for parameter in masked.parameters():
            parameter.mul_(torch.isin(parameter, kept))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
        found = copy.deepcopy(small).double().eval()(noise)
        wanted = masked.double().eval()(noise)
    error = float((found - wanted).abs().max() / wanted.abs().max())
    verdict = "exact" if error <= TOLERANCE else "differs"
    return {"verdict": verdict, "error": error, "changed": changed}


def count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def same(model: nn.Module, before: nn.Module) -> bool:
    """Whether a model has the modules and numbers that it had."""
    now, then = model.state_dict(), before.state_dict()
    modules = [[type(m) for m in net.modules()] for net in (model, before)]
    return (
        modules[0] == modules[1]
        and now.keys() == then.keys()
        and all(torch.equal(now[name], then[name]) for name in then)
    )


def said(error: Exception) -> str:
    """An error in one line, start and end of it if it is long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 160 else f"{text[:90]} … {text[-65:]}"


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise if what is inside does not end in time; asks for a system with alarms."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"did not end within {TIME_LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIME_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what packages print, log and warn of off the terminal."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)


def absent(peer: Peer) -> str | None:
    """What keeps a package from being asked, or nothing."""
    try:
        metadata.version(peer.distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
    return None


def run(peer: Peer, *, loud: bool = False) -> Row:
    """All networks by one package, with where and when."""
    networks = {}
    for name, network in NETWORKS.items():
        networks[name] = row = examine(peer, network, loud=loud)
        print(f"{peer.name:22}{name:12}{shown(row)}", flush=True)
    return {
        "peer": peer.name,
        "version": metadata.version(peer.distribution),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": current_commit(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "networks": networks,
    }


def shown(row: Row) -> str:
    """A row in words."""
    if row["verdict"] == "failed":
        return f"failed: {row['failure']}"
    if row["verdict"] == "unchanged":
        return "unchanged"
    text = f"{row['verdict']}, error {row['error']:.0e}, removed {row['removed']:.0%}"
    return text + (f", {row['changed']} numbers are new" if row["changed"] else "")


def stored() -> dict[str, Row]:
    """The rows there are, in the order of the packages."""
    files = {peer.name: ROWS / f"{peer.name}.json" for peer in PEERS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="packages; default: all that are installed")
    parser.add_argument("--loud", action="store_true", help="show what the packages print")
    parser.add_argument("--write", action="store_true", help="write the page and run nothing")
    asked = parser.parse_args()
    if asked.write:
        if missing := [peer.name for peer in PEERS if peer.name not in stored()]:
            parser.error(f"no rows of {', '.join(missing)}, which the page would lose; run them")
        origin = "Made by `python benchmarks/peers.py` in an environment of each package's own:"
        write_section("outcomes", outcomes(stored()), origin=origin, page=PAGE)
        return
    if unknown := set(asked.names) - {peer.name for peer in PEERS}:
        known = ", ".join(peer.name for peer in PEERS)
        parser.error(f"no package {', '.join(sorted(unknown))}; there are {known}")
    torch.set_num_threads(1)
    for peer in PEERS:
        if asked.names and peer.name not in asked.names:
            continue
        if missing := absent(peer):
            print(f"{peer.name:22}{missing}")
            continue
        row = run(peer, loud=asked.loud)
        ROWS.mkdir(parents=True, exist_ok=True)
        (ROWS / f"{peer.name}.json").write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
