"""What goes wrong by the user's input, and what came out less good than asked for, said in one line."""

from __future__ import annotations

__all__ = ["HspaceError", "HspaceWarning"]


class HspaceError(ValueError):
    """Bad input, in one clear line: what was given, what was expected, what was found.

    The command line prints it without a stack trace and ends with exit code 2.

    Example:
        >>> from hspace.errors import HspaceError
        >>> str(HspaceError("steps must be at least 1, not 0"))
        'steps must be at least 1, not 0'
    """


class HspaceWarning(UserWarning):
    """A result that is worth less than what was asked for, such as one that has not converged."""
