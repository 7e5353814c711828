"""What checks found, line by line."""

from __future__ import annotations

from dataclasses import dataclass

from hspace.errors import HspaceError

__all__ = ["Check", "CheckFailed", "Report"]


@dataclass(frozen=True)
class Check:
    """One line of a contract.

    Attributes:
        name: What was looked at.
        passed: Whether it holds.
        found: What was found, in words and numbers.
        required: Whether the package relies on it; else it is a hint, for people to judge.
    """

    name: str
    passed: bool
    found: str
    required: bool = True

    def __str__(self) -> str:
        mark = "ok" if self.passed else "FAIL" if self.required else "hint"
        return f"{mark:<5} {self.name:<28} {self.found}"


@dataclass(frozen=True)
class Report:
    """What was found of one model.

    Attributes:
        model_id: Of the model.
        checks: In the order in which they were made.

    Example:
        >>> from hspace.testing import Check, Report
        >>> print(Report("mine", (Check("finite", True, "at t = 99"), Check("deterministic", False, "0.1 apart"))))
        mine: 1 of 2 checks fails
        ok    finite                       at t = 99
        FAIL  deterministic                0.1 apart
    """

    model_id: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """What the package relies on and does not hold."""
        return tuple(check for check in self.checks if check.required and not check.passed)

    @property
    def passed(self) -> bool:
        """Whether all holds that the package relies on."""
        return not self.failures

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    def __str__(self) -> str:
        failed, n = len(self.failures), len(self.checks)
        result = f"{failed} of {n} checks fail{'s' if failed == 1 else ''}" if failed else f"{n} checks, none fails"
        return "\n".join([f"{self.model_id}: {result}", *map(str, self.checks)])


class CheckFailed(HspaceError, AssertionError):
    """Checks that fail, in one line.

    Attributes:
        report: All that was found.
    """

    def __init__(self, report: Report) -> None:
        listed = "; ".join(f"{check.name} ({check.found})" for check in report.failures)
        super().__init__(f"{report.model_id}: {len(report.failures)} of {len(report.checks)} checks fail: {listed}")
        self.report = report
