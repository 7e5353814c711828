"""Where a training run stands: parameters, the optimizer's moments, finished steps; one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hspace.atomic import writing


class TrainingState:
    """A network with AdamW and the number of finished steps; `more` are other tensors to keep, by name."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        self.params = dict(network.named_parameters())
        self.optimizer, self.seed, self.step = optimizer, seed, 0

    def more(self) -> Mapping[str, Tensor]:
        return {}

    def save(self, path: Path) -> None:
        tensors = dict(self.more())
        for name, p in self.params.items():
            moments = self.optimizer.state[p]
            tensors |= {
                f"param.{name}": p.detach(),
                f"m.{name}": moments["exp_avg"],
                f"v.{name}": moments["exp_avg_sq"],
            }
        metadata = {"step": str(self.step), "seed": str(self.seed)}
        with writing(path) as partial:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)

    def load(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            self.step, self.seed = int(file.metadata()["step"]), int(file.metadata()["seed"])
            for name, tensor in self.more().items():
                tensor.copy_(file.get_tensor(name))
            for name, p in self.params.items():
                p.copy_(file.get_tensor(f"param.{name}"))
                self.optimizer.state[p] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": file.get_tensor(f"m.{name}").to(p),
                    "exp_avg_sq": file.get_tensor(f"v.{name}").to(p),
                }
