"""Maps before and after weights are shuffled: the correlation by loops, and the metric on it."""

import functools

import pytest
import torch

import regard
from regard.errors import MetricError, PixelsError, RegardError, TargetError
from regard.metrics.of_methods import Randomisation
from regard.metrics.randomisation import randomisation_correlation as correlations
from regard.models.randomised import cascade, randomised

from ..explainers.networks import classifier_of, cnn, pixels_of, vit

WORDS = list("abcde")


def slow_ranks(values):
    values = values.flatten().tolist()
    return [(sum(a < b for a in values) + sum(a <= b for a in values) + 1) / 2 for b in values]


def slow_correlation(first, second):
    one, other = (torch.tensor(slow_ranks(part), dtype=torch.float64) for part in (first, second))
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def test_the_attention_map_and_controls_do_not_see_the_head_and_cdam_does():
    """CDAM, section 5.2: the attention map must not change under a randomised head, CDAM must."""
    classifier, pixels = classifier_of(vit()), pixels_of(4)
    head = [randomised(classifier, "head")]
    for method in (regard.AttentionMap, regard.Random):
        found = correlations(method, classifier, pixels, head)
        assert found.shape == (1, 4, 1)
        assert torch.allclose(found, torch.ones(1, 4, 1, dtype=torch.float64), atol=1e-12)
    assert (correlations(regard.CDAM, classifier, pixels, head).abs() < 0.9).any()
    block = [randomised(classifier, "last block")]
    assert (correlations(regard.AttentionMap, classifier, pixels, block) < 0.9).all()
    assert (correlations(regard.Random, classifier, pixels, cascade(classifier)) == 1).all()


def test_it_is_the_rank_correlation_of_the_maps_of_the_intact_classifier_s_class():
    classifier, pixels = classifier_of(vit(), labels=WORDS), pixels_of(3)
    copies = [randomised(classifier, "head"), randomised(classifier, "all")]
    found = correlations(regard.CDAM, classifier, pixels, copies)
    classes = classifier(pixels).argmax(1)
    assert any(not other(pixels).argmax(1).equal(classes) for other in copies)  # else the test shows nothing
    before = regard.CDAM(classifier)(pixels, regard.PerImage(classes)).maps
    for step, other in enumerate(copies):
        after = regard.CDAM(other)(pixels, regard.PerImage(classes)).maps
        for image in range(3):
            one, two = before[image, 0], after[image, 0]
            assert float(found[step, image, 0]) == pytest.approx(slow_correlation(one, two), abs=1e-12)


def test_a_map_that_only_turns_its_sign_has_a_correlation_of_minus_one():
    class Turned(regard.CDAM):
        def _explain(self, pixels, question):
            found = super()._explain(pixels, question)
            return found if self.classifier is intact else type(found)(-found.maps, found.output)

    intact, pixels = classifier_of(vit()), pixels_of(2)
    same = classifier_of(vit())
    found = correlations(Turned, intact, pixels, [same], [0, 3])
    assert torch.allclose(found, -torch.ones(1, 2, 2, dtype=torch.float64), atol=1e-12)


def test_the_cascade_of_a_convolutional_network_is_followed_step_by_step():
    classifier, pixels = classifier_of(cnn()), pixels_of(2)
    found = correlations(functools.partial(regard.GradCAM, layer="4"), classifier, pixels, cascade(classifier))
    assert found.shape == (3, 2, 1)
    alone = [
        correlations(functools.partial(regard.GradCAM, layer="4"), classifier, pixels, [other])
        for other in cascade(classifier)
    ]
    assert torch.equal(torch.cat(alone).nan_to_num(9), found.nan_to_num(9))


def test_a_picture_s_correlation_is_its_own():
    classifier, pixels = classifier_of(vit()), pixels_of(3)
    head = [randomised(classifier, "head")]
    together = correlations(regard.CDAM, classifier, pixels, head)
    alone = torch.cat([correlations(regard.CDAM, classifier, pixels[[image]], head) for image in range(3)], dim=1)
    assert torch.allclose(alone, together, atol=0.02)  # rounding may exchange two neighbours in rank


def test_targets_by_name_rank_and_picture_and_a_network_without_a_head():
    classifier, pixels = classifier_of(vit(), labels=WORDS), pixels_of(2)
    head = [randomised(classifier, "head")]
    ranked = correlations(regard.CDAM, classifier, pixels, head, regard.top(2))
    order = classifier(pixels).argsort(1, descending=True)[:, :2]
    assert ranked.equal(correlations(regard.CDAM, classifier, pixels, head, regard.PerImage(order)))
    assert correlations(regard.CDAM, classifier, pixels, head, ["a", 3]).shape == (1, 2, 2)
    with pytest.raises(TargetError):
        correlations(regard.CDAM, classifier, pixels, head, "zebra")
    headless = classifier_of(vit(num_classes=0))
    found = correlations(regard.AttentionMap, headless, pixels, [randomised(headless, "last block")])
    assert found.shape == (1, 2, 1)


def test_one_copy_of_a_cascade_is_made_at_a_time():
    made = []

    def copies(classifier):
        for other in cascade(classifier):
            made.append(other.name)
            yield other

    class Watched(regard.Centre):
        def __init__(self, classifier):
            super().__init__(classifier)
            assert made[-1:] == [classifier.name] or not made

    classifier = classifier_of(cnn())
    assert correlations(Watched, classifier, pixels_of(1), copies(classifier)).shape == (3, 1, 1)
    assert len(made) == 3


def test_the_metric_is_the_size_of_the_correlation_and_of_the_cascade_its_mean_over_all_steps():
    classifier, pixels = classifier_of(vit()), pixels_of(2)
    for part in ("head", "last block"):
        alone = correlations(regard.CDAM, classifier, pixels, [randomised(classifier, part, 3)], [0, 2])[0]
        assert Randomisation(part, 3).measure(regard.CDAM, classifier, pixels, [0, 2]).equal(alone.abs())
    steps = correlations(regard.CDAM, classifier, pixels, cascade(classifier, 3), [0, 2]).tolist()
    assert len(steps) == 5
    found = Randomisation("cascade", 3).measure(regard.CDAM, classifier, pixels, [0, 2])
    for image in range(2):
        for target in range(2):
            expected = sum(abs(step[image][target]) for step in steps) / 5
            assert float(found[image, target]) == pytest.approx(expected, abs=1e-12)


def test_what_makes_no_sense_is_refused():
    classifier, pixels = classifier_of(cnn()), pixels_of(1)
    with pytest.raises(MetricError, match="no such part"):
        Randomisation("all")
    with pytest.raises(MetricError, match="no randomised copy"):
        correlations(regard.Centre, classifier, pixels, [])
    with pytest.raises(RegardError):
        correlations(regard.AttentionMap, classifier, pixels, cascade(classifier))
    other = classifier_of(vit())
    with pytest.raises(PixelsError, match="same"):
        correlations(lambda given: regard.Centre(given), other, pixels, [classifier])
