"""The linear layer at the end of a classifier."""

import pytest
import torch
from torch import nn

from regard.errors import UnsupportedError
from regard.models.linear_head import head_of, last_linear, linear_head

from ..explainers.networks import WIDTH, classifier_of, cnn, mlp_head, vit


def test_the_last_linear_layer_is_found_in_the_network_or_apart_from_it():
    network, apart = cnn(), nn.Linear(WIDTH, 3).bfloat16()
    assert last_linear(classifier_of(network)) is network[-1]
    assert linear_head(classifier_of(network)).equal(network[-1].weight)
    assert not linear_head(classifier_of(network)).requires_grad
    with_apart = classifier_of(vit(num_classes=0), head=apart)
    assert last_linear(with_apart) is apart
    assert linear_head(with_apart).equal(apart.weight.float())
    assert linear_head(with_apart).dtype is torch.float32


def test_only_rows_that_are_tied_are_made_of_it():
    network = cnn()
    assert head_of(classifier_of(network), "tied").equal(network[-1].weight)
    for variant in ("tame", "l-cam"):
        assert head_of(classifier_of(network), variant) is None


@pytest.mark.parametrize(
    ("settings", "came"), [({"head": mlp_head()}, "Sequential"), ({}, "no known head")], ids=["deep", "none"]
)
def test_a_classifier_that_ends_otherwise_is_refused_with_what_it_ends_in(settings, came):
    classifier = classifier_of(vit(num_classes=0), **settings)
    assert last_linear(classifier) is None
    assert head_of(classifier, "tame") is None
    for refused in (lambda: linear_head(classifier), lambda: head_of(classifier, "tied")):
        with pytest.raises(UnsupportedError, match="does not end in a linear layer") as refusal:
            refused()
        assert refusal.value.came == came
