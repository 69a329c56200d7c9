"""Interventions are those of plain loops, and are made with the model's own answers or not at all."""

import math

import pytest
import torch

from regard.errors import MetricError
from regard.exams.sdc import diagnose, task_called
from regard.exams.sdc.answers import ask
from regard.exams.sdc.interventions import _drawn, intervene, with_weights_of
from tests.exams.sdc.hand_made import MEANS, Attending, above, first_number, looking_at, nearest, selective, singletons


@pytest.mark.parametrize("prediction", ["aggregate", "chosen", "mixture"])
def test_interventions_are_those_of_plain_loops(prediction):
    task = task_called("d1", segments=(1, 4), train=20, test=40)
    model = selective(lambda x: x[:, :1] - x[:, 1:], nearest(MEANS, torch.arange(3)), prediction=prediction)
    own = ask(model, task.test, 3, 7)
    found = intervene(model, with_weights_of(model), task.test, own, 7, "fractional", 0)
    examples = task.test[:]
    left = []
    for row in range(40):
        there = examples.mask[row]
        points = examples.segments[row, there].double()
        scores = points[:, 0] - points[:, 1]
        weights = [math.exp(float(score - scores.max())) for score in scores]
        best = max(range(len(weights)), key=weights.__getitem__)
        assert right(points, one_hot(best, len(weights)), examples.label[row], prediction) == hit(found.one_hot[row])
        even = [1 / len(weights)] * len(weights)
        assert right(points, even, examples.label[row], prediction) == hit(found.alike[row])
        assert found.said[row, examples.label[row]] == hit(found.one_hot[row])
        if len(weights) > 1:
            weights[int(examples.position[row])] = 0.0
            weights = [weight / sum(weights) for weight in weights]
            left.append(right(points, weights, examples.label[row], prediction))
    assert left == [hit(row) for row in found.without_foreground]
    assert len(left) < 40


def hit(row):
    return float(row[0] + row[1])


def one_hot(place, count):
    return [float(number == place) for number in range(count)]


def right(points, weights, label, prediction):
    classify = nearest(MEANS, torch.arange(3))
    if prediction == "aggregate":
        said = classify(sum(weight * point for weight, point in zip(weights, points, strict=True))[None])[0]
    elif prediction == "chosen":
        said = classify(points[[max(range(len(weights)), key=weights.__getitem__)]])[0]
    else:
        said = sum(weight * classify(points)[number].softmax(dim=0) for number, weight in enumerate(weights))
    return float(said.argmax() == label)


def test_weights_that_are_drawn_lie_anywhere_on_the_simplex_and_only_where_segments_are():
    task = task_called("d1", segments=(1, 3), train=10, test=3000)
    model = selective(lambda x: 0 * x[:, :1], nearest(MEANS, torch.arange(3)))
    own = ask(model, task.test, 3, 500)
    drawn = _drawn(own, 0)
    assert torch.equal(drawn > 0, own.mask)
    assert torch.allclose(drawn.sum(dim=1), torch.ones(3000).double())
    of_three = drawn[own.mask.all(dim=1)]
    # a weight of a flat Dirichlet of three is Beta(1, 2): mean 1/3, variance 1/18
    assert of_three.mean(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert of_three.var(dim=0).tolist() == pytest.approx([1 / 18] * 3, abs=0.008)
    assert not torch.equal(_drawn(own, 1), drawn)


def test_with_weights_of_another_model_is_refused():
    model = Attending(looking_at(2.0))
    with pytest.raises(MetricError, match="own answers to its own weights"):
        diagnose(model, singletons(0.0), with_weights=lambda segments, weights: above(0.4)(weights[:, :1]))
    with pytest.raises(MetricError, match="with_weights gives a number for each label"):
        diagnose(model, singletons(0.0), with_weights=lambda segments, weights: weights[:, :1])
    with pytest.raises(MetricError, match=r"with_weights cannot be asked(.|\n)*TypeError"):
        diagnose(model, singletons(0.0), with_weights=lambda segments: segments)


def test_what_a_model_does_to_its_segments_reaches_no_other_intervention():
    task, look = singletons(0.0), looking_at(2.0)

    def read(segments, weights):
        return above(0.5)((weights * first_number(segments)).sum(dim=1, keepdim=True))

    def in_place(segments, weights):
        logits = read(segments, weights)
        segments.zero_(), weights.fill_(2.0)
        return logits

    found = [diagnose(Attending(look), task, with_weights=each).words() for each in (read, in_place)]
    assert found[0] == found[1]
