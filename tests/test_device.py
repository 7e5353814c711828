"""Errors that mean out of memory, by torch itself and by their text."""

from __future__ import annotations

import pytest
import torch

from hspace.device import free_memory, is_out_of_memory, sent


def test_the_cpu_runs_out_of_memory_for_real() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RuntimeError(), False),
        (MemoryError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_which_errors_a_smaller_batch_may_heal(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_memory_can_be_freed_anywhere_and_tensors_stay_where_they_are() -> None:
    free_memory()
    x = torch.ones(3)
    assert sent(x, torch.device("cpu")) is x
    assert sent(x, torch.device("meta")).is_meta
