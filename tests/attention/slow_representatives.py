"""BR-NPA's pooling from the formulas of papers/brnpa.md, 1.3, place by place with plain loops in float64."""

import math

import torch


def cosine(one, other):
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in (one, other)]
    if 0 in lengths:
        return 0.0
    return sum(a * b for a, b in zip(one, other, strict=True)) / (lengths[0] * lengths[1])


def pooled(places, count, refine=True, weights="sum", temperature=1.0, negative="clamp", counts=None, draws=None):
    """One picture: N vectors of C numbers → (vectors, maps, indices, scores), lists of K.

    `counts` says which places do, `draws` are K lists of N scores in place of what is left of the norms.
    """
    places = [list(map(float, place)) for place in places]
    counted = [place for place in range(len(places)) if counts is None or counts[place]]
    left = {place: math.sqrt(sum(value * value for value in places[place])) for place in counted}
    vectors, maps, indices, scores = [], [], [], []
    for rank in range(count):
        score = left if draws is None else {place: draws[rank][place] for place in counted}
        best = counted[0]
        for place in counted:
            if score[place] > score[best]:
                best = place
        alike = {}
        for place in counted:
            alike[place] = cosine(places[place], places[best])
            if negative == "clamp" and alike[place] < 0:
                alike[place] = 0.0
        raised = {
            place: math.exp(alike[place] / temperature) if weights == "softmax" else alike[place] for place in counted
        }
        total = sum(raised.values())
        weight = [raised[place] / total if place in raised else 0.0 for place in range(len(places))]
        mean = [sum(weight[place] * places[place][channel] for place in counted) for channel in range(len(places[0]))]
        vectors.append(mean if refine else places[best])
        maps.append(weight)
        indices.append(best)
        scores.append(score[best])
        for place in counted:
            left[place] *= min(1.0, max(0.0, 1 - alike[place]))
    return vectors, maps, indices, scores


def replica(features, count, mask=None, **way):
    """The slow form of a batch of maps or tokens: vectors, maps, indices, scores in float64."""
    places = features.flatten(2).transpose(1, 2) if features.dim() == 4 else features
    counts = [None] * len(places) if mask is None else mask.flatten(1).tolist()
    found = [pooled(one.tolist(), count, counts=each, **way) for one, each in zip(places, counts, strict=True)]
    vectors, maps, indices, scores = (numbers(part) for part in zip(*found, strict=True))
    maps = maps.unflatten(2, features.shape[2:] if features.dim() == 4 else (-1,))
    return vectors, maps, indices.long(), scores


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)
