"""Augmentations: pure, seeded, and changing only what they say."""

from __future__ import annotations

import pytest
import torch

from secateur.errors import DataError
from secateur.scenes.augment import mask_bands, time_roll


def batch() -> torch.Tensor:
    return 1 + torch.arange(6 * 1 * 4 * 5, dtype=torch.float32).reshape(6, 1, 4, 5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("augment", [time_roll, mask_bands])
def test_pure_and_repeatable(augment) -> None:  # type: ignore[no-untyped-def]
    x = batch()
    options = {"widest": 2} if augment is mask_bands else {}
    first, second = (augment(x, seeded(), **options) for _ in range(2))
    assert torch.equal(x, batch()) and torch.equal(first, second)
    assert first.shape == x.shape and first.dtype == x.dtype
    assert not torch.equal(first, augment(x, seeded(1), **options))


def test_time_roll_is_one_torch_roll_an_example() -> None:
    x = batch()
    rolled = time_roll(x, seeded())
    shifts = [
        next(s for s in range(5) if torch.equal(torch.roll(one, s, dims=2), out))
        for one, out in zip(x, rolled, strict=True)
    ]
    assert len(set(shifts)) > 1


def test_time_roll_reaches_every_shift() -> None:
    frames = torch.zeros(400, 1, 1, 5)
    frames[..., 0] = 1
    counts = time_roll(frames, seeded()).sum(dim=(0, 1, 2))
    assert counts.min() > 50


def test_mask_bands_zeroes_one_run_of_bands_and_nothing_else() -> None:
    x = batch().expand(-1, -1, -1, -1).repeat(50, 1, 1, 1)
    masked = mask_bands(x, seeded(), widest=3)
    widths = set()
    for one, out in zip(x[:, 0], masked[:, 0], strict=True):
        gone = (out == 0).all(dim=1)
        assert torch.equal(out[~gone], one[~gone])
        bands = gone.nonzero().ravel().tolist()
        assert not bands or bands == list(range(bands[0], bands[-1] + 1))
        widths.add(len(bands))
    assert widths == {0, 1, 2, 3}
    assert ((masked == 0).all(dim=3).sum(dim=(0, 1)) > 0).all()


def test_mask_bands_refuses_more_bands_than_there_are() -> None:
    with pytest.raises(DataError, match="widest=5: give 0 to n_mels = 4"):
        mask_bands(batch(), seeded(), widest=5)
    assert torch.equal(mask_bands(batch(), seeded(), widest=0), batch())
