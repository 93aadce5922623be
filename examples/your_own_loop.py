"""A training script of one's own, and the few lines that prune in it: three steps, then INT8.

    python examples/your_own_loop.py

A MobileNet with squeeze-and-excite, trained by a plain PyTorch loop: AdamW, a cosine schedule, an
average of the weights (EMA), bfloat16. Before three of its epochs it is cut, in the end to half of
its multiply-accumulates, in multiples of eight channels; optimizer, schedule and average go on. A
run that is killed goes on where it was when it is started again. The statements that prune are
marked `# prune`.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    epoch 6: 54.4% of 180 clips right, 33.3% by EMA
    cut 1: 82.2% of the MACs, 32.2% right
    epoch 9: 64.4% of 180 clips right, 63.3% by EMA
    cut 2: 66.4% of the MACs, 36.7% right
    epoch 12: 63.3% of 180 clips right, 61.1% by EMA
    cut 3: 45.6% of the MACs, 37.8% right
    epoch 15: 56.7% of 180 clips right, 54.4% by EMA
    latency, ms                                   before                 after    left
    torch, eager                            3.2 (3–3.75)       3.1 (2.89–3.73)     97%
    ONNX Runtime, model.onnx          0.23 (0.164–0.333)    0.16 (0.119–0.245)     70%
    ONNX Runtime, model.int8.onnx     0.23 (0.164–0.333)    0.209 (0.15–0.314)     91%

MACs are not time: a network as small as this one, run clip by clip, gains less than half.
`docs/loops.md` has the same step by step; `docs/budgets.md` says how to ask for milliseconds.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import secateur as sc
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes

OUT = Path("out/examples")
STATE = OUT / "loop.pt"
EPOCHS, CUT_AT = 15, (6, 9, 12)


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


def train(
    network: nn.Module, ema: AveragedModel, optimizer: Optimizer, x: Tensor, y: Tensor
) -> None:
    network.train()
    for batch in torch.randperm(len(x)).split(32):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update_parameters(network)
    network.eval()


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=32, seconds=1.0)
    data, _ = split_of(prepare(scenes, mels, OUT / "cache"), *scenes.divided(fold=4))
    x, y, example = data.x_train, data.y_train, data.x_test[:1]

    def right(network: nn.Module) -> str:
        with torch.no_grad():
            return f"{(network(data.x_test).argmax(1) == data.y_test).float().mean():.1%}"

    torch.manual_seed(0)
    network = model = build()
    before = torch.load(STATE, weights_only=True) if STATE.exists() else None  # killed?
    plans = [sc.PruningPlan.from_json(text) for text in before["plans"]] if before else []  # prune
    cuts = sc.prune_steps(  # prune
        model, example, macs="50%", steps=len(CUT_AT), round_to=8, resume=plans or None
    )
    step = None
    if plans:
        step = next(cuts)  # prune
        network = step.network
    optimizer = AdamW(network.parameters(), lr=3e-3)
    scheduler = CosineAnnealingLR(optimizer, EPOCHS)
    ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
    if before:
        network.load_state_dict(before["network"])
        ema.load_state_dict(before["ema"])
        optimizer.load_state_dict(before["optimizer"])
        scheduler.load_state_dict(before["scheduler"])

    for epoch in range(before["epoch"] + 1 if before else 0, EPOCHS):
        torch.manual_seed(epoch)
        if epoch in CUT_AT:
            step = next(cuts)  # prune
            step.take_along(optimizer)  # prune
            ema.module = step.cut_along(ema.module)  # prune
            network = step.network
            left = step.plan.after.macs / step.steps[0].plan.before.macs
            print(f"cut {len(step.steps)}: {left:.1%} of the MACs, {right(network.eval())} right")
        train(network, ema, optimizer, x, y)
        scheduler.step()
        if epoch + 1 in (*CUT_AT, EPOCHS):
            n, averaged = len(data.y_test), right(ema.eval())
            print(f"epoch {epoch + 1}: {right(network)} of {n} clips right, {averaged} by EMA")
        state = {"network": network, "ema": ema, "optimizer": optimizer, "scheduler": scheduler}
        saved = {name: part.state_dict() for name, part in state.items()} | {"epoch": epoch}
        saved["plans"] = [one.plan.to_json() for one in step.steps] if step else []  # prune
        torch.save(saved, STATE.with_suffix(".new"))
        STATE.with_suffix(".new").replace(STATE)  # whole or not at all

    assert step is not None
    small = replace(step, network=ema.module.eval())  # prune
    print(small)
    small.save(OUT / "loop.safetensors")  # prune
    card = sc.export(small, example, OUT / "loop", calibration=x, dynamic="batch")
    print(card.latency)
    STATE.unlink()


if __name__ == "__main__":
    main()
