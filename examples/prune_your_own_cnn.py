"""Half the multiply-accumulates of a CNN of your own: prune, fine-tune, save.

    python examples/prune_your_own_cnn.py

The network is written below and Secateur knows nothing of it. It learns to tell ten generated
acoustic scenes apart; the clips that it is tested on are from places that it has not heard.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    of 180 clips               right        MACs  parameters
    as trained                 78.3%   2,078,336      12,698
    cut                        32.8%   1,018,532       6,539
    batch norm re-estimated    58.9%   1,018,532       6,539
    fine-tuned                 75.0%   1,018,532       6,539

Six clips fewer are no loss that one seed could show: `compare_criteria.py` says how much is chance.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes

OUT = Path("out/examples")


def conv_bn(n_in: int, n_out: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    conv = nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out))


class Residual(nn.Module):
    """Two convolutions and a sum: what is added moves together with what it is added to."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(n, n), conv_bn(n, n)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class Depthwise(nn.Module):
    """A filter for each channel, then a mixture: the filters move with the channels they see."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.filters = conv_bn(n_in, n_in, stride=2, groups=n_in)
        self.mixture = conv_bn(n_in, n_out, size=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.mixture(F.relu(self.filters(x))))


class SceneNet(nn.Module):
    """(batch, 1, mels, frames) -> (batch, 10)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = conv_bn(1, width, stride=2)
        self.residual = Residual(width)
        self.wider = conv_bn(width, 2 * width)
        self.depthwise = Depthwise(2 * width, 4 * width)
        self.classifier = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.residual(F.relu(self.stem(x)))
        x = self.depthwise(F.relu(self.wider(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    torch.manual_seed(0)
    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=32, seconds=1.0)
    table = prepare(scenes, mels, OUT / "cache")
    data, _ = split_of(table, *scenes.divided(fold=4))

    def accuracy(network: nn.Module) -> str:
        return f"{sc.evaluate(network, data.x_test, data.y_test).accuracy:.1%}"

    model, example = SceneNet(), data.x_test[:1]
    sc.fit(model, data.x_train, data.y_train, sc.Training(epochs=15, lr=0.1), seed=0)

    # Traced, scored, planned to the budget, proved on shapes, cut, and verified in numbers.
    pruned = sc.prune(model, example, macs="50%")
    print(pruned.channels)  # which channels move together; which cannot go, and why
    print(f"\n{pruned}")  # asked and reached, every width, how it was verified
    small, plan = pruned.network, pruned.plan

    found = {"as trained": accuracy(model), "cut": accuracy(small)}
    sc.reestimate_batch_norm(small, data.x_train)
    found["batch norm re-estimated"] = accuracy(small)
    gentle, teacher = sc.Training(epochs=8, lr=0.03), sc.distillation(model)
    sc.fit(small, data.x_train, data.y_train, gentle, seed=1, distil=teacher)
    found["fine-tuned"] = accuracy(small)

    print(f"\n{f'of {len(data.y_test)} clips':<24}{'right':>8}{'MACs':>12}{'parameters':>12}")
    for name, right in found.items():
        cost = plan.before if name == "as trained" else plan.after
        print(f"{name:<24}{right:>8}{cost.macs:>12,}{cost.params:>12,}")

    # The file holds tensors and the plan, no code and no pickle: the factory gives the code back.
    path = pruned.save(OUT / "small.safetensors")
    again = sc.load(path, build=SceneNet, example_input=example)
    same = torch.equal(again.eval()(data.x_test), small.eval()(data.x_test))
    print(f"\n{path} loads back, {'the same' if same else 'NOT the same'} answers")


if __name__ == "__main__":
    main()
