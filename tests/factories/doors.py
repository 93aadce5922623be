"""Networks that are called in every way a network can be, and functions that make their inputs."""

import torch
from torch import Tensor, nn


class Tokens(nn.Module):
    """Whole numbers and a mask: an embedding, two layers over time, a mean over the mask."""

    def __init__(self, n_tokens: int = 20, width: int = 8) -> None:
        super().__init__()
        self.table = nn.Embedding(n_tokens, width)
        self.first, self.second = (
            nn.Conv1d(width, 12, 3, padding=1),
            nn.Conv1d(12, 16, 3, padding=1),
        )
        self.last = nn.Linear(16, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.second(self.first(self.table(ids).transpose(1, 2)).relu()).relu()
        weights = mask[:, None].to(x.dtype)
        return self.last((x * weights).sum(2) / weights.sum(2))


class TwoImages(nn.Module):
    """Two images of different channels, added after a layer each."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.last((self.left(left) + self.right(right)).relu())


def tokens(n_tokens: int = 20) -> nn.Module:
    torch.manual_seed(0)
    return Tokens(n_tokens)


def two_images() -> nn.Module:
    torch.manual_seed(0)
    return TwoImages()


def plain(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 2, 1))


def images() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 9, 9), torch.rand(2, 1, 9, 9)


def mask() -> Tensor:
    return torch.ones(1, 16)


def words() -> str:
    return "no tensors"


def fails() -> Tensor:
    raise RuntimeError("no such recording")
