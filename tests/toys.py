"""Networks of two to six channels, small enough to work out on paper, one for each situation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def image(channels: int = 1, size: int = 6, batch: int = 2) -> Tensor:
    return torch.zeros(batch, channels, size, size, dtype=torch.float64)


def conv(in_channels: int, out_channels: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, **options)


class Net(nn.Module):
    """Layers given by name, and a forward given as a function of the network and its inputs."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def head(channels: int) -> nn.Linear:
    return nn.Linear(channels, 3)


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def between(
    step: Callable[[Any, Tensor], Tensor], n_in: int = 4, n_out: int = 4, **layers: Any
) -> nn.Module:
    """A convolution with `n_in` filters, a step, and a convolution of `n_out` inputs."""

    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv2(step(net, F.relu(net.conv1(x))))

    return Net(forward, conv1=conv(1, n_in), conv2=conv(n_out, 2), **layers)


def plain() -> nn.Module:
    """1 -> 4 -> 3, a batch norm in between."""
    return nn.Sequential(conv(1, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 3))


def residual() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.bn(net.stem(x)))
        y = net.bn2(net.conv2(F.relu(net.bn1(net.conv1(x)))))
        return net.fc(pooled(F.relu(x + y)))

    return Net(
        forward,
        stem=conv(1, 4),
        bn=nn.BatchNorm2d(4),
        conv1=conv(4, 2),
        bn1=nn.BatchNorm2d(2),
        conv2=conv(2, 4),
        bn2=nn.BatchNorm2d(4),
        fc=head(4),
    )


def preactivation() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = x + net.conv2(F.relu(net.bn2(net.conv1(F.relu(net.bn1(x))))))
        return net.fc(pooled(F.relu(net.bn3(x))))

    return Net(
        forward,
        stem=conv(1, 4),
        bn1=nn.BatchNorm2d(4),
        conv1=conv(4, 3),
        bn2=nn.BatchNorm2d(3),
        conv2=conv(3, 4),
        bn3=nn.BatchNorm2d(4),
        fc=head(4),
    )


def depthwise(multiplier: int = 1) -> nn.Module:
    wide = 4 * multiplier
    layers = [conv(1, 4), conv(4, wide, groups=4), nn.BatchNorm2d(wide), nn.ReLU6()]
    return nn.Sequential(*layers, nn.Conv2d(wide, 3, 1), nn.ReLU(), conv(3, 2))


def grouped() -> nn.Module:
    return nn.Sequential(conv(1, 4), nn.ReLU(), conv(4, 6, groups=2), nn.ReLU(), conv(6, 2))


def one_filter_a_group() -> nn.Module:
    return nn.Sequential(conv(1, 6), nn.ReLU(), conv(6, 2, groups=2), nn.ReLU(), conv(2, 2))


def squeeze_excite() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        gate = torch.sigmoid(net.up(F.relu(net.down(F.adaptive_avg_pool2d(x, 1)))))
        return net.fc(pooled(x * gate))

    return Net(forward, stem=conv(1, 4), down=nn.Conv2d(4, 2, 1), up=nn.Conv2d(2, 4, 1), fc=head(4))


def squeeze_excite_linear() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        b, c, _, _ = x.size()
        gate = torch.sigmoid(net.up(F.relu(net.down(x.mean((2, 3)).view(b, c)))))
        return net.fc((x * gate.view(b, c, 1, 1).expand_as(x)).flatten(2).mean(2))

    return Net(forward, stem=conv(1, 4), down=nn.Linear(4, 2), up=nn.Linear(2, 4), fc=head(4))


def spatial_gate() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.fc(pooled(x * torch.sigmoid(net.gate(x)).expand_as(x)))

    return Net(forward, stem=conv(1, 4), gate=conv(4, 1), fc=head(4))


