"""A trained shift control module with the circumstances it was trained in: to use, to save, to open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor

from hspace import tensorfile
from hspace.diffusion import RunChange, Sampler, Setting
from hspace.errors import HspaceError
from hspace.learning.shift import GlobalShift, Shift, make_shift
from hspace.learning.span import Span

__all__ = ["ShiftNetwork"]

_FORMAT = "hspace-shift-1"


@dataclass(frozen=True, eq=False)
class ShiftNetwork:
    """A module that shifts h; a block's shift depends on h, which no vector can carry.

    Attributes:
        shift: The module.
        setting: Model, tap, grid and injection of its training.

    Example:
        >>> import torch, hspace
        >>> from hspace.learning import ShiftNetwork, Span, make_shift
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2, eta=0.0)
        >>> span = Span(torch.zeros(2, 8192), torch.ones(2))
        >>> shift = make_shift("global", "fixed", span, sampler.timesteps, 3, (128, 8, 8), seed=0)
        >>> network = ShiftNetwork(shift, sampler.setting())
        >>> sampler.run(range(2), edit=network.change(sampler, kinds=[0, 2], strengths=[3.0, -3.0])).shape
        torch.Size([2, 3, 64, 64])
    """

    shift: Shift
    setting: Setting

    def change(self, sampler: Sampler, kinds: Sequence[int] | Tensor, strengths: Sequence[float] | Tensor) -> RunChange:
        """For `sampler.run(seeds, edit=...)`; the module moves to the sampler's device.

        Args:
            sampler: That will run.
            kinds: (n,) type of shift of each row.
            strengths: (n,).

        Raises:
            HspaceError: A sampler of another model, tap or grid; a type that there is not; numbers of types and
                strengths that differ, or, as it runs, fewer than rows.
        """
        if sampler.setting(self.setting.injection) != self.setting:
            self.setting.check_same_space(sampler.setting())
            raise HspaceError(
                "a shift network works on the grid (steps, eta) it was trained on; export directions to use others"
            )
        which, how_far = torch.as_tensor(kinds), torch.as_tensor(strengths, dtype=torch.float32)
        if len(which) != len(how_far):
            raise HspaceError(f"{len(which)} types of shift, but {len(how_far)} strengths: give one of each for a row")
        if len(which) and not (int(which.min()) >= 0 and int(which.max()) < self.shift.n):
            raise HspaceError(
                f"types of shift are 0 to {self.shift.n - 1}, not {int(which.min())} to {int(which.max())}"
            )
        self._move(sampler.model.device)

        def change(timestep: int, h: Tensor, where: slice) -> Tensor:
            if where.stop > len(which):
                raise HspaceError(f"{len(which)} types of shift are too few: the run has {where.stop} rows or more")
            changed: Tensor = self.shift(timestep, h, which[where].to(h.device), how_far[where].to(h.device))
            return changed

        return RunChange(change, self.setting.injection)

    def save(self, path: str | PathLike[str]) -> None:
        """One safetensors file.

        Raises:
            HspaceError: It can't be written.
        """
        span = self.shift.span
        tensors = {f"shift.{name}": value for name, value in self.shift.state_dict().items()}
        tensors |= {"mean": span.mean, "rms": span.rms}
        if span.axes is not None and span.deviations is not None:
            tensors |= {"axes": span.axes, "deviations": span.deviations}
        kind = "global" if isinstance(self.shift, GlobalShift) else "block"
        orthogonal = any("parametrizations" in name for name in tensors)
        header = {
            "setting": self.setting.to_json(),
            "kind": kind,
            "parametrisation": "ortho" if orthogonal else "linear",
            "n": self.shift.n,
        }
        tensorfile.write(path, _FORMAT, header, tensors)

    @classmethod
    def load(cls, path: str | PathLike[str], device: torch.device | str = "cpu") -> ShiftNetwork:
        """Open such a file.

        Raises:
            HspaceError: Not such a file, or a damaged one.
        """
        header, found = tensorfile.read(path, _FORMAT, "a shift network")
        try:
            setting = Setting.from_json(header["setting"])
            span = Span(found["mean"], found["rms"], found.get("axes"), found.get("deviations"))
            shift = make_shift(
                header["kind"],
                header["parametrisation"],
                span,
                setting.timesteps,
                header["n"],
                setting.h_shape,
                seed=0,
            )
            shift.load_state_dict({k.removeprefix("shift."): v for k, v in found.items() if k.startswith("shift.")})
        except (KeyError, TypeError, RuntimeError, HspaceError) as error:
            raise HspaceError(f"{path}: no readable shift network ({str(error).splitlines()[0]})") from error
        if not all(bool(value.isfinite().all()) for value in found.values()):
            raise HspaceError(f"{path}: a shift network with NaN or infinite numbers")
        network = cls(shift.requires_grad_(False), setting)
        network._move(torch.device(device))
        return network

    def _move(self, device: torch.device) -> None:
        """With its span, which is no part of the module's state."""
        if self.shift.span.mean.device != device:
            self.shift.span = self.shift.span.to(device)
        self.shift.to(device)
