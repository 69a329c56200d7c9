"""What is read of any of regard's own safetensors files."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file

from regard.errors import FileFormatError
from regard.models.safetensors_header import read_safetensors_header


@dataclass(frozen=True)
class Label:
    maker: str
    size: int = 3


def headed(folder, header):
    save_file({"a": torch.zeros(1)}, folder / "file", metadata={"regard": json.dumps(header)})
    return folder / "file"


def read(file):
    return read_safetensors_header(file, Label, "regard.label", 2, "no label", "print one")


@pytest.mark.parametrize("version", [1, 2])
def test_fields_are_given_as_they_stand_and_nothing_else(version, tmp_path):
    whole = {"format": "regard.label", "format_version": version, "maker": "Ö", "other": 1}
    assert read(headed(tmp_path, whole)) == {"maker": "Ö"}
    assert Label(**read(headed(tmp_path, whole | {"size": 4}))) == Label("Ö", 4)


@pytest.mark.parametrize(
    ("changes", "problem", "came"),
    [
        ({"format": "regard.tame"}, "no label", "regard.tame"),
        ({"format": None}, "no label", "no regard header"),
        ({"format_version": 3}, "written by a newer regard", None),
        ({"format_version": "two"}, "damaged", "format version 'two'"),
        ({"format_version": True}, "damaged", "format version True"),
        ({"format_version": None}, "damaged", "format version None"),
    ],
    ids=["another", "none", "newer", "words", "truth", "null"],
)
def test_what_is_no_such_header_is_refused_in_words(changes, problem, came, tmp_path):
    whole = {"format": "regard.label", "format_version": 1, "maker": "I"}
    with pytest.raises(FileFormatError, match=problem) as refusal:
        read(headed(tmp_path, whole | changes))
    assert refusal.value.came == came


@pytest.mark.parametrize("name", ["format_version", "maker"])
def test_a_missing_field_is_named(name, tmp_path):
    whole = {"format": "regard.label", "format_version": 1, "maker": "I"}
    del whole[name]
    with pytest.raises(FileFormatError, match="damaged") as refusal:
        read(headed(tmp_path, whole))
    assert refusal.value.came == f"no {name!r}"
