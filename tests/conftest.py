import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAITED = 60_000
"""Milliseconds that a test in a browser waits for what must come."""

settings.register_profile("regard", deadline=None)
settings.load_profile("regard")


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread_per_worker():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real photos and weights are not beside the repository: no {SHARED_DATA}")
    return SHARED_DATA


def no_browser(reason):
    """Tests in a browser are skipped, unless `REGARD_BROWSER=required` says that they must run."""
    if os.environ.get("REGARD_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests of a process: Playwright starts once in each."""
    try:
        from playwright import sync_api
    except ImportError:
        no_browser("playwright is not installed: it comes with the extra test")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        no_browser("there is no Chromium: make browser installs it")
    sync_api.expect.set_options(timeout=WAITED)
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()
