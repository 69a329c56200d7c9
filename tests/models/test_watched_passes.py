import pytest
import torch

import regard
from regard.models import passes

from ..explainers.networks import classifier_of, cnn, vit


class Enough(BaseException):
    """What ends a job from outside."""


def test_passes_are_told_as_they_are_counted():
    told = []
    with passes.counted() as outer, passes.watched(lambda *found: told.append(found)):
        passes.count(forwards=3)
        passes.count(backwards=2)
        with passes.uncounted():
            passes.count(forwards=9)
    assert told == [(3, 0), (0, 2), (0, 0)]
    assert (outer.forwards, outer.backwards) == (3, 2)
    passes.count(forwards=1)
    assert len(told) == 3


def test_what_a_method_spends_is_what_is_told():
    told = []
    explainer = regard.RISE(classifier_of(cnn()), samples=40)
    with passes.watched(lambda forwards, _: told.append(forwards)):
        explanation = explainer(torch.randn(1, 3, 32, 32))
    assert sum(told) >= explanation.forwards == 41


@pytest.mark.parametrize("method", [regard.RISE, regard.GradCAM, regard.InputGradient], ids=lambda kind: kind.name)
def test_an_end_from_outside_leaves_nothing_behind(method):
    network = cnn().train()
    classifier = classifier_of(network)
    explainer, before = method(classifier), classifier.hash

    def stop(*_):
        raise Enough

    with pytest.raises(Enough), passes.watched(stop):
        explainer(torch.randn(1, 3, 32, 32))
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.is_grad_enabled()
    assert classifier.hash_anew() == before
    explainer(torch.randn(1, 3, 32, 32))


def test_dropping_tokens_can_be_ended_too():
    classifier = classifier_of(vit())
    pixels = torch.randn(1, 3, 32, 32)
    with pytest.raises(Enough), passes.watched(lambda *_: (_ for _ in ()).throw(Enough)):
        regard.TokenAblation(classifier)(pixels)
    assert not any(module._forward_pre_hooks for module in classifier.module.modules())
