"""How methods go through their photos."""

import functools
from dataclasses import replace

import pytest
import torch

import regard
from regard.evaluate import contest
from regard.evaluate.contest import contested, overlapped
from regard.evaluate.gate import answered
from regard.evaluate.judge import AGAIN, Entrant, Protocol
from regard.evaluate.known_photo import KnownPhoto
from regard.evaluate.plan import Planned
from regard.explainers.explainer import Explainer, Found
from regard.explainers.registry import find
from regard.fills import Mean
from regard.metrics.metric import MapMetric
from regard.metrics.of_maps import Gini, RankCorrelation
from regard.metrics.rank_correlation import rank_correlation
from regard.runs import Run

from .pictures import photos_in, tiny_vit

PROTOCOL = Protocol((Gini(), RankCorrelation()), Mean(), 4, "pixel", 0)


@pytest.fixture(scope="module")
def classifier():
    return tiny_vit()


@pytest.fixture
def results(tmp_path):
    return Run.open(tmp_path / "run", "evaluate", {})


@pytest.fixture
def answers(classifier, tmp_path):
    return answered(classifier, [KnownPhoto(path) for path in photos_in(tmp_path / "photos", 10)])


def plan(kind, classifier, answers, again=10):
    made = Entrant(kind.name, functools.partial(kind), kind(classifier))
    return Planned(made, tuple(answers), again, AGAIN, 0, 0, 0)


def rows_of(results, kind):
    return [row for row in results.rows() if row["kind"] == kind]


def test_the_first_photo_comes_alone_and_with_its_memory_and_the_others_in_batches(
    classifier, results, answers, monkeypatch
):
    plain, calls = contest.judge, []

    def noted(*given, **named):
        calls.append((len(given[1]), named["memory"]))
        return plain(*given, **named)

    monkeypatch.setattr(contest, "judge", noted)
    contested(results, plan(find("edges"), classifier, answers, 9), PROTOCOL, lambda _: None)
    assert calls == [(1, True), (8, False), (1, False)]
    assert [row["megabytes"] is not None for row in results.rows()].count(True) == 1


def test_maps_are_kept_whole_and_without_pictures_where_the_method_is_asked_again(classifier, results, answers):
    kept = contested(results, plan(regard.AttentionMap, classifier, answers, 3), PROTOCOL, lambda _: None)
    assert len(kept) == 3
    for answer, one in zip(answers, kept.values(), strict=False):
        assert torch.allclose(one.maps, regard.AttentionMap(classifier)(answer.photo.path).maps, atol=1e-6)
        assert one.pictures.numel() == 0
        assert one.logits is None


class Moody(Explainer):
    """Fails while it is in the mood."""

    name = "moody"
    summary = ""
    fails = True

    def _explain(self, pixels, question):
        if Moody.fails:
            raise regard.errors.LayerError("not today")
        return Found(pixels.mean(dim=1, keepdim=True), self.classifier.respond(pixels))


def test_photos_on_which_a_method_failed_are_rows_and_are_tried_again(classifier, results, answers, monkeypatch):
    moody = plan(Moody, classifier, answers, 2)
    monkeypatch.setattr(Moody, "fails", True)
    assert contested(results, moody, PROTOCOL, lambda _: None) == {}
    assert {(row["status"], row["error"]) for row in rows_of(results, "judged")} == {("failed", "not today")}
    monkeypatch.setattr(Moody, "fails", False)
    done = []
    contested(results, moody, PROTOCOL, done.append)
    assert {row["status"] for row in rows_of(results, "judged")} == {"judged"}
    assert len(rows_of(results, "judged")) == sum(done) == 10


def test_the_overlap_with_a_method_that_failed_has_no_value(classifier, results, answers, monkeypatch):
    monkeypatch.setattr(Moody, "fails", True)
    plans = [plan(kind, classifier, answers, 2) for kind in (Moody, find("edges"))]
    maps = {each.entrant.name: contested(results, each, PROTOCOL, lambda _: None) for each in plans}
    overlapped(results, plans, maps, [RankCorrelation()])
    assert [row["rank-correlation"] for row in rows_of(results, "overlap")] == [None, None]


class Loudest(MapMetric):
    """A measure of two methods' maps of another package's."""

    name, summary, rule, higher_is_better, needs = "loudest", "", "", None, "other maps"

    def measure(self, explanation, other):
        return (explanation.maps.amax((2, 3)) - other.maps.amax((2, 3))).double()


def test_every_metric_that_compares_methods_stands_in_the_row_of_their_pair(classifier, results, answers):
    plans = [plan(kind, classifier, answers, 2) for kind in (regard.AttentionMap, regard.CDAM)]
    protocol = replace(PROTOCOL, metrics=(RankCorrelation(), Loudest()))
    maps = {each.entrant.name: contested(results, each, protocol, lambda _: None) for each in plans}
    overlapped(results, plans, maps, [RankCorrelation(), Loudest()])
    rows = rows_of(results, "overlap")
    for row, answer in zip(rows, answers, strict=False):
        one, other = (kind(classifier)(answer.photo.path).maps for kind in (regard.AttentionMap, regard.CDAM))
        assert row["loudest"] == pytest.approx(float(one.max() - other.max()), abs=1e-6)
        assert row["rank-correlation"] == pytest.approx(float(rank_correlation(one, other)), abs=1e-6)
    assert len(rows) == 2
