"""One self-contained HTML page about a set of directions."""

from hspace.report.page import report

__all__ = ["report"]
