"""Rows of a study with everything in them: epochs, controls from scratch, deployments."""

from simulated_rows import RATIOS, recipe, simulate

EPOCHS = 4


def full_recipe(**pruning):
    """The recipe such rows would come from."""
    plain = recipe()
    asked = plain["pruning"] | {"from_scratch": True} | pruning
    return plain | {"pruning": asked, "deployment": {"calibration": 64}}


def full(networks=("vgg", "resnet", "mobilenet"), loss=0.02, quantised=0.01, **options):
    """`simulate` with epochs, controls and files.

    Controls from scratch lose `loss` against l1, INT8 files lose `quantised` of every network.
    """
    rows = simulate(networks=networks, **options)
    for row in rows:
        if row["kind"] == "base":
            row["epochs"] = [_epoch(k, row["strength"]) for k in range(EPOCHS)]
        row["by_device"] = {"a": row["accuracy"], "s1": row["accuracy"] - 0.1}
        if row["kind"] == "pruned":
            row["params"] = round(0.9 * row["params"])  # parameters and MACs part company
            row["removed"] = _removed(row["criterion"], round(10 * row["ratio_asked"]))
    uniform = {
        (row["base"], row["ratio_asked"]): row
        for row in rows
        if row["kind"] == "pruned" and (row["criterion"], row["scope"]) == ("l1", "uniform")
    }
    scratch = [
        _scratch(cut, loss) for (_, ratio), cut in uniform.items() if cut["strength"] == 0 and ratio
    ]
    rows += scratch
    return [*rows, *(_deployed(row, quantised) for row in rows)]


LARGE = {
    "seeds": range(1, 6),
    "strengths": (0.0, 0.4, 0.8, 1.0, 1.2, 1.6),
    "criteria": ("l1", "l2", "gm", "bn_scale", "taylor", "apoz", "random"),
    "ratios": (0.1, 0.3, 0.5, 0.7),
}
"""A grid of 5,040 cuts: with 3 networks and 2 scopes, as large as a study of all claims."""


def large_recipe():
    """The recipe that `full(**LARGE)` would come from."""
    asked = full_recipe(criteria=list(LARGE["criteria"]), ratios=list(LARGE["ratios"]))
    sparsity = asked["sparsity"] | {"total_shrink": list(LARGE["strengths"])}
    return asked | {"sparsity": sparsity, "seeds": len(LARGE["seeds"])}


def budgets_of_macs(times=(2, 4, 8), **options):
    """The same with levels that are budgets of MACs, not shares of channels."""
    place = dict(zip(RATIOS, (1 - 1 / k for k in times), strict=False))
    rows = full(ratios=RATIOS[: len(times)], **options)
    for row in rows:
        if "ratio_asked" in row:
            row["ratio_asked"] = place[row["ratio_asked"]]
    return rows


def _removed(criterion, k):
    """`k` of 10 channels: the first for l1 and l2, one further for gm, the last for random."""
    start = {"l1": 0, "l2": 0, "gm": 1}.get(criterion, 10 - k)
    return {"stage0": [(start + place) % 10 for place in range(k)]}


def _epoch(k, strength):
    sparsity = {"ws": 0.5 + k * strength, "gini": 0.2 + 0.1 * k, "inactive": 0.05 * k * strength}
    return {"epoch": k, "loss": 2.0 / (k + 1), "accuracy": 0.5 + 0.1 * k, "lr": 0.1, **sparsity}


def _scratch(cut, loss):
    left = ("criterion", "scope", "accuracy_cut")
    own = {
        "kind": "scratch",
        "id": f"{cut['id']}-scratch",
        "accuracy": cut["accuracy"] - loss,
        "seconds": {"train": 40.0},
    }
    return {name: value for name, value in cut.items() if name not in left} | own


def _deployed(row, quantised):
    def file(accuracy, size):
        bytes_ = size * row["params"]
        shared = {"params": row["params"], "param_bytes": bytes_}
        return {"accuracy": accuracy, "file_bytes": bytes_ + 4000, **shared}

    return {
        "kind": "deployed",
        "id": f"{row['id']}-deployed",
        "of": row["id"],
        **{name: row[name] for name in ("network", "strength", "seed", "fold", "macs")},
        "relative_error": 1e-6,
        "float32": file(row["accuracy"], 4),
        "int8": file(row["accuracy"] - quantised, 1),
        "seconds": {"deploy": 1.5},
    }
