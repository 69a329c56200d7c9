"""Figures by which an epoch is chosen are means over photos, however these are cut into batches."""

import pytest

from regard.explainers.tame import TAME
from regard.fills import Mean
from regard.training.tame import held_out_maps
from regard.training.tame.held_out_maps import held_out_figures
from regard.training.tame.surveyed import Surveyed

from ..explainers.attentions import drawn
from .mask_trainings import photos_of, tiny


@pytest.fixture(scope="module")
def judged():
    subject, photos = tiny(), photos_of(7)
    known = Surveyed(tuple(photos), tuple(map(str, range(7))), (0,) * 7)
    return TAME(subject, drawn(subject, count=2)), known


@pytest.mark.parametrize("batch", [1, 3, 4, 6])
def test_a_short_last_batch_counts_by_its_photos(batch, judged, monkeypatch):
    whole = held_out_figures(*judged, Mean())
    monkeypatch.setattr(held_out_maps, "BATCH", batch)
    assert held_out_figures(*judged, Mean()) == pytest.approx(whole, abs=1e-6)


def test_no_photo_is_left_out_and_none_counts_twice(judged):
    explainer, known = judged
    alone = [held_out_figures(explainer, Surveyed((photo,), ("",), (0,)), Mean()) for photo in known.photos]
    whole = held_out_figures(explainer, known, Mean())
    assert len({figures["average_drop_50"] for figures in alone}) > 3
    for name, value in whole.items():
        assert value == pytest.approx(sum(figures[name] for figures in alone) / 7, abs=1e-6)
