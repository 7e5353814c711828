"""For tests of adapters of your own: what the package asks of a model, checked on it line by line."""

from hspace.testing.denoiser import check_denoiser
from hspace.testing.report import Check, CheckFailed, Report

__all__ = ["Check", "CheckFailed", "Report", "check_denoiser"]
