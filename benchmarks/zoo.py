"""Prune half the channels of every architecture of a public zoo at random, and check the cuts.

    python benchmarks/zoo.py               run what is missing, then write docs/zoo.md
    python benchmarks/zoo.py --sample 3    every third architecture of the list
    python benchmarks/zoo.py --table       write docs/zoo.md from the rows there are
    python benchmarks/zoo.py resnet18 …    run these (again) and print

Which architectures: see `chosen`. Every one runs in a process of its own with a time limit; its row
is appended to out/zoo/rows.jsonl, so that a stopped run goes on. Needs timm (not torchvision).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

ROWS = ROOT / "out" / "zoo" / "rows.jsonl"
PAGE = ROOT / "docs" / "zoo.md"
CHOSEN = ROOT / "out" / "zoo" / "chosen.json"
TIME_LIMIT = 600
TOO_LARGE = re.compile("_huge|_giant|_xxlarge|_xlarge|_gigantic|_10b")
ATTENTION_ONLY = """
    beit cait convit crossvit deit deit3 eva flexivit hiera vision_transformer
    vision_transformer_sam swin_transformer swin_transformer_v2 swin_transformer_v2_cr
    vision_transformer_relpos mlp_mixer naflexvit tnt twins volo xcit vitamin hieradet_sam2
    sequencer pit visformer nest gcvit davit
