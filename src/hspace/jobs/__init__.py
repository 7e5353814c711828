"""Long work: shared by many processes, saved while it goes on, resumed to the same result.

A job is one or several passes over rows (seeds, pictures), and what a pass finds is a `Fold`: tensors and JSON that
grow batch by batch. Each process of the job takes a contiguous share of the rows (`Job.stage`), saves its fold from
time to time (`Checkpoint`), and in the end the folds are merged in the order of the rows (`World`), so that every
process returns what one alone would have.
"""

from hspace.jobs.folds import Fold, Table, Together
from hspace.jobs.job import Job, Stage
from hspace.jobs.packing import State
from hspace.jobs.saving import Checkpoint
from hspace.jobs.world import LostProcess, World, alone, world

__all__ = [
    "Checkpoint",
    "Fold",
    "Job",
    "LostProcess",
    "Stage",
    "State",
    "Table",
    "Together",
    "World",
    "alone",
    "world",
]
