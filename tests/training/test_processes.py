"""Where the network of each of several processes goes."""

import pytest

from regard.training.processes import own_device


@pytest.mark.parametrize(
    ("place", "asked", "given"),
    [
        (None, "cuda", "cuda"),
        ("1", "cuda", "cuda:1"),
        ("0", "cuda", "cuda:0"),
        ("1", "cuda:0", "cuda:0"),
        ("1", "cpu", "cpu"),
        ("1", "mps", "mps"),
    ],
)
def test_each_of_several_processes_has_the_gpu_of_its_place(place, asked, given, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if place is not None:
        monkeypatch.setenv("LOCAL_RANK", place)
    assert own_device(asked) == given