"""
"""Modules of the zoo whose networks are made of attention or of mixing alone: not asked for."""


def chosen() -> list[str]:
    """Architectures by rule.

    Of every module of the zoo that is not attention only, of each family in it (a family is the
    name up to its first digit or underscore), of the first twelve names: the smallest and the
    middle one by parameters, below 100 M.
    """
    if CHOSEN.exists():
        return json.loads(CHOSEN.read_text())
    import torch

    from timm_without_torchvision import import_timm

    timm = import_timm()
    print("choosing architectures, which takes minutes the first time …", flush=True)
    of_family: dict[tuple[str, str], list[str]] = {}
    for module in timm.list_modules():
        if module not in ATTENTION_ONLY.split():
            for name in sorted(timm.list_models(module=module)):
                of_family.setdefault((module, re.split(r"[\d_]", name)[0]), []).append(name)
    taken: list[str] = []
    for _, names in sorted(of_family.items()):
        sizes = {}
        for name in names:
            if TOO_LARGE.search(name) or len(sizes) == 12:
                continue
            try:
                with torch.device("meta"):
                    model = timm.create_model(name)
            except Exception:  # an architecture that does not build on shapes alone
                continue
            sizes[name] = sum(p.numel() for p in model.parameters())
        fitting = [name for n, name in sorted((n, k) for k, n in sizes.items()) if n < 100e6]
        taken += dict.fromkeys([*fitting[:1], *fitting[len(fitting) // 2 :][:1]])
    CHOSEN.parent.mkdir(parents=True, exist_ok=True)
    CHOSEN.write_text(json.dumps(taken))
    return taken


def examine(name: str, *, permute: bool = False) -> dict[str, Any]:
    """Build, trace, plan, prove, cut and verify one architecture.

    With `permute` also: how far its outputs are from those with the channels of all groups
    permuted, in float64, which operators over channels do not hide.
    """
    import numpy as np
    import torch

    from contracts import permutation_error, plan_of
    from secateur.channels.cost import cost
    from secateur.channels.trace import recorded, trace
    from secateur.errors import SecateurError, VerificationError
    from secateur.surgery.in_turn import settled
    from secateur.surgery.precise import Float64
    from timm_without_torchvision import import_timm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    timm = import_timm()
    row: dict[str, Any] = {"name": name, "commit": commit()}
    began = time.process_time()

    def lap(step: str) -> None:
        nonlocal began
        row[f"{step}_seconds"] = round(time.process_time() - began, 3)
        began = time.process_time()

    model = shaken(timm.create_model(name).eval())
    size = model.default_cfg.get("input_size", (3, 224, 224))
    if not model.default_cfg.get("fixed_input_size") and size[1] > 128:
        size = (size[0], 128, 128)
    example = torch.randn(1, *size)
    row["params"] = sum(p.numel() for p in model.parameters())
    lap("build")
    try:
        try:
            channels = trace(model, example)
        except SecateurError:
            size = model.default_cfg.get("input_size", (3, 224, 224))
            example = torch.randn(1, *size)
            channels = trace(model, example)
        row["input"] = list(size)
        lap("trace")
        row["groups"], row["unknown"] = len(channels.groups), list(channels.unknown)
        rng = np.random.default_rng(0)
        remove = {}
        for group in channels.groups:
            gone = rng.choice(group.n_channels, group.n_channels // 2, replace=False)
            remove[group.name] = tuple(sorted(gone.tolist()))
        pins = Counter()
        for pinned in channels.pinned:
            pins[f"{pinned.reason}, {pinned.source}"] += pinned.n_channels
        row["pinned"] = pins.most_common(4)
        run, channels = recorded(model, example, channels)
        asked = plan_of(channels, remove, ratio=0.5)
        done = settled(model, asked, example, run, channels)
        plan, found = done.plan, done.verification
        lap("cut")
        row["held_back"] = len(plan.held_back)
        row["why"] = Counter(_short(text) for text in plan.held_back.values()).most_common(4)
        held = {name: remove[name] for name in plan.held_back}
        row |= shares(channels, held)
        row["params_after"] = plan.after.params
        row["mixing"] = sorted({m.reason for m in channels.mixing})
        row["agree"] = sum(p.numel() for p in done.network.parameters()) == plan.after.params
        row["how"] = Counter(found.groups.values()).most_common()
        row["error"], row["inputs"] = found.relative_error, list(found.inputs)
        row["silence"], row["moved"] = found.silence_error, found.permutation_error
        row["verdict"] = verdict(found) + ", held back" * bool(row["held_back"])
        row["after"] = cost(trace(done.network, example)).params
        if permute:
            with Float64():  # where a network casts to float32, that rounds otherwise
                row["permuted"] = permutation_error(model.double(), example, channels)
    except VerificationError as error:
        row |= {"verdict": "wrong", "failure": str(error)}
    except Exception as error:
        at = traceback.format_exc().strip().splitlines()[-3:]
        row |= {"verdict": "failed", "failure": f"{type(error).__name__}: {error}"[:400], "at": at}
    return row


def verdict(found: Any) -> str:
    """What a verification says of a cut."""
    if not found.holds:
        return "wrong"
    if found.exact:
        return "exact"
    return "computed weight" if "computed weight" in found.groups.values() else "kept statistics"


def shaken(model: Any) -> Any:
    """The model with biases and statistics moved away from 0 and 1, where errors would hide."""
    import torch

    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
            elif tensor.is_floating_point() and not tensor.any():
                tensor.add_(0.02 * torch.randn_like(tensor))
    return model


def commit() -> str:
    """The commit whose code runs, or nothing."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def shares(channels: Any, held: dict[str, Any]) -> dict[str, float]:
    """Shares of all parameters with a prunable dimension: in all, and without what is held."""
    import numpy as np

    touched = {True: 0, False: 0}
    total = 0
    buffers = set(channels.buffers)
    for wanted in (True, False):
        lines: dict[str, list[np.ndarray]] = {}
        for group in channels.groups:
            if group.name in held and not wanted:
                continue
            for member in group.members:
                if member.parameter not in buffers:
                    shape = channels.shapes[member.parameter]
                    known = lines.setdefault(member.parameter, [np.zeros(n, bool) for n in shape])
                    known[member.dim][member.index.ravel()] = True
        for parameter, along in lines.items():
            stays = np.prod([float((~line).sum()) for line in along])
            touched[wanted] += int(np.prod(channels.shapes[parameter]) - stays)
    total = sum(int(np.prod(s)) for name, s in channels.shapes.items() if name not in buffers)
    return {"prunable": touched[True] / total, "prunable_kept": touched[False] / total}


