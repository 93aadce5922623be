"""How networks do on generated scenes: accuracy by recorder, and what pruning costs.

    python benchmarks/synthesis.py                    everything, into docs/synthesis.md
    python benchmarks/synthesis.py --seed 0           of one seed
    python benchmarks/synthesis.py --preset hard --network vgg --print
                                                      a part of it, printed; its rows are kept

A row is one network, trained on the folds that have not heard all recorders and tested on the last
one, dense and after cuts by l1, uniform over layers: with batch norm re-estimated, then fine-tuned.
A seed is that of the weights and of the order of the batches; the clips are those of the presets.
Rows that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sections import ROOT, write_section

PRESETS = ("normal", "hard")
SEEDS = (0, 1, 2)
NETWORKS = {"vgg": (16, 0.1), "resnet": (16, 0.1), "mobilenet": (18, 0.2)}
"""Width and learning rate: 72,666, 77,754 and 69,850 parameters."""

RATIOS = (0.25, 0.5, 0.75, 0.875)
EPOCHS, TUNING_EPOCHS, TUNING_LR = 12, 3, 0.02
GROUPS = {
    "a": ("a",),
    "b, c": ("b", "c"),
    "s1–s3": ("s1", "s2", "s3"),
    "s4–s6": ("s4", "s5", "s6"),
}
LEAK = "leak"
PAGE = ROOT / "docs" / "synthesis.md"


@dataclass(frozen=True)
class Data:
    """Inputs and labels of both sides, and the clips that are tested on."""

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any
    clips: tuple[Any, ...]


@lru_cache(maxsize=1)
def data(preset: str, out: Path) -> Data:
    """The set of a preset, its log-mels standardised by the training part."""
    import torch

    from secateur.scenes.features import LogMel, prepare, standardise
    from secateur.scenes.synthesis import scene_set, synthesis

    scenes = scene_set(synthesis(preset))
    settings = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=40, f_min=50.0, seconds=1.0)
    table = prepare(scenes, settings, out / "features")
    last = table.folds == max(scenes.folds)
    x_train, x_test = map(torch.from_numpy, standardise(table.x[~last], table.x[last]))
    y_train, y_test = map(torch.from_numpy, (table.labels[~last], table.labels[last]))
    clips = tuple(clip for clip, held in zip(scenes.clips, last, strict=True) if held)
    return Data(x_train, y_train, x_test, y_test, clips)


def measured(preset: str, network: str, seed: int, out: Path) -> dict[str, Any]:
    """One row: accuracies as shares."""
    import torch

    from secateur.channels.trace import trace
    from secateur.criteria.score import score
    from secateur.criteria.weight import l1
    from secateur.plan.budget import Budget
    from secateur.plan.select import uniform
    from secateur.surgery.cut import cut
    from secateur.train.batch_norm import reestimate_batch_norm
    from secateur.train.evaluate import evaluate
    from secateur.train.fit import Training, fit

    found = data(preset, out)
    x, y = found.x_train, found.y_train
    model = trained(network, x, y, seed)
    n_params = sum(parameter.numel() for parameter in model.parameters())
    row = {"preset": preset, "network": network, "seed": seed, "params": n_params}
    row |= {"dense": by_recorder(model, found), "cuts": {}}
    channels = trace(model, x[:1])
    scores = score(channels, [l1])["l1"]
    for ratio in RATIOS:
        plan = uniform(scores, channels, Budget(pruning_ratio=ratio))
        small = cut(channels, plan).network
        reestimate_batch_norm(small, x)
        before = evaluate(small, found.x_test, found.y_test).accuracy
        fit(small, x, y, Training(epochs=TUNING_EPOCHS, batch_size=32, lr=TUNING_LR), seed=seed)
        row["cuts"][str(ratio)] = {
            "re-estimated": before,
            "params": sum(parameter.numel() for parameter in small.parameters()),
            **by_recorder(small, found),
        }
    if network == "vgg":
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        heard, other = order[len(x) // 4 :], order[: len(x) // 4]
        model = trained(network, x[heard], y[heard], seed)
        row[LEAK] = evaluate(model, x[other], y[other]).accuracy
    return row


def trained(network: str, x: Any, y: Any, seed: int) -> Any:
    """A reference network, trained."""
    import torch

    from secateur.networks.families import NETWORKS as FAMILIES
    from secateur.train.fit import Training, fit

    width, lr = NETWORKS[network]
    torch.manual_seed(seed)
    model = FAMILIES[network](width=width)
    fit(model, x, y, Training(epochs=EPOCHS, batch_size=32, lr=lr), seed=seed)
    return model


def by_recorder(model: Any, found: Data) -> dict[str, float]:
    """Accuracy on all clips, on those of every group of recorders, and on whole segments."""
    from secateur.scenes.segments import by_segment
    from secateur.train.evaluate import predict

    answers = predict(model, found.x_test).log_softmax(1).numpy()
    right = answers.argmax(1) == found.y_test.numpy()
    devices = np.array([clip.device for clip in found.clips])
    whole, of_segments = by_segment(found.clips, answers)
    labels = np.array([clip.label for clip in whole])
    return {
        "all": float(right.mean()),
        **{name: float(right[np.isin(devices, some)].mean()) for name, some in GROUPS.items()},
        "segments": float((of_segments.argmax(1) == labels).mean()),
    }


def section(rows: Sequence[dict[str, Any]]) -> str:
    """The tables, with what was asked and whether it holds."""
    lines = [
        "## How networks do on them",
        "",
        f"{_seeds(rows)} of the weights; in percent of clips; {EPOCHS} epochs, log-mels of 40 "
        "bands and 26 frames; cuts by l1, uniform over layers, batch norm re-estimated, then "
        f"{TUNING_EPOCHS} epochs of fine-tuning. A segment is right if the mean log-probability of "
        "its ten clips is.",
    ]
    for preset in dict.fromkeys(row["preset"] for row in rows):
        own = [row for row in rows if row["preset"] == preset]
        networks = {name: [r for r in own if r["network"] == name] for name in NETWORKS}
        networks = {name: some for name, some in networks.items() if some}
        lines += ["", f"### `{preset}`", ""]
        lines += _head(["network", "parameters", "all", *GROUPS, "segments"])
        for name, some in networks.items():
            dense = [row["dense"] for row in some]
            cells = [f"{some[0]['params']:,}", _range([one["all"] for one in dense])]
            cells += [_mean([one[key] for one in dense]) for key in (*GROUPS, "segments")]
            lines.append(_line([name, *cells]))
        lines.append("")
        lines += _head(["network", "dense", *(f"cut {100 * ratio:g} %" for ratio in RATIOS)])
        for name, some in networks.items():
            cells = [_mean([row["dense"]["all"] for row in some])]
            for ratio in map(str, RATIOS):
                cuts = [row["cuts"][ratio] for row in some]
                before, after = ([cut[key] for cut in cuts] for key in ("re-estimated", "all"))
                cells.append(f"{_mean(before)}, then {_range(after)}")
            lines.append(_line([name, *cells]))
        lines += ["", *_verdicts(networks)]
    return "\n".join(lines)


def _verdicts(networks: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What a synthesiser for pruning must do, network by network."""
    lines = _head(["network", "dense accuracy", "lost by cutting 75 %", "s4–s6 below a"])
    for name, some in networks.items():
        lost = [row["dense"]["all"] - row["cuts"]["0.75"]["all"] for row in some]
        gaps = [row["dense"]["a"] - row["dense"]["s4–s6"] for row in some]
        dense = [row["dense"]["all"] for row in some]
        inside = all(0.6 <= value <= 0.95 for value in dense)
        lines.append(
            _line(
                [
                    name,
                    f"{_range(dense)}: {'within' if inside else 'not within'} 60 to 95",
                    f"{_range(lost)}: {_ever(lost)}",
                    f"{_range(gaps)}: {_ever(gaps)}",
                ]
            )
        )
    leaks = [row[LEAK] for some in networks.values() for row in some if LEAK in row]
    if leaks:
        lines += [
            "",
            f"Tested on other seconds of the recordings it was trained on, the VGG reaches "
            f"{_range(leaks)} %: what a split that leaks would show.",
        ]
    return lines


