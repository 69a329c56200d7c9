"""Models whose every number is set by hand, each of which makes one error on purpose."""

import torch
from torch import Tensor, nn

from regard.attention.selective import SelectiveModel
from regard.exams.sdc import task_called

MEANS = torch.tensor([(4, 6.5), (5.5, 6), (4.5, 4.5)], dtype=torch.float64)
"""Of the foreground of D1."""


def singletons(background, **settings):
    return task_called("singletons", background=background, **{"train": 400, "test": 600} | settings)


class Of(nn.Module):
    """A function as a module, in double precision."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.double_ = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def above(threshold, sign=1):
    """z (N, 1) → logits that say the second label above a threshold, or with the sign −1 below it."""
    return lambda z: sign * torch.cat([threshold - z, z - threshold], dim=1)


def nearest(points, labels):
    """z (N, d) → logits whose largest is the label of the nearest point."""

    def logits(z):
        distances = torch.cdist(z, points.to(z))
        classes = int(labels.max()) + 1
        return torch.stack([-distances[:, labels == label].amin(dim=1) for label in range(classes)], dim=1)

    return logits


def selective(focus, classifier, **settings):
    """focus: points (N, d) → scores (N, 1); classifier: z (N, d) → logits (N, C)."""
    return SelectiveModel(Of(focus), Of(classifier), **settings)


class Attending(nn.Module):
    """An attention that is not regard's: says what it is told to say."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, segments, mask=None):
        return self.answer(segments) if mask is None else self.answer(segments, mask)


def first_number(segments):
    return segments.flatten(2)[..., 0]


def looking_at(slope, threshold=0.5):
    """(logits, weights) of the focus slope · x over singletons, and a threshold on the weighted sum."""

    def answer(segments):
        points = first_number(segments)
        weights = torch.softmax(slope * points, dim=1)
        return above(threshold)((weights * points).sum(dim=1, keepdim=True)), weights

    return answer
