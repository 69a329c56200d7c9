import math

import pytest
import torch

from regard.cli.comparison import Compared, Contender, likeness
from regard.explanation import Explanation
from regard.images import Geometry
from regard.question import TargetAnswer


def compared(maps, box=(0.0, 0.0, 60.0, 40.0), panels=None):
    """What a contender answered that looked at this part of a photo of 60×40."""
    maps = torch.tensor(maps)[None]
    targets = tuple(TargetAnswer(f"ant {place}", place, 1.0, 0.5) for place in range(maps.shape[1]))
    explanation = Explanation(
        maps=maps,
        targets=(targets,),
        logits=None,
        geometries=(Geometry((40, 60), (16, 16), box),),
        pictures=torch.zeros(1, 16, 16, 3, dtype=torch.uint8),
        method="cdam",
        settings={},
        classifier="vit",
        classifier_hash="0f",
        signed=True,
        per_target=True,
    )
    return Compared(Contender("cdam", "vit", 0, None), explanation, panels or tuple(range(maps.shape[1])), ("",) * 3)


def test_maps_of_two_crops_overlap_where_both_look():
    left = compared([[[1.0, 2.0, 3.0, 4.0]]], (0.0, 0.0, 40.0, 40.0))
    right = compared([[[6.0, 5.0, 7.0, 8.0]]], (20.0, 0.0, 60.0, 40.0))
    alike = likeness([left, right], 1)
    assert float(alike.overlap[0, 0, 1]) == -1  # 3 4 against 6 5; of whole maps it would be 0.8
    assert alike.overlap[0].equal(alike.overlap[0].T)


def test_a_third_method_changes_no_number():
    draw = torch.Generator().manual_seed(0)
    fine, other, coarse = (torch.randn(2, size, size, generator=draw).tolist() for size in (8, 8, 2))
    pair = likeness([compared(fine), compared(other)], 2)
    three = likeness([compared(fine), compared(other), compared(coarse, (0.0, 0.0, 30.0, 30.0))], 2)
    assert three.overlap[:, :2, :2].equal(pair.overlap)
    assert three.between_targets[:2].equal(pair.between_targets)


def test_means_leave_out_what_is_missing_and_a_target_s_likeness_to_itself():
    rows = [[[1.0, 2.0, 3.0]], [[1.0, 3.0, 2.0]], [[3.0, 2.0, 1.0]]]  # 0.5, −1 and −0.5 with each other
    whole = compared(rows)
    gap = compared(rows[:2], panels=(0, 1, "no class is called 'ant 2'"))
    alike = likeness([whole, gap], 3)
    assert alike.mean_between_targets().tolist() == pytest.approx([-1 / 3, 0.5])
    assert alike.overlap[:, 0, 1].tolist() == pytest.approx([1, 1, math.nan], nan_ok=True)
    assert float(alike.mean_overlap()[0, 1]) == pytest.approx(1)


def test_a_constant_map_and_a_contender_without_maps_are_like_nothing():
    nothing = Compared(Contender("grad-cam", "vit", 0, None, "no feature map"), None, ("no feature map",), ("",))
    alike = likeness([compared([[[1.0, 2.0]]]), compared([[[3.0, 3.0]]]), nothing], 1)
    assert alike.overlap[0][[0, 0, 1], [1, 2, 2]].isnan().all()
    assert alike.mean_between_targets().isnan().all()
    assert nothing.why() == "no feature map"
