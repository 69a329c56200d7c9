"""Where the numbers of a run come from."""

import sys

import pytest

from regard.provenance import typed, versions


@pytest.mark.parametrize(
    ("program", "ours"),
    [
        ("/usr/bin/regard", True),
        ("regard.exe", True),
        ("/lib/regard/__main__.py", True),
        ("/lib/ipykernel_launcher.py", False),
        ("/lib/pytest/__main__.py", False),
        ("", False),
    ],
)
def test_what_was_typed_is_known_where_regard_was_called(monkeypatch, program, ours):
    monkeypatch.setattr(sys, "argv", [program, "evaluate", "photos"])
    assert typed() == (["evaluate", "photos"] if ours else None)


def test_versions_are_those_of_what_numbers_depend_on():
    import torch

    found = versions()
    assert found["torch"] == torch.__version__
    assert {"python", "platform", "regard", "numpy"} <= found.keys()
