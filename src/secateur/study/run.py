"""What one unit of a study does: train the base network once, then all that is made of it."""

from __future__ import annotations

from pathlib import Path

from secateur.errors import StudyError
from secateur.scenes.split import Split
from secateur.study.bases import NETWORK, load_network, train_base
from secateur.study.cells import Cell, Unit
from secateur.study.check import check_same_code
from secateur.study.cuts import prune_and_tune, train_from_scratch
from secateur.study.data import split
from secateur.study.recipe import Recipe
from secateur.study.store import BASE_FAILED, NETWORK_FAILED, Row, Store

FEATURES = "features"
"""Folder of a study that holds the log-mels all its runs share."""


def run_unit(unit: Unit, folder: Path, recipe: Recipe) -> None:
    """Write the rows of `unit` that the study in `folder` does not have yet."""
    store = Store(folder)
    if all(store.has(cell.id) for cell in unit.cells):
        return
    data = split(recipe, folder / FEATURES, unit.base.fold)
    if not store.has(unit.base.id):
        with store.attempt(unit.base):
            store.write(unit.base.id, train_base(unit.base, data, store.path(unit.base.id)))
        if not store.has(unit.base.id):
            for cell in unit.cells:
                if cell != unit.base and not store.has(cell.id):
                    store.fail(cell, BASE_FAILED, "")
            return
    base = store.row(unit.base.id)
    _check_features(base, data)
    check_same_code(base, unit.base, data.n_classes, data.x_train.shape[1:])
    _make_cuts(unit, store, data)
    _make_controls(unit, store, data)
    _deploy(unit, store, data)


def _make_cuts(unit: Unit, store: Store, data: Split) -> None:
    from secateur.channels.trace import trace

    todo = [cell for cell in unit.pruned if _wanted(cell, unit, store)]
    if not todo:
        return
    base = load_network(unit.base, data, store.path(unit.base.id) / NETWORK)
    channels = trace(base, data.x_train[:1])
    for cell in todo:
        keep = store.path(cell.id) if unit.deployed else None
        with store.attempt(cell):
            store.write(cell.id, prune_and_tune(cell, unit.base, base, channels, data, keep))


def _make_controls(unit: Unit, store: Store, data: Split) -> None:
    for cell in unit.scratch:
        if _wanted(cell, unit, store):
            keep = store.path(cell.id) if unit.deployed else None
            with store.attempt(cell):
                store.write(cell.id, train_from_scratch(cell, unit.base, data, keep))


def _deploy(unit: Unit, store: Store, data: Split) -> None:
    from secateur.study.deployment import deploy

    for cell in unit.deployed:
        if store.has(cell.id):
            continue
        if not store.has(cell.of):
            store.fail(cell, NETWORK_FAILED, "")
            continue
        with store.attempt(cell):
            network = load_network(unit.base, data, store.path(cell.of) / NETWORK)
            row = deploy(cell, unit.base, store.row(cell.of), network, data, store.path(cell.id))
            store.write(cell.id, row)


def _wanted(cell: Cell, unit: Unit, store: Store) -> bool:
    """Whether a network is still to be made: for its row, or for the file it is deployed from."""
    deployed = any(one.of == cell.id and not store.has(one.id) for one in unit.deployed)
    return not store.has(cell.id) or (deployed and not (store.path(cell.id) / NETWORK).exists())


def _check_features(base: Row, data: Split) -> None:
    if base.get("features", data.features) != data.features:
        raise StudyError(
            f"the rows there are were made from other features ({base['features'][:12]} there, "
            f"{data.features[:12]} here): recordings or their transform have changed. Restore "
            "them, or name another folder"
        )