def _seeds(rows: Sequence[dict[str, Any]]) -> str:
    n = len({row["seed"] for row in rows})
    return "One seed" if n == 1 else f"Means over {n} seeds (lowest to highest in brackets)"


def _ever(values: Sequence[float]) -> str:
    above = sum(value > 0 for value in values)
    if above == len(values):
        return "yes"
    return f"in {above} of {len(values)}" if above else "no"


def _head(columns: Sequence[str]) -> list[str]:
    return [_line(columns), _line(["---"] * len(columns))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float]) -> str:
    return f"{100 * float(np.mean(values)):.1f}"


def _range(values: Sequence[float]) -> str:
    if len(values) == 1:
        return _mean(values)
    return f"{_mean(values)} ({100 * min(values):.1f}–{100 * max(values):.1f})"


def main() -> None:
    """Make the rows that are not there, then the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, action="append")
    parser.add_argument("--network", choices=tuple(NETWORKS), action="append")
    parser.add_argument("--seed", type=int, choices=SEEDS, action="append")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "synthesis")
    parser.add_argument("--print", action="store_true", dest="only_print")
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows = []
    for preset in asked.preset or PRESETS:
        for network in asked.network or NETWORKS:
            for seed in asked.seed or SEEDS:
                file = asked.out / f"{preset}-{network}-{seed}.json"
                if not file.exists():
                    row = measured(preset, network, seed, asked.out)
                    file.write_text(json.dumps(row))
                    print(file.name, _mean([row["dense"]["all"]]), flush=True)
                rows.append(json.loads(file.read_text()))
    if asked.only_print:
        print(section(rows))
    else:
        write_section("synthesis", section(rows), page=PAGE)


if __name__ == "__main__":
    main()
