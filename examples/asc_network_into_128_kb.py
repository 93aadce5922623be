"""An acoustic scene classifier into what DCASE Task 1 allows: 128 kB of parameters, 30 MMACs.

    python examples/asc_network_into_128_kb.py

A ResNet nearly four times too large for the rule of 2022 is cut to it, fine-tuned and, where the
extra is there (docs/installing.md), written as ONNX and as INT8 with a model card.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    fine-tuned, 71.7% right
      dcase2022: fits; parameters 118,922 of 128,000 bytes at int8, 6,817,472 of 30,000,000 MACs
      dcase2023: fits; parameters 126,069 of 128,000 bytes at int8, 6,817,472 of 30,000,000 MACs
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import secateur as sc
from secateur.deploy.device import DEVICES
from secateur.deploy.session import check_installed
from secateur.networks.resnet import resnet
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes

OUT = Path("out/examples")
DEVICE = DEVICES["dcase2022"]
WIDTH = 40


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    torch.manual_seed(0)
    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=160, n_mels=64, seconds=1.0)
    data, _ = split_of(prepare(scenes, mels, OUT / "cache"), *scenes.divided(fold=4))
    x, y, example = data.x_train, data.y_train, data.x_train[:1]

    def right(network: torch.nn.Module) -> str:
        return f"{sc.evaluate(network, data.x_test, data.y_test).accuracy:.1%} right"

    model = resnet(width=WIDTH)
    sc.fit(model, x, y, sc.Training(epochs=6, lr=0.05), seed=0)
    print(f"as trained, {right(model)}; {DEVICE.check(sc.cost(sc.trace(model, example)))}")

    # The device's limits are the budget. Whether they can be met at all is said before any work.
    pruned = sc.prune(
        model,
        example,
        macs=DEVICE.max_macs,
        bytes=f"{DEVICE.max_bytes}@{DEVICE.dtype}",
        round_to=8,
        criterion="taylor_fo",
        scope="global",
        normalisation="mean",
        calibration=list(zip(torch.split(x, 32), torch.split(y, 32), strict=True)),
        loss_fn=F.cross_entropy,
    )
    print(pruned)

    small = pruned.network
    print(f"cut and repaired, {right(small)}; {DEVICE.check(pruned.plan.after)}")
    gentle = sc.Training(epochs=4, lr=0.02)
    sc.fit(small, x, y, gentle, seed=1, distil=sc.distillation(model))
    print(f"fine-tuned, {right(small)}")
    weights = pruned.save(OUT / "asc.safetensors")

    try:
        check_installed()
    except sc.SecateurError as error:
        print(f"\nno ONNX: {error}")
        return

    # From here on by the command line, as it would be with weights from anywhere.
    np.savez(OUT / "calibration.npz", input=x[::4].numpy())
    np.savez(OUT / "test.npz", input=data.x_test.numpy(), target=data.y_test.numpy())
    arguments = (
        f"secateur.networks.resnet:resnet --arg width={WIDTH} --weights {weights} --input 1x64x101 "
        f"--int8 --calibration {OUT}/calibration.npz --test {OUT}/test.npz "
        f"--device {DEVICE.name} --out {OUT}/asc"
    )
    print("\nsecateur export", arguments, flush=True)
    words = ["--data", "540 generated clips", "--training", "6 epochs, cut, 4 epochs"]
    command = [sys.executable, "-m", "secateur.cli", "export", *arguments.split(), *words]
    subprocess.run(command, check=True)  # exit code 1 if the INT8 file did not fit the device


if __name__ == "__main__":
    main()
