"""Ranks as a part of explanations: taken out, joined, saved."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from regard.errors import FileFormatError
from regard.explanation import Explanation, join
from regard.ranks import Ranks

from .test_drawing import explanation_of

GOLDEN = Path(__file__).parent / "golden" / "explanation-v1.safetensors"


def ranks_of(images=2, targets=3, count=4, shares=True):
    draw = torch.Generator().manual_seed(1)
    return Ranks(
        maps=torch.rand(images, count, 2, 3, generator=draw),
        valid=torch.rand(images, count, generator=draw) > 0.2,
        variation=torch.tensor([0.25, float("nan")])[:images],
        shares=torch.randn(images, targets, count, generator=draw, dtype=torch.float64) if shares else None,
    )


def same(one, other):
    first, second = one.tensors(), other.tensors()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype is second[name].dtype
        assert torch.equal(tensor.float().nan_to_num(7e9), second[name].float().nan_to_num(7e9)), name
    return True


@pytest.mark.parametrize("shares", [True, False])
def test_ranks_survive_saving(shares, tmp_path):
    whole = replace(explanation_of(), ranks=ranks_of(shares=shares))
    whole.save(tmp_path / "cat")
    assert same(Explanation.load(tmp_path / "cat").ranks, whole.ranks)
    assert whole[1].ranks.maps.equal(whole.ranks.maps[1:])
    whole[1].save(tmp_path / "cat")
    assert same(Explanation.load(tmp_path / "cat").ranks, whole[1].ranks)


def test_files_without_ranks_are_read_as_before_and_explanations_without_them_written_so(tmp_path):
    assert Explanation.load(GOLDEN).ranks is None
    explanation_of().save(tmp_path / "cat")
    assert Explanation.load(tmp_path / "cat").ranks is None
    assert not [name for name in load_file(tmp_path / "cat") if "ranks" in name]


def test_a_file_with_half_of_its_ranks_or_others_is_refused(tmp_path):
    whole = replace(explanation_of(), ranks=ranks_of())
    whole.save(tmp_path / "cat")
    from safetensors import safe_open

    with safe_open(tmp_path / "cat", "pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / "cat")
    less = {name: tensor for name, tensor in tensors.items() if name != "ranks.valid"}
    for other in (less, tensors | {"ranks.colour": torch.ones(1)}):
        save_file(other, tmp_path / "other", header)
        with pytest.raises(FileFormatError, match="damaged"):
            Explanation.load(tmp_path / "other")


def test_parts_are_the_whole_and_the_whole_its_parts():
    for shares in (True, False):
        whole = replace(explanation_of(), ranks=ranks_of(shares=shares))
        assert same(join(list(whole)).ranks, whole.ranks)
        assert join(list(whole))[1].ranks.maps.equal(whole.ranks.maps[1:])
    assert join([explanation_of(), explanation_of()]).ranks is None