def _short_number(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def _short(text: str) -> str:
    """Operator and line of a reason."""
    found = re.search(
        r"failed on shapes \(([^)]*)\)|after the cut (\w+ at \S+)|(\w+ at \S+)$", text
    )
    return next((g for g in found.groups() if g), text) if found else text[:120]


def rows(path: Path = ROWS) -> dict[str, dict[str, Any]]:
    """Latest row of every architecture."""
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {row["name"]: row for row in found}


def kept(path: Path, row: dict[str, Any]) -> dict[str, Any]:
    """A row, which a file now has as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def told(script: str, *asked: str, seconds: int = TIME_LIMIT) -> dict[str, Any]:
    """What a script prints as JSON in a process of its own, or in `failure` why it does not."""
    command = [sys.executable, script, *asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failure": f"more than {seconds} s"}
    line = done.stdout.strip().splitlines()[-1:]
    if line and line[0].startswith("{"):
        row: dict[str, Any] = json.loads(line[0])
        return row
    return {"failure": done.stderr.strip()[-300:]}


def run(name: str) -> dict[str, Any]:
    """One architecture in a process of its own."""
    return kept(ROWS, {"name": name, "verdict": "failed", **told(__file__, "--one", name)})


def page(found: list[dict[str, Any]], n_asked: int, command: str) -> str:
    """The rows as a Markdown page."""
    commits = Counter(row.get("commit") or "not noted" for row in found)
    verdicts = Counter(row["verdict"] for row in found)
    kept = [row["prunable_kept"] for row in found if "prunable_kept" in row]
    lines = [
        "# The zoo",
        "",
        "Architectures of timm, half the channels of every group removed at random, the cut",
        "network against its references in float64 (see [labels and proof](labels-and-proof.md)).",
        "Made by",
        "",
        f"    {command}",
        "",
        "The rule of choice is `chosen` in `benchmarks/zoo.py`: of every module of the zoo that is",
        "not attention only, of each family (the name up to its first digit or underscore), of the",
        "first twelve names, the smallest and the middle one by parameters, below 100 M.",
        "",
        "- *exact*: the cut network is the whole one with these channels silent, within 1e-10 of",
        "  the largest output;",
        "- *kept statistics*: so it is with operators across channels (a layer norm, say) over the",
        "  channels that are kept, and channels in another order give the same cut; *silence* says",
        "  how far the outputs are from those with silent channels counted as zeros;",
        "- *computed weight*: so it is with weights computed from what is kept of them;",
        "- *groups by reference* counts the groups held to each of these three; every network ran",
        "  on an input of the example's size and on one of each other size in *inputs*;",
        "- *held back*: some groups do not fit the network's code and stay whole; *prunable*",
        "  and *kept* are the shares of all parameters that have a prunable dimension, before",
        "  and after holding back; *why* names operators and lines;",
        "- *wrong*: a cut network was given that differs; *failed*: there is no cut network.",
        "",
        f"{len(found)} of the {n_asked} architectures asked for have been run: "
        + ", ".join(f"{n} {v}" for v, n in verdicts.most_common())
        + ".",
        "Rows stay from run to run; by commit: "
        + ", ".join(f"{n} {name}" for name, n in commits.most_common())
        + ".",
    ]
    if kept:
        lines += [
            f"Median share of parameters that stay prunable: {median(kept):.1%} "
            f"(mean {sum(kept) / len(kept):.1%})."
        ]
    head = (
        "| architecture | params, M | verdict | groups by reference | error | permuted | silence |"
    )
    lines += ["", f"{head} inputs | held back | prunable | kept | why |", "|" + " --- |" * 12]
    for row in sorted(found, key=lambda row: row["name"]):
        why = row.get("failure", "") or "; ".join(f"{text} ({n})" for text, n in row.get("why", []))
        why = why.replace("|", "/").replace("\n", " ")[:160]
        cells = [
            row["name"],
            f"{row['params'] / 1e6:.1f}" if "params" in row else "",
            row["verdict"],
            ", ".join(f"{n} {how}" for how, n in row.get("how", [])),
            _short_number(row.get("error")),
            _short_number(row.get("moved")),
            _short_number(row.get("silence")),
            ", ".join(row.get("inputs", [])),
            str(row.get("held_back", "")),
            f"{row['prunable']:.0%}" if "prunable" in row else "",
            f"{row['prunable_kept']:.0%}" if "prunable_kept" in row else "",
            why,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--sample", type=int, default=1, help="only every so many-th of the list")
    parser.add_argument("--table", action="store_true", help="write the page and run nothing")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop starting new ones then")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(examine(asked.one)))
        return
    known = rows()
    end = time.monotonic() + 60 * asked.minutes
    names = asked.names or chosen()[asked.sample - 1 :: asked.sample]
    for name in names:
        if asked.table or time.monotonic() > end:
            break
        if asked.names or name not in known:
            row = known[name] = run(name)
            kept = f"{row.get('prunable', 0):.2f} {row.get('prunable_kept', 0):.2f}"
            print(name, row["verdict"], kept, row.get("failure") or row.get("why", ""), flush=True)
    if not asked.names:
        command = "python benchmarks/zoo.py" + (f" --sample {asked.sample}" * (asked.sample > 1))
        PAGE.write_text(page([known[name] for name in names if name in known], len(names), command))


if __name__ == "__main__":
    main()