def dense() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        a = net.conv1(x)
        b = torch.cat([a, net.conv2(F.relu(a))], 1)
        c = torch.cat([b, net.conv3(F.relu(net.bn(b)))], 1)
        return net.conv4(F.relu(c))

    return Net(
        forward,
        conv1=conv(1, 2),
        conv2=conv(2, 3),
        bn=nn.BatchNorm2d(5),
        conv3=conv(5, 2),
        conv4=conv(7, 2),
    )


def concat_itself() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.conv2(torch.cat([x, F.relu(x)], -3))

    return Net(forward, conv1=conv(1, 3), conv2=conv(6, 2))


def concat_input() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv2(torch.cat([x, net.conv1(x)], 1))

    return Net(forward, conv1=conv(2, 3), conv2=conv(5, 2))


def concat_places() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv3(torch.cat([net.conv1(x), net.conv2(x)], dim=-1))

    return Net(forward, conv1=conv(1, 3), conv2=conv(1, 3), conv3=conv(3, 2))


def stacked() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        both = torch.stack([net.conv1(x), net.conv2(x)], dim=1)
        return net.conv3(both.sum(1))

    return Net(forward, conv1=conv(1, 3), conv2=conv(1, 3), conv3=conv(3, 2))


def interleaved() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        both = torch.stack([net.conv1(x), net.conv2(x)], dim=2)
        return net.conv3(both.flatten(1, 2))

    return Net(forward, conv1=conv(1, 3), conv2=conv(1, 3), conv3=conv(6, 2))


def flattened() -> nn.Module:
    layers = [conv(1, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)]
    return nn.Sequential(*layers, nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def option_a() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        return net.fc(pooled(F.relu(short + net.conv2(F.relu(net.conv1(x))))))

    return Net(forward, stem=conv(1, 2), conv1=conv(2, 3, stride=2), conv2=conv(3, 4), fc=head(4))


def gated_halves() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).chunk(2, 1)
        return net.conv2(a * torch.sigmoid(b))

    return Net(forward, conv1=conv(1, 6), conv2=conv(3, 2))


def glu() -> nn.Module:
    return Net(
        lambda net, x: net.conv2(F.glu(net.conv1(x), dim=1)), conv1=conv(1, 6), conv2=conv(3, 2)
    )


def split_paths() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).chunk(2, 1)
        return net.conv3(torch.cat([a, net.conv2(b)], 1))

    return Net(forward, conv1=conv(1, 6), conv2=conv(3, 3), conv3=conv(6, 2))


def shuffled() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv2(net.conv1(x))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)
        return net.conv3(x)

    return Net(forward, conv1=conv(1, 6), conv2=conv(6, 6, groups=2), conv3=conv(6, 2))


def shuffled_by_module() -> nn.Module:
    return nn.Sequential(conv(1, 6), nn.ChannelShuffle(2), conv(6, 2))


def pixels() -> nn.Module:
    return nn.Sequential(conv(1, 8), nn.PixelShuffle(2), conv(2, 2))


def layer_scale() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.conv2(x + net.scale * F.relu(x))

    return Net(
        forward, conv1=conv(1, 4), conv2=conv(4, 2), scale=nn.Parameter(torch.ones(1, 4, 1, 1))
    )


def prelu() -> nn.Module:
    return nn.Sequential(conv(1, 4), nn.PReLU(4), conv(4, 2))


def transposed() -> nn.Module:
    up = nn.ConvTranspose2d(4, 3, 2, stride=2)
    return nn.Sequential(conv(1, 4), nn.ReLU(), up, nn.BatchNorm2d(3), nn.ReLU(), conv(3, 2))


def transposed_grouped() -> nn.Module:
    up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
    return nn.Sequential(conv(1, 4), nn.ReLU(), up, nn.ReLU(), conv(6, 2))


def transposed_depthwise(multiplier: int = 1) -> nn.Module:
    up = nn.ConvTranspose2d(4, 4 * multiplier, 2, stride=2, groups=4)
    return nn.Sequential(conv(1, 4), nn.ReLU(), up, nn.ReLU(), conv(4 * multiplier, 2))


