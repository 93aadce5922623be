"""How Weight Skewness and its companions move, epoch by epoch, under ever stronger penalties.

    python examples/skewness_along_training.py

One network is trained four times; only the pull on its batch-norm scales differs. The picture shows
why Weight Skewness is not read alone: it is high in the first epochs, when nothing is sparse.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    shrink  right  WS (jackknife se)  Gini  Hoyer  PQ    inactive  dead  MACs without them
    0       73.9%  1.01 (0.27)        0.12  0.03   0.01     0.0%     0  100.0%
    0.5     76.7%  1.22 (0.20)        0.21  0.08   0.03     0.0%     0  100.0%
    1       72.2%  1.53 (0.22)        0.38  0.22   0.12     0.9%     1  98.9%
    2       73.3%  1.93 (0.27)        0.56  0.38   0.33    21.4%    20  77.6%
    without a penalty, where Weight Skewness was highest and at the end
      epoch 4: Weight Skewness 1.29, Gini index 0.04, share inactive 0.00
      epoch 20: Weight Skewness 1.01, Gini index 0.12, share inactive 0.00
"""

from pathlib import Path

import altair as alt
import torch

import secateur as sc
from secateur.networks.vgg import vgg
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes
from secateur.train.fit import Epoch

OUT = Path("out/examples")
MEASURES = {"ws": "Weight Skewness", "gini": "Gini index", "inactive": "share inactive"}
SHRINKS = (0.0, 0.5, 1.0, 2.0)
"""How far the penalty alone would move a scale in the whole training; scales start at 1."""

Row = dict[str, float | str | None]


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=32, seconds=1.0)
    data, _ = split_of(prepare(scenes, mels, OUT / "cache"), *scenes.divided(fold=4))
    x, y, example = data.x_train, data.y_train, data.x_train[:1]
    training = sc.Training(epochs=20, lr=0.1)

    rows: list[Row] = []
    plain: tuple[Epoch, ...] = ()
    print("shrink  right  WS (jackknife se)  Gini  Hoyer  PQ    inactive  dead  MACs without them")
    for shrink in SHRINKS:
        torch.manual_seed(0)
        model = vgg(width=8)
        channels = sc.trace(model, example)
        strength = sc.strength_for_shrink(shrink, training, len(x), proximal=True)
        penalty = sc.BnL1Proximal(strength, sc.prunable_scales(channels))
        history = sc.fit(model, x, y, training, seed=0, penalty=penalty, channels=channels)
        plain = plain or history.epochs
        rows += [
            {"shrink": f"{shrink:g}", "epoch": epoch.epoch, "measure": title, "value": value}
            for epoch in history.epochs
            for name, title in MEASURES.items()
            if (value := epoch.sparsity[name]) is not None
        ]
        # The last epoch with every index, and the channels that make no difference to any answer.
        *_, found = sc.skewness(channels)
        dead = sc.dead_channels(channels)
        plan = sc.plan_dead(channels, dead)
        right = sc.evaluate(model, data.x_test, data.y_test).accuracy
        print(
            f"{shrink:<8g}{right:.1%}  {found.ws:.2f} ({found.ws_jackknife_se:.2f})        "
            f"{found.gini:.2f}  {found.hoyer:.2f}   {found.pq_index:.2f}  "
            f"{found.inactive_share:>7.1%}  {sum(map(len, dead.reasons.values())):>4}  "
            f"{plan.after.macs / plan.before.macs:.1%}"
        )

    print("\nwithout a penalty, where Weight Skewness was highest and at the end")
    for epoch in (max(plain, key=lambda epoch: epoch.sparsity["ws"] or 0), plain[-1]):
        told = ", ".join(f"{MEASURES[name]} {epoch.sparsity[name]:.2f}" for name in MEASURES)
        print(f"  epoch {epoch.epoch}: {told}")
    print(f"\nwrote {picture(rows, OUT / 'skewness.svg')}")


def picture(rows: list[Row], path: Path) -> Path:
    """One panel a measure, one line a penalty, as SVG."""
    panels = [
        alt.Chart(alt.InlineData(values=[row for row in rows if row["measure"] == title]))
        .mark_line()
        .encode(
            x=alt.X("epoch:Q"),
            y=alt.Y("value:Q", title=title),
            color=alt.Color("shrink:O", title="total shrink", scale=alt.Scale(scheme="viridis")),
        )
        .properties(width=240, height=200)
        for title in MEASURES.values()
    ]
    alt.hconcat(*panels).save(str(path))
    return path


if __name__ == "__main__":
    main()
