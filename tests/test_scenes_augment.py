"""Augmentations: pure, seeded, and changing only what they say."""

from __future__ import annotations

import pytest
import torch

from secateur.errors import DataError
from secateur.scenes.augment import (
    convolve,
    frequency_mixstyle,
    gain,
    mask_bands,
    mask_frames,
    mixup,
    time_roll,
)
from secateur.scenes.chain import chain


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


def test_mask_frames_zeroes_one_run_of_frames() -> None:
    x = batch().repeat(50, 1, 1, 1)
    masked = mask_frames(x, seeded(), widest=2)
    gone = (masked == 0).all(dim=2)[:, 0]
    assert set(gone.sum(dim=1).tolist()) == {0, 1, 2}
    assert torch.equal(masked[masked != 0], x[masked != 0])
    with pytest.raises(DataError, match="mask_frames widest=6: give 0 to n_frames = 5"):
        mask_frames(x, seeded(), widest=6)


def test_gain_adds_one_number_an_example() -> None:
    x = batch()
    added = gain(x, seeded(), most_db=3.0) - x
    for one in added:
        assert (one - one.flatten()[0]).abs().max() < 1e-4 and one.abs().max() <= 3.0001
    assert len({round(float(one.mean()), 3) for one in added}) == 6
    assert torch.equal(gain(x, seeded()), gain(x, seeded()))


def test_mixup_mixes_inputs_and_targets_alike() -> None:
    targets = torch.eye(6)
    x = targets.view(6, 1, 1, 6).clone()
    mixed, shares = mixup(x, targets, seeded())
    assert torch.allclose(mixed.view(6, 6), shares)
    assert torch.allclose(shares.sum(dim=1), torch.ones(6)) and not torch.equal(shares, targets)
    assert torch.equal(shares, mixup(x, targets, seeded())[1])
    many = mixup(torch.zeros(4000, 1), torch.eye(2).repeat(2000, 1), seeded(), alpha=0.3)[1]
    assert abs(many[:, 0].mean() - 0.5) < 0.02
    with pytest.raises(DataError, match=r"targets have shape \(6,\)"):
        mixup(x, torch.arange(6), seeded())
    with pytest.raises(DataError, match="mixup alpha=0"):
        mixup(x, targets, seeded(), alpha=0)


def test_frequency_mixstyle_changes_statistics_only() -> None:
    x = torch.randn(8, 1, 4, 50, generator=seeded(3)) * torch.arange(1, 9).view(8, 1, 1, 1)
    out = frequency_mixstyle(x, seeded(), p=1.0)
    same = [(one - one.mean(2, True)) / one.std(2, keepdim=True) for one in (x[:, 0], out[:, 0])]
    assert torch.allclose(same[0], same[1], atol=1e-3) and not torch.allclose(x, out, atol=0.1)
    assert out.std() < 9 and torch.equal(out, frequency_mixstyle(x, seeded(), p=1.0))
    assert torch.equal(frequency_mixstyle(x, seeded(), p=0.0), x)


def test_convolve_is_a_convolution_of_the_same_energy() -> None:
    x = torch.randn(3, 40, generator=seeded(), dtype=torch.float64)
    delayed = convolve(x, torch.tensor([[0.0, 0.0, 2.0]]), seeded())
    expected = torch.cat([torch.zeros(3, 2), x[:, :-2]], dim=1)
    scale = (x.square().sum(1) / expected.square().sum(1)).sqrt()[:, None]
    assert torch.allclose(delayed, expected * scale)
    assert (convolve(torch.zeros(1, 9), torch.ones(1, 3), seeded()) == 0).all()
    with pytest.raises(DataError, match=r"responses \(0, 3\)"):
        convolve(x, torch.zeros(0, 3), seeded())


def test_frequency_mixstyle_refuses_what_is_no_probability() -> None:
    with pytest.raises(DataError, match=r"p=1\.5: give a probability"):
        frequency_mixstyle(batch(), seeded(), p=1.5)


def test_gain_in_scaled_bands() -> None:
    per_db = torch.tensor([1.0, 2.0, 0.5, 0.25])
    added = (gain(batch(), seeded(), per_db=per_db) - batch()) / per_db[:, None]
    assert torch.allclose(added, gain(batch(), seeded()) - batch(), atol=1e-4)


def test_a_chain_is_its_augmentations_one_after_the_other() -> None:
    augment, mix = chain({"time_roll": {}, "mask_bands": {"widest": 2}}, 3, [1.0] * 4)
    assert augment is not None and mix is None
    generator = seeded(5)
    expected = time_roll(mask_bands(batch(), generator, widest=2), generator)
    assert torch.equal(augment(batch(), seeded(5)), expected)


def test_mixing_is_mixup_of_one_hot_labels() -> None:
    _, mix = chain({"mixup": {"alpha": 0.2}}, 6, [1.0])
    assert mix is not None
    for mine, theirs in zip(
        mix(batch(), torch.arange(6), seeded(2)),
        mixup(batch(), torch.eye(6), seeded(2), alpha=0.2),
        strict=True,
    ):
        assert torch.equal(mine, theirs)


def test_a_chain_names_what_it_does_not_know() -> None:
    with pytest.raises(DataError, match="no augmentation 'convolve'; there are"):
        chain({"convolve": {}}, 2, [1.0])
    with pytest.raises(DataError, match="no argument of mixup 'p'; there are alpha"):
        chain({"mixup": {"p": 1}}, 2, [1.0])
