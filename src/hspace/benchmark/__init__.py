"""Methods against each other on pictures whose factors are known."""

from hspace.benchmark.markdown import table
from hspace.benchmark.meter import Meter
from hspace.benchmark.methods import METHODS
from hspace.benchmark.run import run
from hspace.benchmark.task import Task, portraits

__all__ = ["METHODS", "Meter", "Task", "portraits", "run", "table"]
