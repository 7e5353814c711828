"""Memory of this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hspace.planning.memory import held, peak, peak_from_here

SIZE = 2**27
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="others do not tell what is resident")


@ON_LINUX
def test_a_tensor_is_held_and_its_peak_remembered_until_it_is_forgotten() -> None:
    peak_from_here("cpu")
    before = held("cpu")
    tensor = torch.ones(SIZE, dtype=torch.uint8)
    assert SIZE * 0.9 < held("cpu") - before < SIZE * 1.3
    assert peak("cpu") - before > SIZE * 0.9
    del tensor
    assert held("cpu") - before < SIZE * 0.3
    assert peak("cpu") - before > SIZE * 0.9
    peak_from_here("cpu")
    assert peak("cpu") - before < SIZE * 0.3
