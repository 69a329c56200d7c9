"""What is explained is one network: another of the same classes, and the classes themselves, stay as they were."""

import copy

import pytest
import torch

import regard
from regard.explainers.registry import find, names

from .networks import classifier_of, cnn, pixels_of, vit

NEW = ["grad-cam++", "layer-cam", "hires-cam", "x-grad-cam", "eigen-cam", "eigen-grad-cam"]
NEW += ["integrated-gradients", "smooth-grad", "partial-relevance", "rise", "occlusion", "score-cam", "ablation-cam"]
MANY = {"integrated-gradients": {"steps": 2}, "smooth-grad": {"samples": 2}, "rise": {"samples": 4}}


def state_of(network):
    """All that explaining could leave: weights, gradients, flags, hooks, what stands in modules and their classes."""
    return {
        "weights": copy.deepcopy(network.state_dict()),
        "gradients": [parameter.grad for parameter in network.parameters()],
        "flags": [parameter.requires_grad for parameter in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "modules": [{name: id(value) for name, value in vars(module).items()} for module in network.modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "classes": {kind: dict(vars(kind)) for module in network.modules() for kind in type(module).__mro__},
    }


@pytest.mark.parametrize("make", [cnn, vit])
@pytest.mark.parametrize("name", NEW)
def test_a_second_model_of_the_same_class_is_unchanged(name, make):
    assert name in names()
    second, pixels = make(seed=1), pixels_of(2)
    answer, before = second(pixels).detach(), state_of(second)
    explainer = find(name)
    if name == "partial-relevance" and make is cnn:
        with pytest.raises(regard.errors.UnsupportedError):
            explainer(classifier_of(make()))
    else:
        explainer(classifier_of(make()), **MANY.get(name, {}))(pixels, [0, 1])
    after = state_of(second)
    weights = before.pop("weights"), after.pop("weights")
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert after == before
    assert second(pixels).detach().equal(answer)
