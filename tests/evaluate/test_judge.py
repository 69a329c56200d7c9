import functools

import pytest
import torch

import regard
from regard.errors import UnsupportedError
from regard.evaluate.gate import answered
from regard.evaluate.judge import AGAIN, Entrant, Protocol, judge, region_in
from regard.evaluate.known_photo import KnownPhoto
from regard.explainers.explainer import Explainer, Found
from regard.explainers.registry import find
from regard.explanation import join
from regard.fills import Blur, Mean
from regard.metrics.curves import curves, token_curves
from regard.metrics.of_curves import AverageDrop
from regard.metrics.of_maps import ClassSensitivity
from regard.metrics.of_methods import Randomisation
from regard.metrics.rank_correlation import rank_correlation
from regard.metrics.registry import find as find_metric
from regard.metrics.registry import names
from regard.metrics.sparsity import gini
from regard.models.randomised import randomised

from .pictures import photos_in, tiny_cnn, tiny_vit


def entrant(kind, classifier, **settings):
    make = functools.partial(kind, **settings)
    return Entrant(kind.name, make, make(classifier))


def judged(*given, **named):
    """Rows, and the maps together."""
    found = judge(*given, **named)
    return [one.row for one in found], join([one.explanation for one in found])


def protocol(*wanted, fill=None, steps=4, level="pixel"):
    return Protocol(tuple(find_metric(name)() for name in wanted or names()), fill or Mean(), steps, level, 0)


@pytest.fixture
def photos(tmp_path):
    return [KnownPhoto(path, boxes=((4.0, 8.0, 20.0, 30.0),)) for path in photos_in(tmp_path, 3)]


