"""Batch norm measured again: the numbers by hand, and nothing else changed."""

import pytest
import torch
from torch import nn

import regard
from regard.errors import NotFiniteError, PixelsError
from regard.models.batch_norm import remeasured
from regard.models.high_resolution import high_resolution

from ..explainers.networks import CLASSES, classifier_of, cnn, loud, pixels_of


def normed():
    """Two norms, the second of what the first gives; a head that draws where it is trained."""
    layers = [nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.BatchNorm2d(6)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, CLASSES)]
    return loud(nn.Sequential(*layers))


def moments(values):
    """Mean and unbiased variance of each channel, number by number."""
    means, variances = [], []
    for channel in values.transpose(0, 1).flatten(1).tolist():
        mean = sum(channel) / len(channel)
        means.append(mean)
        variances.append(sum((value - mean) ** 2 for value in channel) / (len(channel) - 1))
    return torch.tensor(means), torch.tensor(variances)


def by_hand(network, parts):
    """The averages over parts, weighted by their pictures, of what each norm is given."""
    totals = [torch.zeros(2, 4), torch.zeros(2, 6)]
    pictures = sum(len(part) for part in parts)
    for part in parts:
        for total, convolution, norm in zip(totals, (network[0], network[3]), (network[1], network[4]), strict=True):
            given = convolution(part)
            mean, variance = moments(given)
            total += torch.stack([mean, variance]) * len(part) / pictures
            biased = given.var((0, 2, 3), unbiased=False)
            scaled = (given - mean.view(-1, 1, 1)) / (biased.view(-1, 1, 1) + norm.eps).sqrt()
            part = (scaled * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)).relu()
    return totals


@pytest.mark.parametrize(
    ("pictures", "batch", "parts"), [(5, 8, (5,)), (5, 3, (3, 2)), (3, 2, (3,)), (7, 3, (3, 2, 2))]
)
def test_each_norm_holds_the_average_of_its_batches(pictures, batch, parts):
    network, pixels = normed(), pixels_of(pictures)
    measured = remeasured(network, pixels, batch)
    with torch.no_grad():
        expected = by_hand(network, pixels.split(parts))
    for norm, (mean, variance) in zip((measured[1], measured[4]), expected, strict=True):
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_nothing_else_changes_and_the_network_stays_as_it_was():
    network = normed()
    network[1].train()
    network[1].momentum = None
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    measured = remeasured(network, pixels_of(6))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    after = measured.state_dict()
    assert list(after) == list(kept)
    changed = {name for name, tensor in kept.items() if not torch.equal(tensor, after[name])}
    assert changed == {f"{layer}.running_{what}" for layer in (1, 4) for what in ("mean", "var")}
    assert [module.training for module in measured.modules()] == [module.training for module in network.modules()]
    assert (measured[1].momentum, measured[4].momentum) == (None, 0.1)
    assert all(parameter.grad is None for parameter in measured.parameters())


def test_a_classifier_stays_one_and_remembers_nothing_of_the_order():
    classifier = classifier_of(normed(), labels=list("abcde"))
    finer = high_resolution(classifier, (1,))
    pixels = classifier.prepare(pixels_of(6))
    with torch.inference_mode():
        first = remeasured(finer, pixels)
    again = remeasured(finer, pixels[[3, 1, 5, 0, 4, 2]])
    assert first.labels == classifier.labels
    assert first.hash != finer.hash
    torch.testing.assert_close(first(pixels), again(pixels), rtol=1e-4, atol=1e-5)
    assert isinstance(first, regard.Classifier)


def test_without_batch_norm_the_copy_is_equal():
    network, pixels = cnn(), pixels_of(3)
    assert torch.equal(remeasured(network, pixels)(pixels), network(pixels))


def test_too_few_pictures_and_nan_are_refused():
    for subject in (normed(), classifier_of(normed())):
        with pytest.raises(PixelsError, match="two pictures"):
            remeasured(subject, pixels_of(1))
        with pytest.raises(PixelsError, match="two pictures"):
            remeasured(subject, pixels_of(4), batch=1)
        pixels = pixels_of(4)
        pixels[2, 1, 3, 3] = float("nan")
        with pytest.raises(NotFiniteError):
            remeasured(subject, pixels)
