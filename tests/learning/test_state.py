"""The state of a training on disk: all of it comes back, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hspace import tensorfile
from hspace.errors import HspaceError
from hspace.learning.state import read_state, write_state

FORMAT = "hspace-learning-1"
OPTIONS = {"seed": 0, "noise": 0.1, "patience": None}
SAME = {"options": OPTIONS, "seeds": "0-9"}


class Parts:
    """A module with a buffer, frozen and unused parameters; two optimizers; tensors."""

    def __init__(self, seed: int, width: int = 3) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.module = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2)).double()
            self.other = nn.Linear(2, 2)
            self.unused = nn.Linear(2, 2)
        self.module[0].bias.requires_grad_(False)
        self.adam = torch.optim.Adam([*self.module.parameters(), *self.unused.parameters()], 0.1)
        self.second = torch.optim.Adam(self.other.parameters(), 0.1, betas=(0.0, 0.99))
        self.tensors = {"ring": {"rows": torch.zeros(3, dtype=torch.int64), "images": torch.zeros(3, 2)}}

    def all(self) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer], dict[str, dict[str, Tensor]]]:
        modules: dict[str, nn.Module] = {"module": self.module, "other": self.other}
        return modules, {"adam_module": self.adam, "adam": self.second}, self.tensors

    def step(self, seed: int) -> None:
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).double()
        self.adam.zero_grad()
        self.second.zero_grad()
        self.other(self.module(x).float()).square().sum().backward()
        self.adam.step()
        self.second.step()
        self.tensors["ring"]["rows"][seed % 3] += seed
        self.tensors["ring"]["images"][seed % 3] = x[:2, 0].float()

    def numbers(self) -> list[Tensor]:
        found = [*self.module.state_dict().values(), *self.other.state_dict().values()]
        for optimizer in (self.adam, self.second):
            states = optimizer.state_dict()["state"]
            found += [states[i][name] for i in sorted(states) for name in sorted(states[i])]
        return [*found, *self.tensors["ring"].values()]


def saved(path: Path, steps: int = 3) -> Parts:
    parts = Parts(0)
    for seed in range(steps):
        parts.step(seed)
    write_state(path, {**SAME, "iteration": steps}, *parts.all())
    return parts


def identical(a: Parts, b: Parts) -> None:
    for x, y in zip(a.numbers(), b.numbers(), strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


@pytest.mark.parametrize("steps", [0, 3])
def test_all_of_it_comes_back_and_goes_on_alike(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "new" / "state.safetensors"
    parts, again = saved(path, steps), Parts(1)
    again.step(9)
    if steps == 0:
        again = Parts(1)
    header = read_state(path, SAME, *again.all())
    assert header["iteration"] == steps
    identical(parts, again)
    for seed in range(3, 6):
        parts.step(seed)
        again.step(seed)
    identical(parts, again)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"options": {**OPTIONS, "seed": 1}}, "its seed 0, here 1"),
        ({"options": {**OPTIONS, "noise": 0.2}}, "its noise 0.1, here 0.2"),
        ({"options": {**OPTIONS, "patience": 3}}, "its patience None, here 3"),
        ({"options": {**OPTIONS, "new": 5}}, "its new None, here 5"),
        ({"seeds": "0-8"}, "its seeds 0-9, here 0-8"),
        ({"setting": "x"}, "its setting None, here x"),
    ],
)
def test_another_training_is_refused_by_what_differs(tmp_path: Path, expected: dict[str, Any], message: str) -> None:
    path = tmp_path / "state.safetensors"
    saved(path)
    parts, untouched = Parts(1), Parts(1)
    with pytest.raises(HspaceError) as caught:
        read_state(path, {**SAME, **expected}, *parts.all())
    text = str(caught.value)
    assert text.startswith(f"{path} is of another training: ")
    assert len(text) < len(str(path)) + 80
    assert text.endswith(message)
    identical(parts, untouched)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    saved(path)
    with pytest.raises(HspaceError, match=r"state\.safetensors is incomplete or of another training \(.+\)$"):
        read_state(path, SAME, *Parts(1, width=5).all())


@pytest.mark.parametrize("missing", ["module.0.weight", "module.1.running_mean", "other.bias", "ring.images"])
def test_something_missing(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "state.safetensors"
    saved(path)
    header, found = tensorfile.read(path, FORMAT, "")
    header.pop("format")
    tensorfile.write(path, FORMAT, header, {name: x for name, x in found.items() if name != missing})
    with pytest.raises(HspaceError, match=r"state\.safetensors is incomplete or of another training"):
        read_state(path, SAME, *Parts(1).all())


def test_a_file_that_was_cut_off_and_one_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    saved(path)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 4, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(HspaceError, match=r"state\.safetensors: no readable safetensors file, truncated perhaps"):
            read_state(path, SAME, *Parts(1).all())
    tensorfile.write(path, "hspace-directions-1", {}, {"x": torch.zeros(1)})
    with pytest.raises(HspaceError, match="expected a file of format hspace-learning-1, found hspace-directions-1"):
        read_state(path, SAME, *Parts(1).all())
    with pytest.raises(HspaceError, match="expected a file of a training's state, found nothing"):
        read_state(tmp_path / "none.safetensors", SAME, *Parts(1).all())


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    parts = saved(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_state(path, {"not JSON": {1, 2}}, *parts.all())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
