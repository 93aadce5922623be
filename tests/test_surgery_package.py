"""Networks as files: what is saved comes back, what does not fit is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from contracts import check_twins, plan_as_cut, plan_of, randomised, same_state, state_of
from secateur.channels.trace import trace
from secateur.errors import PackageError, StorageError
from secateur.plan.plan import PruningPlan
from secateur.surgery.cut import cut
from secateur.surgery.package import load, read, save
from secateur.surgery.weights import load_weights
from toys import TOYS, depthwise, image, plain, tied


@pytest.mark.parametrize("name", TOYS)
def test_a_cut_network_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    build, example = TOYS[name]
    model = randomised(build())
    channels = trace(model, example)
    plan = plan_of(channels, {group.name: (0,) for group in channels.groups})
    small = cut(channels, plan).network
    path = save(small, tmp_path / "deep" / "small.safetensors", plan)
    again = load(path, lambda: build().double())
    assert same_state(again, state_of(small))
    _, metadata = read(path)
    assert metadata["network"] == type(model).__name__


def test_the_plan_travels_with_the_network(tmp_path: Path) -> None:
    model = randomised(plain())
    plan = plan_of(trace(model, image()), {"0": (1,)})
    path = save(model, tmp_path / "net.safetensors", plan)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        assert PruningPlan.from_json(json.dumps(json.loads(file.metadata()["plans"])[0])) == plan


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = dict(plain().state_dict())
    for text in ("{", "[3]", '{"shapes": 3, "kept": {}, "widths": {}}'):
        save_file(tensors, tmp_path / "net.safetensors", {"plans": text})
        with pytest.raises(PackageError, match=r"net.safetensors: its plans cannot be read"):
            load(tmp_path / "net.safetensors", plain)


def test_the_plan_in_the_file_is_held_against_the_factory(tmp_path: Path) -> None:
    model = randomised(plain())
    plan = plan_of(trace(model, image()), {"0": (1,)})
    small = cut(trace(model, image()), plan).network
    path = save(small, tmp_path / "small.safetensors", plan)
    again = load(path, lambda: plain().double(), image())
    assert same_state(again, state_of(small))
    with pytest.raises(PackageError, match=r"small.safetensors: the plan was made for network"):
        load(path, lambda: depthwise().double(), image())
    uncut = save(model, tmp_path / "uncut.safetensors", plan)
    with pytest.raises(PackageError, match=r"'0.weight' is \(4, 1, 3, 3\), its plan leaves \(3, 1"):
        load(uncut, lambda: plain().double(), image())
    bare = save(small, tmp_path / "bare.safetensors")
    with pytest.raises(PackageError, match="holds no plan to check"):
        load(bare, lambda: plain().double(), image())


def test_shared_weights_are_stored_once_and_shared_again(tmp_path: Path) -> None:
    path = save(tied(), tmp_path / "tied.safetensors")
    assert "3.weight" not in read(path)[0]
    again = load(path, tied)
    assert again[3].weight is again[1].weight


def test_weights_are_filled_in_place(tmp_path: Path) -> None:
    source, target = randomised(depthwise(), 1), randomised(depthwise(), 2)
    load_weights(target, save(source, tmp_path / "net.safetensors"))
    assert same_state(target, state_of(source))


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"no file .*gone.safetensors"):
        load(tmp_path / "gone.safetensors", plain)
    for content in (b"", b"not a network", b"\xff" * 100):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(PackageError, match="not a readable safetensors file"):
            load(tmp_path / "broken", plain)


def test_another_network_s_file_is_refused(tmp_path: Path) -> None:
    path = save(plain(), tmp_path / "net.safetensors")
    with pytest.raises(PackageError, match="does not fit Sequential: it lacks"):
        load(path, depthwise)
    wide = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3))
    path = save(wide, tmp_path / "wide.safetensors")
    with pytest.raises(PackageError, match="channels can only have gone"):
        load(path, plain)
    with pytest.raises(PackageError, match="arguments it was trained with"):
        load_weights(plain(), path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = plain()
    with torch.no_grad():
        broken[3].weight[0] = torch.inf
    path = save(broken, tmp_path / "net.safetensors")
    target = randomised(plain()).float()
    before = state_of(target)
    with pytest.raises(PackageError, match=r"'3.weight' holds NaN or infinite"):
        load_weights(target, path)
    assert same_state(target, before)


def test_counters_of_batches_may_be_absent(tmp_path: Path) -> None:
    source = randomised(plain(), 1)
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "net.safetensors")
    target = randomised(plain(), 2)
    load_weights(target, tmp_path / "net.safetensors")
    assert same_state(target, state_of(source))


def test_a_failed_save_leaves_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        save(plain(), tmp_path / "file" / "net.safetensors")
    assert (tmp_path / "file").read_text() == "in the way"


class Gate(nn.Module):
    """Halves by an attribute of its own, which no tensor shows."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.width, self.conv = width, nn.Conv2d(n_in, 2 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, g = self.conv(x).split([self.width, self.width], 1)
        return a * g.sigmoid()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("with_plan", [False, True])
def test_sizes_in_attributes_come_back_after_one_cut_and_after_many(
    steps: int, with_plan: bool, tmp_path: Path
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(Gate(1, 16), Gate(16, 8), nn.Conv2d(8, 2, 1)).double().eval()

    model = small = randomised(build())
    x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    for _ in range(steps):
        channels = trace(small, x)
        plan = plan_as_cut(channels, plan_of(channels, dict.fromkeys(channels.by_name, (0, 1))))
        small = cut(channels, plan).network
    assert [small[0].width, small[1].width] == [16 - 2 * steps, 8 - 2 * steps]
    path = save(small, tmp_path / "small.safetensors", plan if with_plan else None)
    again = load(path, build)
    assert [again[0].width, again[1].width] == [small[0].width, small[1].width]
    check_twins(again, small, x)
    assert model[0].width == 16


@pytest.mark.parametrize("sizes", ["{", "[1]", '{"": 3}', '{"": {"width": "wide"}}', "[" * 9999])
def test_damaged_sizes_are_refused(sizes: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.safetensors"
    save_file(Gate(1, 2).state_dict(), path, {"format": "secateur.network/1", "sizes": sizes})
    with pytest.raises(PackageError, match=r"gate\.safetensors: what it says of sizes"):
        load(path, lambda: Gate(1, 2))
