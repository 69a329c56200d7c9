"""Directions implanted in pictures: how well the foreground can be told is then a dose."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.exams.sdc.items import Items


def implanted(train: Items, test: Items, gamma: float) -> tuple[Items, Items]:
    """Each foreground item moves along its class's own direction, by a share γ of its length.

        x ← x + γ ‖x‖ u_c          (papers: SDC, section 2)

    u_1 … u_C are the directions in which the items of `train` vary least: the last right singular vectors of their
    centred matrix, found as eigenvectors of its covariance (D × D, so 3,072² for colour pictures of 32 × 32), the least
    first, and their largest entry positive. Of digits, whose borders never vary, they lie in pixels that are constant
    everywhere else; then any γ > 0 tells the classes by a linear rule.

    Items become float32.

    Raises:
        UnsupportedError: γ is no number from 0 on, or there are fewer dimensions than foreground classes.
    """
    if not isinstance(gamma, (int, float)) or not 0 <= gamma < float("inf"):
        raise UnsupportedError("a dose is a finite share of an item's length", came=repr(gamma), expected="0 or more")
    size = train.values[0].numel()
    if size < len(train.foreground):
        raise UnsupportedError("every foreground class needs a direction of its own", came=f"{size} dimensions")
    directions = _least_varied(train)[: len(train.foreground)]
    return _moved(train, directions, gamma), _moved(test, directions, gamma)


def _least_varied(items: Items) -> Tensor:
    """Unit directions (D, D) as rows, the one of the least variance first; float32."""
    values = items.taken(torch.arange(len(items.classes))).flatten(1).double()
    values -= values.mean(dim=0)
    rows: Tensor = torch.linalg.eigh(values.T @ values).eigenvectors.T
    return (rows * rows.gather(1, rows.abs().argmax(dim=1, keepdim=True)).sign()).float()


def _moved(items: Items, directions: Tensor, gamma: float) -> Items:
    values = items.taken(torch.arange(len(items.classes)))
    chosen = items.labels >= 0
    flat = values.flatten(1)
    flat[chosen] += gamma * flat[chosen].norm(dim=1, keepdim=True) * directions[items.labels[chosen]]
    return replace(items, values=flat.view_as(values))