def one_dimensional() -> nn.Module:
    layers: list[nn.Module]
    layers = [nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(
        *layers, nn.Conv1d(4, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), head(3)
    )


def three_dimensional() -> nn.Module:
    layers = [nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2)]
    return nn.Sequential(*layers, nn.Conv3d(4, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten())


def recurrent_head() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv2(F.relu(net.conv1(x)))
        return net.gru(x.mean(2).transpose(1, 2))[0]

    return Net(forward, conv1=conv(1, 4), conv2=conv(4, 3), gru=nn.GRU(3, 2, batch_first=True))


def several() -> nn.Module:
    """Two inputs, two outputs in a dictionary."""

    def forward(net: Any, left: Tensor, right: Tensor) -> dict[str, Any]:
        x = F.relu(net.conv1(left) + net.conv2(right))
        return {"map": net.conv3(x), "scores": [net.fc(pooled(x))]}

    return Net(forward, conv1=conv(1, 4), conv2=conv(2, 4), conv3=conv(4, 2), fc=head(4))


def reused() -> nn.Module:
    """One convolution applied twice, so that its outputs are its inputs."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        return net.last(F.relu(net.twice(F.relu(net.twice(x)))))

    return Net(forward, stem=conv(1, 4), twice=conv(4, 4), last=conv(4, 2))


def tied() -> nn.Module:
    """Two modules that hold the same weight."""
    net = nn.Sequential(conv(1, 4), conv(4, 4), nn.ReLU(), conv(4, 4), conv(4, 2))
    net[3].weight = net[1].weight
    return net


def tied_transposed() -> nn.Module:
    """An encoder's weight used again, transposed, as decoder."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        return net.last(F.conv_transpose2d(F.relu(net.code(x)), net.code.weight, padding=1))

    return Net(forward, stem=conv(1, 4), code=conv(4, 3), last=conv(4, 2))


def frozen() -> nn.Module:
    net = plain()
    net.get_parameter("0.weight").requires_grad_(False)
    return net


def unused() -> nn.Module:
    return Net(lambda net, x: net.b(net.a(x)), a=conv(1, 4), b=conv(4, 2), dead=conv(5, 6))


def no_affine() -> nn.Module:
    return nn.Sequential(conv(1, 4), nn.BatchNorm2d(4, affine=False), nn.ReLU(), conv(4, 2))


def instance_norm() -> nn.Module:
    return nn.Sequential(conv(1, 4), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), conv(4, 2))


def spread_pooling() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.fc(torch.cat([x.mean((2, 3)), x.std((2, 3)), x.amax((2, 3))], 1))

    return Net(forward, conv1=conv(1, 4), fc=head(12))


def folded_into_batch() -> nn.Module:
    """The same small filter applied to every channel on its own."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        b, c, h, w = x.shape
        x = net.blur(x.reshape(b * c, 1, h, w)).reshape(b, c, h, w)
        return net.conv2(x)

    return Net(forward, conv1=conv(1, 4), blur=conv(1, 1), conv2=conv(4, 2))


def channels_last() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x).permute(0, 2, 3, 1)
        x = net.down(F.gelu(net.up(x)))
        return net.conv2(x.permute(0, 3, 1, 2))

    return Net(
        forward, conv1=conv(1, 4), up=nn.Linear(4, 6), down=nn.Linear(6, 3), conv2=conv(3, 2)
    )


def normalised() -> nn.Module:
    """Divided by its norm over channels: removed and zeroed still agree, but are listed."""
    return Net(
        lambda net, x: net.conv2(F.normalize(net.conv1(x), dim=1)),
        conv1=conv(1, 4),
        conv2=conv(4, 2),
    )


def averaged_over_channels() -> nn.Module:
    """A mean over channels: removed is not zeroed."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.conv2(x * torch.sigmoid(x.mean(1, keepdim=True)))

    return Net(forward, conv1=conv(1, 4), conv2=conv(4, 2))


