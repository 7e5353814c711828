"""What holds for every test: no network, shapes checked at run time, deterministic properties."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Read at import by diffusers and huggingface_hub: before anything that imports them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DIFFUSERS_VERBOSITY"] = "error"
os.environ["MPLBACKEND"] = "Agg"
# Read by torch: tensors of tests are tiny, and threads would wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Every annotated shape and type of hspace is checked by beartype in each call that a test makes. An int passes for a
# float, as it does for mypy.
install_import_hook("hspace", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

settings.register_profile("hspace", deadline=None, max_examples=15, derandomize=True)
settings.load_profile("hspace")

pytest_plugins = ["tests.browser"]  # for pages: its fixtures

SHARED_MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


def pytest_configure() -> None:
    """A shell starts what runs in the background with Ctrl-C ignored; tests that press it run there too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    state = "present" if SHARED_MODELS.is_dir() else "absent, tests of them are skipped"
    return f"pretrained models beside the repository (../shared/models): {state}"


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of real pretrained models beside the repository; without it the test is skipped."""
    if not SHARED_MODELS.is_dir():
        pytest.skip("no ../shared/models beside the repository")
    return SHARED_MODELS
