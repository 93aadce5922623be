"""A training script of one's own, and the few lines that prune in it: three steps, then INT8.

    python examples/your_own_loop.py

A MobileNet with squeeze-and-excite, trained by a plain PyTorch loop with AdamW. It is cut to half
of its multiply-accumulates in three steps, in multiples of eight channels, and trained on between
them with the optimizer that comes along. The statements that prune are marked `# prune`.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    trained: 65.0% of 180 clips right
    step 1: 82.2% of the MACs, 35.6% right, 60.6% on
    step 2: 66.4% of the MACs, 42.8% right, 62.8% on
    step 3: 45.6% of the MACs, 29.4% right, 62.8% on
    before: 1.81 ms
    after: 1.80 ms

MACs are not time: a network as small as this one, run clip by clip, is no faster for the cut.
`docs/budgets.md` says how to ask for milliseconds.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

import secateur as sc
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes

OUT = Path("out/examples")


def conv(n_in: int, n_out: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    made = nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(made, nn.BatchNorm2d(n_out))


class Excite(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(n, n // 4, 1), nn.Conv2d(n // 4, n, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        wide = 4 * n_in
        self.expand, self.filters = conv(n_in, wide), conv(wide, wide, 3, stride, wide)
        self.gate, self.project = Excite(wide), conv(wide, n_out)
        self.residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.gate(F.relu(self.filters(F.relu(self.expand(x))))))
        return x + y if self.residual else y


def build() -> nn.Module:
    blocks = [Block(16, 24, 2), Block(24, 24), Block(24, 40, 2), Block(40, 40)]
    head = [conv(40, 96), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)]
    return nn.Sequential(conv(1, 16, 3, 2), nn.ReLU(), *blocks, *head)


def train(network: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor, epochs: int) -> None:
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    network.eval()


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    torch.manual_seed(0)
    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=32, seconds=1.0)
    data, _ = split_of(prepare(scenes, mels, OUT / "cache"), *scenes.divided(fold=4))
    x, y, example = data.x_train, data.y_train, data.x_test[:1]

    def right(network: nn.Module) -> str:
        with torch.no_grad():
            return f"{(network(data.x_test).argmax(1) == data.y_test).float().mean():.1%}"

    model = build()
    optimizer = AdamW(model.parameters(), lr=3e-3)
    train(model, optimizer, x, y, epochs=12)
    print(f"trained: {right(model)} of {len(data.y_test)} clips right")

    cuts = sc.prune_steps(  # prune
        model, example, macs="50%", steps=3, round_to=8, optimizer=optimizer
    )
    for step in cuts:  # prune
        cut = right(step.network.eval())
        assert step.optimizer is not None
        train(step.network, step.optimizer, x, y, epochs=4)
        left = step.plan.after.macs / step.steps[0].plan.before.macs
        print(
            f"step {len(step.steps)}: {left:.1%} of the MACs, {cut} right, {right(step.network)} on"
        )
    print(step)  # prune
    step.save(OUT / "loop.safetensors")  # prune

    sc.export_onnx(step.network, example, OUT / "loop.onnx")
    sc.quantise(OUT / "loop.onnx", OUT / "loop.int8.onnx", x.numpy())
    for name, network in (("before", model), ("after", step.network)):
        print(f"{name}: {sc.measured_latency_ms(network, example):.2f} ms")


if __name__ == "__main__":
    main()