def layer_norm() -> nn.Module:
    """Over channels and places at once."""
    return nn.Sequential(
        conv(1, 3), nn.ReLU(), conv(3, 4), nn.LayerNorm([4, 6, 6]), nn.ReLU(), conv(4, 2)
    )


def bessel() -> nn.Module:
    """An operator without a rule, after a convolution with nothing to fear."""

    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv3(torch.special.i0(net.conv2(F.relu(net.conv1(x)))))

    return Net(forward, conv1=conv(1, 3), conv2=conv(3, 4), conv3=conv(4, 2))


def picked() -> nn.Module:
    """One channel picked by its number, beside a road that can be pruned."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv2(F.relu(net.conv1(x)))
        return net.conv3(x * torch.sigmoid(x[:, 1].unsqueeze(1)))

    return Net(forward, conv1=conv(1, 3), conv2=conv(3, 4), conv3=conv(4, 2))


def first_channel_gates() -> nn.Module:
    """As `picked`, by a slice that keeps the dimension."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.conv2(x * torch.sigmoid(x[:, :1]))

    return Net(forward, conv1=conv(1, 4), conv2=conv(4, 2))


Toy = tuple[Callable[[], nn.Module], Any]

TOYS: dict[str, Toy] = {
    "plain": (plain, image()),
    "residual": (residual, image()),
    "preactivation": (preactivation, image()),
    "depthwise": (depthwise, image()),
    "depthwise with multiplier": (lambda: depthwise(2), image()),
    "grouped": (grouped, image()),
    "one filter a group": (one_filter_a_group, image()),
    "squeeze-excite": (squeeze_excite, image()),
    "squeeze-excite by linear layers": (squeeze_excite_linear, image()),
    "spatial gate": (spatial_gate, image()),
    "dense": (dense, image()),
    "concat of itself": (concat_itself, image()),
    "concat with the input": (concat_input, image(2)),
    "concat of places": (concat_places, image()),
    "stacked": (stacked, image()),
    "interleaved": (interleaved, image()),
    "flattened": (flattened, image()),
    "option A": (option_a, image()),
    "gated halves": (gated_halves, image()),
    "glu": (glu, image()),
    "shuffled": (shuffled, image()),
    "shuffled by module": (shuffled_by_module, image()),
    "pixels": (pixels, image()),
    "layer scale": (layer_scale, image()),
    "prelu": (prelu, image()),
    "transposed": (transposed, image()),
    "transposed grouped": (transposed_grouped, image()),
    "transposed depthwise": (transposed_depthwise, image()),
    "transposed depthwise with multiplier": (lambda: transposed_depthwise(2), image()),
    "one-dimensional": (one_dimensional, torch.zeros(2, 1, 12, dtype=torch.float64)),
    "three-dimensional": (three_dimensional, torch.zeros(2, 1, 6, 6, 6, dtype=torch.float64)),
    "recurrent head": (recurrent_head, image()),
    "several inputs and outputs": (several, (image(1), image(2))),
    "keyword inputs": (several, {"right": image(2), "left": image(1)}),
    "reused": (reused, image()),
    "tied": (tied, image()),
    "tied transposed": (tied_transposed, image()),
    "frozen": (frozen, image()),
    "unused": (unused, image()),
    "no affine": (no_affine, image()),
    "instance norm": (instance_norm, image()),
    "spread pooling": (spread_pooling, image()),
    "folded into batch": (folded_into_batch, image()),
    "channels last": (channels_last, image()),
    "normalised": (normalised, image()),
    "averaged over channels": (averaged_over_channels, image()),
    "layer norm": (layer_norm, image()),
    "bessel function": (bessel, image()),
    "picked": (picked, image()),
}
"""Name -> factory and example input. Something can be pruned in every one of them."""
