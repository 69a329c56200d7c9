import functools

import pytest
import torch

import regard
from regard.evaluate.gate import answered
from regard.evaluate.judge import AGAIN, Entrant, Protocol, judge, region_in
from regard.evaluate.judged import Judged
from regard.explainers.explainer import Explainer, Found
from regard.explainers.registry import find
from regard.fills import Blur, Mean
from regard.metrics.curves import curves, token_curves
from regard.metrics.randomisation import randomised
from regard.metrics.rank_correlation import rank_correlation
from regard.metrics.registry import find as find_metric
from regard.metrics.registry import names
from regard.metrics.sparsity import gini

from .pictures import photos_in, tiny_cnn, tiny_vit


def entrant(kind, classifier, **settings):
    make = functools.partial(kind, **settings)
    return Entrant(kind.name, make, make(classifier))


def protocol(*wanted, fill=None, steps=4, level="pixel"):
    return Protocol(tuple(find_metric(name)() for name in wanted or names()), fill or Mean(), steps, level, 0)


@pytest.fixture
def photos(tmp_path):
    return [Judged(path, boxes=((4.0, 8.0, 20.0, 30.0),)) for path in photos_in(tmp_path, 3)]


def test_every_number_is_that_of_the_metric_on_the_map_of_the_likeliest_class(photos):
    classifier = tiny_vit()
    answers = answered(classifier, photos)
    rows, explanation = judge(entrant(regard.CDAM, classifier), answers, protocol(fill=Blur(3)), again=AGAIN)
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
        "average-drop-0.5": ((found.clean - found.retained[0.5]).clamp(min=0) / found.clean)[:, 0],
        "token-fidelity": (dropped.area("insertion") - dropped.area("deletion"))[:, 0],
        "gini": gini(maps.maps)[:, 0],
        "class-sensitivity-1": rank_correlation(of_three.maps[:, 0], of_three.maps[:, 1]),
        "randomisation-head": rank_correlation(maps.maps, shuffled.maps)[:, 0].abs(),
    }
    for name, values in expected.items():
        assert [row[name] for row in rows] == pytest.approx(values.tolist(), abs=1e-6), name


def test_every_row_says_how_it_was_measured_and_what_the_map_cost(photos):
    classifier = tiny_vit()
    rows, _ = judge(entrant(regard.CDAM, classifier), answered(classifier, photos), protocol("gini"))
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
    rows, _ = judge(one, answered(classifier, photos), protocol("max-sensitivity", "class-sensitivity"))
    assert "max-sensitivity" not in rows[0]
    assert "class-sensitivity-1" not in rows[0]


def test_a_network_without_tokens_has_no_token_curves_and_photos_without_object_no_placement(tmp_path):
    classifier = tiny_cnn()
    answers = answered(classifier, [Judged(path) for path in photos_in(tmp_path, 2)])
    rows, _ = judge(entrant(regard.GradCAM, classifier), answers, protocol())
    assert "token-fidelity" not in rows[0]
    assert "pointing-game" not in rows[0]
    assert "deletion" in rows[0]


def test_a_batch_is_judged_like_each_photo_alone(photos):
    classifier = tiny_vit()
    one, answers = entrant(regard.AttentionMap, classifier), answered(classifier, photos)
    together, _ = judge(one, answers, protocol(), again=AGAIN)
    for row, answer in zip(together, answers, strict=True):
        (alone,), _ = judge(one, [answer], protocol(), again=AGAIN)
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
    rows, _ = judge(entrant(Broken, classifier), answers, protocol("deletion", "gini"))
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
    rows, _ = judge(entrant(Nothing, classifier), answers, protocol("average-drop", "gini", "mass-inside"))
    ones, _ = judge(entrant(find("ones"), classifier), answers, protocol("average-drop"))
    assert [row["zero"] for row in rows] == [True] * 3
    assert [row["gini"] for row in rows] == [None] * 3
    assert [row["average-drop-0.5"] for row in rows] == [row["average-drop-0.5"] for row in ones]


def test_boxes_and_masks_come_into_the_frame_as_their_photo_does(tmp_path):
    classifier = tiny_cnn()
    (path,) = photos_in(tmp_path, 1)
    geometry = classifier.prepare([path]).geometries[0]
    boxed = region_in(Judged(path, boxes=((0.0, 0.0, 32.0, 20.0),)), geometry)
    mask = tmp_path / "mask.png"
    from PIL import Image

    upper = Image.new("L", (32, 40))
    upper.paste(255, (0, 0, 32, 20))
    upper.save(mask)
    masked = region_in(Judged(path, mask=mask), geometry)
    assert boxed.shape == masked.shape == geometry.frame
    assert float((boxed - masked).abs().mean()) < 0.04
    assert 0.3 < float(boxed.mean()) < 0.7
    assert not region_in(Judged(path), geometry).any()


def test_the_classifier_is_as_before_after_judging(photos):
    classifier = tiny_vit()
    before = classifier.hash
    classifier.network.train()
    judge(entrant(find("grad-cam"), classifier), answered(classifier, photos), protocol(), again=AGAIN)
    assert classifier.network.training
    assert classifier.hash == before
    assert all(parameter.grad is None for parameter in classifier.network.parameters())
