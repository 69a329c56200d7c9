"""Batch norm measured again: other strides give other statistics (BR-NPA, 5.2)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from regard.errors import NotFiniteError, PixelsError
from regard.models.classifier import Classifier, finite_images
from regard.models.high_resolution import Subject
from regard.models.networks import unwrapped
from regard.models.taps import untouched
from regard.models.weights import of_other_weights


def remeasured(subject: Subject, pixels: Tensor, batch: int = 32) -> Subject:
    """A copy whose batch norms hold the mean and variance of these pixels. The subject stays as it is.

    Each norm takes the average over batches of what it is given, μ = Σ_i (n_i/n)·μ_i and likewise σ², while all norms
    work with the statistics of their batch and everything else is in eval mode, dropout too. Weights, counters and
    momenta stay, and so does the order in which random numbers come. Where there is no batch norm the copy is equal.

    Args:
        subject: a classifier, or a network alone.
        pixels: prepared, (B, 3, H, W), at least two; some hundred give statistics that hold.
        batch: pictures a pass, at most, unless one would be left alone; passes are as equal as they can be.

    Raises:
        PixelsError: fewer than two pictures, or none prepared for this classifier.
        NotFiniteError: NaN or infinity in them.
    """
    network = subject.module if isinstance(subject, Classifier) else unwrapped(subject)
    if isinstance(subject, Classifier):
        pixels = subject.prepare(pixels).as_subclass(Tensor)
    if len(pixels) < 2 or batch < 2:
        raise PixelsError("batch norm is measured on two pictures or more, two or more a pass", came=f"{len(pixels)}")
    if not bool(finite_images(pixels).all()):
        raise NotFiniteError("the pixels hold NaN or infinity", remedy="leave such pictures out")
    with torch.inference_mode(False), torch.no_grad():
        measured: nn.Module = copy.deepcopy(network)
        with untouched(measured):
            _measure(measured, pixels.tensor_split(min(-(-len(pixels) // batch), len(pixels) // 2)))
    if not isinstance(subject, Classifier):
        return measured
    name = f"{subject.name}, batch norm of {len(pixels)} pictures"
    return of_other_weights(subject, measured, copy.deepcopy(subject.head), name)


def _measure(network: nn.Module, parts: Sequence[Tensor]) -> None:
    """Run parts of the pictures through, in place: the share of a part in what has run is its momentum."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    dtype = next((weight.dtype for weight in network.parameters() if weight.is_floating_point()), torch.float32)
    done = 0
    for norm in norms:
        norm.training, norm.num_batches_tracked = True, None  # counts are of training
    for part in parts:
        done += len(part)
        for norm in norms:
            norm.momentum = len(part) / done
        network(part.to(dtype))
    for norm, momentum, tracked in kept:
        norm.momentum, norm.num_batches_tracked = momentum, tracked
