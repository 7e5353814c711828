"""What a long job will take before it is begun: time, memory, and bytes between processes.

Costs of the parts are measured in seconds on the device at hand (`measured`), or follow from counted operations and an
assumed throughput (`counted`, `at_throughput`); what many samples, steps and processes come to is arithmetic
(`planned`).
"""

from hspace.planning.costs import Costs, at_throughput, measured
from hspace.planning.counting import Pass, counted
from hspace.planning.plan import Plan, planned

__all__ = ["Costs", "Pass", "Plan", "at_throughput", "counted", "measured", "planned"]
