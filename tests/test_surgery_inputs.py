"""What a network is called with when its cut is verified: redrawn numbers, and another size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.channels.trace import recorded
from secateur.surgery.in_turn import verified
from secateur.surgery.inputs import drawn, of_another_size, sizes_of


def test_numbers_are_drawn_within_the_range_of_the_example() -> None:
    example = {
        "x": torch.tensor([[0.25, 0.5], [1.0, 0.75]]),
        "zeros": torch.zeros(50),
        "ids": torch.tensor([[3, 4, 9]]),
        "mask": torch.tensor([True, False]),
        "added": torch.tensor([0.0, -torch.inf]),
        "step": torch.tensor(7),
        "scale": 2.0,
        "waves": torch.zeros(4, dtype=torch.complex64),
    }
    one, again = drawn(example, None), drawn(example, None)
    assert float(one["x"].min()) >= 0.25 and float(one["x"].max()) <= 1.0
    assert one["x"].dtype == torch.float64 and not torch.equal(one["x"], example["x"].double())
    assert float(one["zeros"].std()) > 0.5  # a range of one number is none: normal numbers then
    assert set(one["ids"].flatten().tolist()) <= set(range(3, 10))
    assert one["mask"].tolist() == [True, False]
    assert one["added"].tolist() == [0.0, -torch.inf]
    assert int(one["step"]) == 7 and one["scale"] == 2.0
    assert one["waves"].dtype == torch.complex128 and one["waves"].abs().min() > 0
    for name in example:
        assert one[name] is again[name] or torch.equal(
            *map(torch.as_tensor, (one[name], again[name]))
        )
    assert not torch.equal(drawn(example, None, seed=1)["x"], one["x"])


def test_whole_numbers_are_drawn_among_all_rows_of_a_table() -> None:
    ids = torch.zeros(1, 400, dtype=torch.long)
    assert set(drawn(ids, None).flatten().tolist()) == {0}
    assert set(drawn(ids, 10).flatten().tolist()) == set(range(10))


def other(model: nn.Module, example: Any) -> Any:
    original, _ = recorded(model, example, sc.trace(model, example))
    found = of_another_size(model, example, original)
    return None if found is None else sizes_of(found)


def test_every_dimension_that_may_vary_varies() -> None:
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1))
    assert other(convolutions, torch.zeros(1, 3, 8, 12)) == "2x3x4x6"
    flat = nn.Sequential(nn.Conv1d(2, 4, 1), nn.Flatten(), nn.Linear(4 * 6, 2))
    assert other(flat, torch.zeros(5, 2, 6)) == "4x2x6"  # the length is a number in the network


def test_sizes_that_belong_together_vary_together() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.b(self.a(x) * mask[:, None])

    assert other(Masked(), (torch.zeros(2, 3, 10), torch.ones(2, 10))) == "3x3x5 and 3x5"


def test_a_network_of_one_size_has_no_other() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x.view(6).view(2, 3)))

    model, x = One(), torch.zeros(2, 3)
    assert other(model, x) is None
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"a": [1]})
    found = verified(model, sc.cut(channels, plan).network, plan, channels, x)
    assert found.exact and found.inputs == ("2x3",)


def test_a_size_that_is_another_network_s_is_not_tried() -> None:
    """A branch on the length: with half of it another layer would run."""

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv1d(3, 4, 1), nn.Conv1d(4, 2, 1), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return (self.b if x.shape[2] >= 10 else self.c)(self.a(x))

    assert other(Branch(), torch.zeros(1, 3, 10)) == "2x3x15"
