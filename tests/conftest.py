from pathlib import Path

import pytest
import torch
from hypothesis import settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

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
