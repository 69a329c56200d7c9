"""A small task of points, models for it, and a training written down plainly."""

import torch
from torch.nn import functional

from regard.attention.selective import SelectiveModel
from regard.attention.selective_networks import classifier_called, focus_called
from regard.seeds import seed_for
from regard.training.selective.examples import mosaics_of
from regard.training.selective.fit import fit_selective
from regard.training.selective.recipe import Phase, SelectiveRecipe

FOREGROUND = torch.tensor([[4.0, 6.5], [5.5, 6.0], [4.5, 4.5]])
BACKGROUND = torch.tensor([[3.0, 3.5], [2.5, 5.5], [7.0, 6.5], [6.5, 4.5]])


def points(count=60, segments=4, seed=0, ragged=False):
    """Points about the means of a class; one decides."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (count,), generator=draw)
    place = torch.randint(2 if ragged else segments, (count,), generator=draw)
    means = BACKGROUND[torch.randint(4, (count, segments), generator=draw)]
    means[torch.arange(count), place] = FOREGROUND[label]
    mask = None
    if ragged:
        mask = torch.arange(segments) < torch.randint(2, segments + 1, (count, 1), generator=draw)
    return mosaics_of(means + 0.1 * torch.randn(means.shape, generator=draw), label, place, mask)


def build(focus="mlp-8", classifier="mlp-8", layer=0, dtype=torch.float64, **settings):
    """Seed → model of points."""
    width = {0: 2, 1: 8}[layer]

    def of(seed):
        parts = focus_called(focus, (2,), seed), classifier_called(classifier, (width,), 3, seed)
        return SelectiveModel(*parts, layer=layer, **settings).to(dtype)

    return of


def plain_training(model, mosaics, seed, epochs, batch, loss, optimizer):
    """What a seed does by itself: one model, torch's own optimizer, every batch written down."""
    segments, label = mosaics.items.values[mosaics.index].to(next(model.parameters()).dtype), mosaics.label
    losses = []
    for epoch in range(epochs + 1):
        if epoch:
            draw = torch.Generator().manual_seed(seed_for(seed, "order", epoch))
            for rows in torch.randperm(len(label), generator=draw).split(batch):
                optimizer.zero_grad()
                loss(model, segments[rows], label[rows]).mean().backward()
                optimizer.step()
        with torch.no_grad():
            losses.append(float(functional.cross_entropy(model(segments).logits, label)))
    return losses


def recipe(epochs=4, paradigm="soft", learns="both", **settings):
    usual = {"batch": 25, "rate": 1e-2, "stop": None}
    return SelectiveRecipe(phases=(Phase(epochs, paradigm, learns),), **{**usual, **settings})


def train(seeds=(3, 0, 7), made=None, data=None, test=None, **settings):
    data = points() if data is None else data
    asked = settings.pop("recipe", None) or recipe()
    return fit_selective(made or build(), data, test or points(20, seed=9), seeds, asked, **settings)


def weights_of(trained):
    return {name: value.clone() for name, value in trained.model.state_dict().items()}
