"""Runs as rows of figures: the course of training, what was deployed, time, every run by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from secateur.report.figures import Data
from secateur.report.findings import Findings
from secateur.study.methods import SCRATCH
from secateur.study.resampling import half_width, mean_and_error, seed_means
from secateur.study.tradeoff import Row

UNPRUNED = "unpruned"
"""What the criterion of a base network is called."""

COURSE = {
    "ws": "Weight Skewness",
    "gini": "Gini index",
    "inactive": "Inactive share",
    "accuracy": "Accuracy on the training part",
    "loss": "Loss",
}
"""What is told of every epoch."""

_NUMBERS = ("accuracy", "accuracy_cut", "ratio_reached", "macs", "params", "channels")


def course(findings: Findings) -> Data:
    """Sparsity and accuracy along the training of base networks: a row an epoch and quantity.

    Means over base networks with the range. Rows of former versions hold no epochs: they are left
    out, and `gaps.absent` says so.
    """
    found: dict[tuple[str, float, int, str], list[float]] = {}
    for base in findings.bases:
        for epoch in base.get("epochs", ()):
            for name in COURSE:
                if epoch.get(name) is not None:
                    key = (base["network"], base["strength"], epoch["epoch"], name)
                    found.setdefault(key, []).append(epoch[name])
    return [
        {
            "network": network,
            "strength": strength,
            "epoch": epoch,
            "what": what,
            "mean": float(np.mean(values)),
            "least": min(values),
            "most": max(values),
            "n": len(values),
        }
        for (network, strength, epoch, what), values in sorted(found.items())
    ]


def deployed(findings: Findings) -> Data:
    """Accuracy as float32 and as INT8 in ONNX Runtime, and bytes: a row a cell and form.

    `loss` is INT8 minus float32, paired by network, with its interval over seeds in `loss_low` and
    `loss_high`; bytes are means, of the parameters and of the file.
    """
    origin = {row["id"]: row for row in (*findings.bases, *findings.pruned, *findings.scratch)}
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in findings.deployed:
        if row["of"] in origin:
            of = origin[row["of"]]
            cells.setdefault((row["network"], row["strength"], *_method(of)), []).append(row)
    data = []
    for (network, strength, criterion, scope, asked), rows in sorted(cells.items()):
        seeds = [row["seed"] for row in rows]
        gap = _over_seeds(seeds, [r["int8"]["accuracy"] - r["float32"]["accuracy"] for r in rows])
        for form in ("float32", "int8"):
            mean, low, high, n = _over_seeds(seeds, [row[form]["accuracy"] for row in rows])
            data.append(
                {
                    "network": network,
                    "strength": strength,
                    "criterion": criterion,
                    "scope": scope,
                    "ratio": asked,
                    "form": form,
                    "accuracy": mean,
                    "low": low,
                    "high": high,
                    "loss": gap[0],
                    "loss_low": gap[1],
                    "loss_high": gap[2],
                    "param_bytes": float(np.mean([row[form]["param_bytes"] for row in rows])),
                    "file_bytes": float(np.mean([row[form]["file_bytes"] for row in rows])),
                    "n_seeds": n,
                }
            )
    return data


def by_device(findings: Findings) -> Data:
    """Accuracy of every cell by recording device, with its interval over seeds.

    Rows hold it where the test clips come from several recorders; others are left out.
    """
    cells: dict[tuple[Any, ...], list[tuple[int, float]]] = {}
    for row in (*findings.bases, *findings.pruned, *findings.scratch):
        for device, accuracy in row.get("by_device", {}).items():
            key = (row["network"], row.get("strength", 0.0), *_method(row), device)
            cells.setdefault(key, []).append((row["seed"], accuracy))
    data = []
    for (network, strength, criterion, scope, asked, device), found in sorted(cells.items()):
        seeds, accuracies = zip(*found, strict=True)
        mean, low, high, n = _over_seeds(list(seeds), list(accuracies))
        data.append(
            {
                "network": network,
                "strength": strength,
                "criterion": criterion,
                "scope": scope,
                "ratio": asked,
                "device": device,
                "accuracy": mean,
                "low": low,
                "high": high,
                "n_seeds": n,
            }
        )
    return data


def seconds(findings: Findings) -> Data:
    """Seconds a network's cells took in all, one row a stage."""
    totals: dict[tuple[str, str], list[float]] = {}
    everything = (*findings.bases, *findings.pruned, *findings.scratch, *findings.deployed)
    for row in everything:
        for stage, spent in row["seconds"].items():
            name = f"{stage} from scratch" if row["kind"] == "scratch" else stage
            totals.setdefault((row["network"], name), []).append(spent)
    return [
        {"network": network, "stage": stage, "seconds": sum(spent), "cells": len(spent)}
        for (network, stage), spent in totals.items()
    ]


def runs(findings: Findings) -> Data:
    """Every finished base, cut and control by itself; `id` names its folder under `runs/`.

    What was made of it for a device stands beside it as `float32` and `int8`, two accuracies.
    """
    device = {row["of"]: row for row in findings.deployed}
    data = []
    for row in (*findings.bases, *findings.pruned, *findings.scratch):
        criterion, scope, asked = _method(row)
        files: Mapping[str, Any] = device.get(row["id"], {})
        data.append(
            {
                "network": row["network"],
                "strength": row.get("strength", 0.0),
                "criterion": criterion,
                "scope": scope,
                "ratio": asked,
                "seed": row["seed"],
                "fold": row["fold"],
                **{name: row.get(name) for name in _NUMBERS},
                "float32": files.get("float32", {}).get("accuracy"),
                "int8": files.get("int8", {}).get("accuracy"),
                "seconds": float(sum(row["seconds"].values())),
                "id": row["id"],
            }
        )
    return data


def columns(data: Data) -> dict[str, Any]:
    """The same by columns; names that repeat are written once: {"of": names, "at": places}.

    >>> columns([{"a": "x", "b": 1}, {"a": "x", "b": 2}])
    {'a': {'of': ['x'], 'at': [0, 0]}, 'b': [1, 2]}
    """
    found: dict[str, Any] = {}
    for name in data[0] if data else ():
        column = [_short(row[name]) for row in data]
        distinct = list(dict.fromkeys(column))
        if any(isinstance(value, str) for value in column) and len(distinct) < len(column):
            place = {value: k for k, value in enumerate(distinct)}
            found[name] = {"of": distinct, "at": [place[value] for value in column]}
        else:
            found[name] = column
    return found


def _method(row: Row) -> tuple[str, str, float]:
    """What was done to a network: criterion, scope and level; the last is 0 where nothing was."""
    if row["kind"] == "base":
        return UNPRUNED, "", 0.0
    if row["kind"] == "scratch":
        return SCRATCH, "uniform", row["ratio_asked"]
    return row["criterion"], row["scope"], row["ratio_asked"]


def _over_seeds(seeds: list[int], values: list[float]) -> tuple[float, float, float, int]:
    """Mean, its interval (the mean itself with one seed) and the number of seeds."""
    mean, error, n = mean_and_error(seed_means(seeds, np.array(values)))
    half = float(half_width(error, n))
    half = half if np.isfinite(half) else 0.0
    return float(mean), float(mean) - half, float(mean) + half, int(n)


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
