"""Focuses and classifiers by name: sizes, first weights, the functionally-zero start; and weights by name."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from regard.attention.selective import SelectiveModel, aggregated_shape
from regard.attention.selective_networks import classifier_called, focus_called, functionally_zero
from regard.attention.selective_weights import weights_called
from regard.attention.weights import softmax
from regard.errors import UnsupportedError

PICTURE = (3, 32, 32)


def matrices(network):
    """Shapes of all weights of layers, in order."""
    return [tuple(part.weight.shape) for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)]


def sizes(network):
    return [shape[:2] for shape in matrices(network)]


def test_mlps_have_the_published_sizes():
    assert sizes(focus_called("mlp-50-50", (2,), 0)) == [(50, 2), (50, 50), (1, 50)]
    assert sizes(classifier_called("mlp-50", (2,), 3, 0)) == [(50, 2), (3, 50)]
    assert sizes(focus_called("mlp-6-12", (5,), 0)) == [(6, 5), (12, 6), (1, 12)]
    assert sizes(focus_called("linear", (2,), 0)) == [(1, 2)]
    assert sizes(classifier_called("linear", (1, 28, 28), 3, 0)) == [(3, 784)]


def test_the_networks_of_six_have_the_published_sizes():
    focus = focus_called("cnn-6", PICTURE, 0, norm="running")
    channels = [3, 32, 64, 64, 128, 256, 256]
    assert sizes(focus)[:6] == [*zip(channels[1:], channels, strict=False)]
    assert sizes(focus)[6:] == [(64, 256), (32, 64), (10, 32), (1, 10)]
    assert aggregated_shape(focus, PICTURE, 6) == (256, 3, 3)
    assert [stage for stage in range(6) if any(isinstance(part, nn.BatchNorm2d) for part in focus[stage])] == [0, 2, 4]
    classifier = classifier_called("cnn-6", (256, 3, 3), 3, 0, norm="running")
    channels = [256, 128, 128, 256, 256, 512, 512]
    assert sizes(classifier)[:6] == [*zip(channels[1:], channels, strict=False)]
    assert sizes(classifier)[6:] == [(128, 512), (3, 128)]


@torch.no_grad()
@pytest.mark.parametrize("shape", [PICTURE, (1, 28, 28)])
@pytest.mark.parametrize(
    ("focus", "classifier", "layer"),
    [
        ("cnn-3", "cnn-1", 0),
        ("cnn-3", "cnn-2", 1),
        ("cnn-3", "cnn-3", 3),
        ("cnn-6", "cnn-6", 3),
        ("mlp-6", "linear", 1),
    ],
)
def test_every_pair_answers_at_every_layer(focus, classifier, layer, shape):
    focus = focus_called(focus, shape, 0)
    model = SelectiveModel(
        focus, classifier_called(classifier, aggregated_shape(focus, shape, layer), 3, 0), layer=layer
    )
    found = model.eval()(torch.randn(2, 3, *shape), prediction="mixture")
    assert (found.logits.shape, found.weights.shape, found.segment_logits.shape) == ((2, 3), (2, 3), (2, 3, 3))


def test_tanh_is_the_sixth_activation():
    kept = focus_called("cnn-6", PICTURE, 0).eval()[:6](5 * torch.randn(2, *PICTURE))
    assert float(kept.detach().min()) < 0 <= 1 >= float(kept.detach().abs().max())


def test_first_weights_are_xavier_normal_without_biases_in_a_focus_and_zero_ones_in_a_classifier():
    focus, classifier = focus_called("mlp-400-300", (2,), 1), classifier_called("mlp-400", (2,), 3, 1)
    assert all(part.bias is None for part in focus.modules() if isinstance(part, nn.Linear))
    assert all(bool((part.bias == 0).all()) for part in classifier.modules() if isinstance(part, nn.Linear))
    assert float(focus[1][0].weight.detach().std()) == pytest.approx(math.sqrt(2 / 700), rel=0.02)


def test_focus_and_classifier_of_a_seed_begin_differently_and_every_seed_differently():
    first = [
        function("mlp-50", (2,), *classes, seed)[0][0].weight
        for seed in range(4)
        for function, classes in ((focus_called, ()), (classifier_called, (3,)))
    ]
    assert len({tuple(weight.flatten().tolist()) for weight in first}) == 8
    assert torch.equal(first[0], focus_called("mlp-50", (2,), 0)[0][0].weight)


def test_torch_s_random_state_is_left_alone():
    before = torch.get_rng_state()
    focus_called("cnn-6", PICTURE, 3)
    classifier_called("cnn-3", PICTURE, 3, 3)
    assert torch.equal(before, torch.get_rng_state())


# --- functionally zero -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"), [("mlp-50-50", (2,)), ("mlp-50", (5,)), ("cnn-3", PICTURE), ("cnn-6", PICTURE)]
)
def test_a_zero_focus_is_zero_everywhere_and_its_last_two_layers_learn(name, shape):
    focus = functionally_zero(focus_called(name, shape, 2)).double().eval()
    model = SelectiveModel(focus, classifier_called("linear", shape, 3, 2).double())
    segments = torch.randn(3, 3, *shape, generator=torch.Generator().manual_seed(1)).double()
    found = model(segments)
    assert float(found.scores.detach().abs().max()) < 1e-12
    assert torch.allclose(found.weights, torch.full((3, 3), 1 / 3).double(), atol=1e-14)
    functional.cross_entropy(found.logits, torch.arange(3)).backward()
    *others, hidden, last = [part.weight.grad for part in focus.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    assert float(hidden.abs().max()) > 1e-6
    assert float(last.abs().max()) > 1e-6
    assert all(float(each.abs().max()) < 1e-14 for each in others)


def test_a_zero_focus_may_have_biases():
    focus = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    assert float(functionally_zero(focus)(torch.randn(20, 3)).detach().abs().max()) < 1e-6


@pytest.mark.parametrize(
    "focus",
    [
        nn.Linear(2, 1),
        nn.Sequential(nn.Linear(2, 7), nn.Linear(7, 1)),
        nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)),
        nn.Identity(),
    ],
)
def test_a_focus_that_cannot_begin_as_zero_is_refused(focus):
    with pytest.raises(UnsupportedError, match="cannot begin as zero"):
        functionally_zero(focus)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: focus_called("cnn-1", PICTURE, 0), "no such focus"),
        (lambda: focus_called("mlp", (2,), 0), "no such focus"),
        (lambda: focus_called("mlp-0", (2,), 0), "no such focus"),
        (lambda: classifier_called("cnn-4", PICTURE, 3, 0), "no such classifier"),
        (lambda: focus_called("cnn-3", (2,), 0), "a CNN reads pictures"),
        (lambda: focus_called("cnn-6", (3, 12, 12), 0), "cannot read this"),
        (lambda: focus_called("cnn-6", PICTURE, 0, norm="batch"), "no such norm"),
        (lambda: focus_called("mlp-50", (2,), 0, norm="running"), "an MLP has no norm"),
        (lambda: weights_called("argmax"), "no such weights"),
        (lambda: weights_called("softmax", alpha=1.5), "cannot be made so"),
        (lambda: weights_called("top-k"), "cannot be made so"),
        (lambda: weights_called("softmax", temperature=0), "temperature"),
    ],
)
def test_what_there_is_not_is_refused(call, said):
    with pytest.raises(UnsupportedError, match=said):
        call()


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("softmax", {}),
        ("softmax", {"temperature": 2.0}),
        ("sparsemax", {}),
        ("entmax", {"alpha": 1.25}),
        ("spherical", {}),
        ("top-k", {"k": 2}),
        ("learnt-entmax", {}),
        ("gumbel", {}),
    ],
)
def test_weights_by_name_are_weights(name, settings):
    scores = torch.tensor([[0.3, -1.0, 2.0, -math.inf]])
    found = weights_called(name, **settings)(scores)
    assert torch.allclose(found.sum(dim=1), torch.ones(1))
    assert float(found[0, 3].detach()) == 0


def test_drawn_weights_are_one_hot_in_training_and_a_softmax_in_evaluation():
    scores = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    first, again, other = (weights_called("gumbel", seed=seed)(scores) for seed in (1, 1, 2))
    assert bool(((first == 0) | (first == 1)).all())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(weights_called("gumbel", seed=1).eval()(scores), softmax(scores))


def test_the_learnt_alpha_begins_at_one_and_a_half_and_gets_a_gradient():
    weights = weights_called("learnt-entmax")
    scores = torch.tensor([[0.3, -0.2, 0.1]])
    assert torch.allclose(weights(scores), weights_called("entmax", alpha=1.5)(scores), atol=1e-6)
    weights(scores)[0, 0].backward()
    assert float(weights.raw.grad.abs()) > 1e-4