def test_every_number_is_that_of_the_metric_on_the_map_of_the_likeliest_class(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    rows, explanation = judged(entrant(regard.CDAM, classifier), answers, protocol(fill=Blur(3)), again=AGAIN)
    pixels = classifier.prepare([photo.path for photo in photos])
    maps = regard.CDAM(classifier)(pixels)
    assert torch.equal(explanation.maps, maps.maps)
    found = curves(classifier, pixels, maps, fill=Blur(3), steps=4)
    dropped = token_curves(classifier, pixels, maps, steps=4)
    of_three = regard.CDAM(classifier)(pixels, regard.PerImage([[a.predicted, a.second, a.least] for a in answers]))
    shuffled = regard.CDAM(randomised(classifier))(pixels, regard.PerImage([a.predicted for a in answers]))
    expected = {
        "deletion": found.area("deletion")[:, 0],
        "insertion": found.area("insertion")[:, 0],
        "fidelity": (found.area("insertion") - found.area("deletion"))[:, 0],
        AverageDrop().column: ((found.clean - found.retained[0.5]).clamp(min=0) / found.clean)[:, 0],
        "token-fidelity": (dropped.area("insertion") - dropped.area("deletion"))[:, 0],
        "gini": gini(maps.maps)[:, 0],
        ClassSensitivity().column: rank_correlation(of_three.maps[:, 0], of_three.maps[:, 1]),
        Randomisation().column: rank_correlation(maps.maps, shuffled.maps)[:, 0].abs(),
    }
    for name, values in expected.items():
        assert [row[name] for row in rows] == pytest.approx(values.tolist(), abs=1e-6), name


def test_every_row_says_how_it_was_measured_and_what_the_map_cost(photos):
    classifier = tiny_vit()
    rows, _ = judged(entrant(regard.CDAM, classifier), answered(classifier, photos), protocol("gini"))
    for row in rows:
        assert {row[name] for name in ("fill", "level", "precision", "status")} == {
            "Mean()",
            "pixel",
            "float32",
            "judged",
        }
        assert (row["steps"], row["forwards"], row["error"]) == (4, 1, None)
        assert row["milliseconds"] > 0
        assert "ties" in row


def test_what_asks_the_method_again_is_measured_only_where_that_is_wanted(photos):
    classifier = tiny_vit()
    one = entrant(regard.AttentionMap, classifier)
    rows, _ = judged(one, answered(classifier, photos), protocol("max-sensitivity", "class-sensitivity"))
    assert "max-sensitivity" not in rows[0]
    assert ClassSensitivity().column not in rows[0]


def test_a_network_without_tokens_has_no_token_curves_and_photos_without_object_no_placement(tmp_path):
    classifier = tiny_cnn()
    answers = answered(classifier, [KnownPhoto(path) for path in photos_in(tmp_path, 2)])
    rows, _ = judged(entrant(regard.GradCAM, classifier), answers, protocol())
    assert "token-fidelity" not in rows[0]
    assert "pointing-game" not in rows[0]
    assert "deletion" in rows[0]


def test_a_batch_is_judged_like_each_photo_alone(photos):
    classifier = tiny_vit()
    one, answers = entrant(regard.AttentionMap, classifier), answered(classifier, photos)
    together, _ = judged(one, answers, protocol(), again=AGAIN)
    for row, answer in zip(together, answers, strict=True):
        (alone,), _ = judged(one, [answer], protocol(), again=AGAIN)
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        for name in numbers.keys() - {"milliseconds", "megabytes"}:
            assert alone[name] == pytest.approx(numbers[name], abs=1e-5), name


class Broken(Explainer):
    """Maps of one photo in two are not finite."""

    name = "broken"
    summary = ""

    def _explain(self, pixels, question):
        maps = pixels.mean(dim=1, keepdim=True).expand(-1, len(question.targets), -1, -1).clone()
        maps[pixels[:, 0, 0, 0] > pixels[:, 0, 0, 0].median()] = torch.nan
        return Found(maps, self.classifier.respond(pixels))


def test_a_map_that_is_not_finite_has_a_row_that_says_so_and_spoils_no_other(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    rows, _ = judged(entrant(Broken, classifier), answers, protocol("deletion", "gini"))
    assert sorted(row["status"] for row in rows) == ["judged", "judged", "not finite"]
    for row in rows:
        assert ("gini" in row) == (row["status"] == "judged")


class Nothing(Explainer):
    """A map of zeros."""

    name = "nothing"
    summary = ""

    def _explain(self, pixels, question):
        return Found(pixels.new_zeros(len(pixels), len(question.targets), 4, 4), self.classifier.respond(pixels))


def test_a_map_of_zeros_is_said_to_be_one_and_ranks_places_at_random(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    rows, _ = judged(entrant(Nothing, classifier), answers, protocol("average-drop", "gini", "mass-inside"))
    ones, _ = judged(entrant(find("ones"), classifier), answers, protocol("average-drop"))
    assert [row["zero"] for row in rows] == [True] * 3
    assert [row["gini"] for row in rows] == [None] * 3
    assert [row[AverageDrop().column] for row in rows] == [row[AverageDrop().column] for row in ones]


def test_boxes_and_masks_come_into_the_frame_as_their_photo_does(tmp_path):
    classifier = tiny_cnn()
    (path,) = photos_in(tmp_path, 1)
    geometry = classifier.prepare([path]).geometries[0]
    boxed = region_in(KnownPhoto(path, boxes=((0.0, 0.0, 32.0, 20.0),)), geometry)
    mask = tmp_path / "mask.png"
    from PIL import Image

    upper = Image.new("L", (32, 40))
    upper.paste(255, (0, 0, 32, 20))
    upper.save(mask)
    masked = region_in(KnownPhoto(path, mask=mask), geometry)
    assert boxed.shape == masked.shape == geometry.frame
    assert float((boxed - masked).abs().mean()) < 0.04
    assert 0.3 < float(boxed.mean()) < 0.7
    assert not region_in(KnownPhoto(path), geometry).any()


def test_the_classifier_is_as_before_after_judging(photos):
    classifier = tiny_vit()
    before = classifier.hash
    classifier.network.train()
    judge(entrant(find("grad-cam"), classifier), answered(classifier, photos), protocol(), again=AGAIN)
    assert classifier.network.training
    assert classifier.hash == before
    assert all(parameter.grad is None for parameter in classifier.network.parameters())


def test_a_row_names_the_grid_of_its_map_the_retention_rule_and_how_many_metrics_have_no_value(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    rows, _ = judged(entrant(Nothing, classifier), answers, protocol("average-drop", "gini", "entropy"))
    assert {(row["grid"], row["nan"]) for row in rows} == {("4×4", 2)}
    assert {row["rule"] for row in rows} == {"binary: the top share of places by rank"}


def test_metrics_of_which_none_applies_leave_a_row_with_the_cost(photos):
    classifier = tiny_vit()
    (row, *_), _ = judged(entrant(regard.CDAM, classifier), answered(classifier, photos), protocol("rank-correlation"))
    assert (row["status"], row["nan"], row["forwards"]) == ("judged", 0, 1)


class OfOneClass(Explainer):
    """A map of the first target; NaN of every other one."""

    name = "of-one-class"
    summary = ""

    def _explain(self, pixels, question):
        maps = pixels.mean(dim=1, keepdim=True).repeat(1, len(question.targets), 1, 1)
        maps[:, 1:] = torch.nan
        return Found(maps, self.classifier.respond(pixels))


def test_a_map_of_a_second_class_that_is_not_finite_leaves_its_cells_empty_and_says_why(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    wanted = protocol("class-sensitivity", "randomisation", "gini")
    rows, _ = judged(entrant(OfOneClass, classifier), answers, wanted, again=AGAIN)
    for row in rows:
        assert row["status"] == "judged"
        assert row[ClassSensitivity().column] is None
        assert "class-sensitivity" in row["again_error"]
        assert "NaN" in row["again_error"]
        assert row["gini"] > 0
        assert row[Randomisation().column] is not None
        assert row["nan"] == 1
    rows, _ = judged(entrant(OfOneClass, classifier), answers, wanted)
    assert {row["again_error"] for row in rows} == {None}


@pytest.mark.parametrize("where", ["moved", "copy"])
def test_a_moved_picture_or_a_shuffled_copy_without_a_map_leaves_its_cells_empty(photos, where):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    known = classifier.prepare([photo.path for photo in photos])

    class Brittle(OfOneClass):
        def _explain(self, pixels, question):
            moved = not all(any(torch.equal(one, other) for other in known) for one in pixels)
            found = super()._explain(pixels, question)
            lost = moved if where == "moved" else self.classifier is not classifier
            return Found(found.maps * (torch.nan if lost else 1.0), found.output)

    rows, _ = judged(
        entrant(Brittle, classifier), answers, protocol("max-sensitivity", "randomisation", "gini"), again=AGAIN
    )
    lost, kept = ("max-sensitivity", "randomisation-head")[:: 1 if where == "moved" else -1]
    for row in rows:
        assert row[lost] is None
        assert row[kept] is not None
        assert row["gini"] > 0
        assert lost in row["again_error"]


class Choosy(Explainer):
    """Refuses every picture but those that begin darker than their mean; of several one is enough."""

    name = "choosy"
    summary = ""

    def _explain(self, pixels, question):
        if bool((pixels[:, 0, 0, 0] > pixels.mean()).any()) or len(pixels) > 1:
            raise UnsupportedError("too bright a corner")
        return Found(pixels.mean(dim=1, keepdim=True), self.classifier.respond(pixels))


def test_a_method_that_fails_on_a_photo_fails_on_it_alone_with_the_reason(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    bright = [bool(one[0, 0, 0] > one.mean()) for one in classifier.prepare([photo.path for photo in photos])]
    assert 0 < sum(bright) < len(bright)
    found = judge(entrant(Choosy, classifier), answers, protocol("gini", "deletion"), again=AGAIN)
    for one, fails in zip(found, bright, strict=True):
        assert one.row["status"] == ("failed" if fails else "judged")
        assert (one.explanation is None) == fails
        assert ("too bright a corner" in (one.row["error"] or "")) == fails
        assert ("gini" in one.row) != fails


def test_a_photo_that_has_gone_since_it_was_answered_fails_alone(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    photos[1].path.unlink()
    found = judge(entrant(regard.CDAM, classifier), answers, protocol("gini"))
    assert [one.row["status"] for one in found] == ["judged", "failed", "judged"]
    assert "n01.png" in found[1].row["error"]
