"""The hash of a classifier is that of all that an embedding depends on, and of nothing else."""

import copy

import pytest
import torch
from torch import nn

import regard

from ..explainers.networks import CLASSES, classifier_of, cnn, loud, mlp_head, vit


def backbone():
    return loud(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def hash_of(size=32, change=lambda network, head: None, **settings):
    network, head = backbone(), mlp_head(width=4)
    with torch.no_grad():
        change(network, head)
    return classifier_of(network, size=size, head=head, **settings).hash


@pytest.mark.parametrize(
    "change",
    [
        lambda network, head: network[0].weight[3, 2, 2, 2].add_(1e-6),
        lambda network, head: network[1].running_mean[0].add_(1e-6),
        lambda network, head: network[1].num_batches_tracked.add_(1),
        lambda network, head: head[2].bias[-1].add_(1e-6),
        lambda network, head: network.double() and head.double(),
        lambda network, head: head[0].weight.set_(head[0].weight[[1, 0, *range(2, 11)]]),
    ],
    ids=["weight", "buffer", "counter", "head", "precision", "order"],
)
def test_it_changes_with_every_weight(change):
    assert len(hash_of()) == 64
    assert hash_of(change=change) != hash_of()


def test_it_changes_with_the_preparation_and_the_meaning_of_the_output():
    prepared = regard.Classifier(backbone(), regard.Preparation(size=32), head=mlp_head(width=4)).hash
    assert len({hash_of(), hash_of(size=48), hash_of(outputs="sigmoid"), hash_of(outputs="scalar"), prepared}) == 5


def test_a_head_apart_is_another_classifier_than_the_same_head_inside():
    assert classifier_of(cnn()).hash != classifier_of(cnn()[:-1], head=cnn()[-1]).hash


def test_it_does_not_change_with_what_no_embedding_depends_on():
    alike = [
        hash_of(name="other", labels=list("abcde")),
        hash_of(precision="bfloat16"),
        hash_of(change=lambda network, head: network.train().requires_grad_(False)),
        hash_of(change=lambda network, head: network.to(memory_format=torch.channels_last)),
    ]
    assert set(alike) == {hash_of()}


@pytest.mark.parametrize(
    "train", [lambda weight: weight.add_(1), lambda weight: weight.data.add_(1)], ids=["in place", "data"]
)
def test_it_follows_weights_that_are_trained_on(train):
    network = vit()
    classifier = classifier_of(network)
    before = classifier.hash
    assert classifier.hash == before
    with torch.no_grad():
        train(network.head.weight)
    assert classifier.hash == classifier_of(copy.deepcopy(network)).hash != before


def test_it_follows_weights_that_are_exchanged():
    network = vit()
    classifier = classifier_of(network)
    before = classifier.hash
    network.head.weight = nn.Parameter(network.head.weight.detach().clone())
    assert classifier.hash == before
    network.load_state_dict(vit(seed=1).state_dict())
    assert classifier.hash == classifier_of(vit(seed=1)).hash != before
    assert classifier.class_count == CLASSES


def test_it_changes_with_what_the_layers_do_and_not_only_with_their_weights():
    kinds = [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)]
    networks = [loud(nn.Sequential(nn.Conv2d(3, 4, 3), pool, nn.Flatten(), nn.Linear(4, 5))) for pool in kinds]
    assert classifier_of(networks[0]).hash != classifier_of(networks[1]).hash
    pooled = [classifier_of(vit(global_pool=pool, fc_norm=False, num_classes=0)).hash for pool in ("token", "avg")]
    assert pooled[0] != pooled[1]


def test_it_changes_with_a_buffer_that_no_file_holds():
    networks = [vit(), vit()]
    for value, network in enumerate(networks):
        network.register_buffer("shift", torch.full((1,), float(value)), persistent=False)
    assert classifier_of(networks[0]).hash != classifier_of(networks[1]).hash
