"""What a run keeps of answers to photos that no training saw: a row a photo, which its report shows."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from regard.images import Photo
from regard.labels import Outputs
from regard.naming import image_of

EXAMINED = "examined"
"""The target of such rows."""
NONE, SEPARATOR = "none", " | "
"""In the place of classes, where a photo shows none of several; and what stands between several."""


def called_in_rows(photo: Photo, mark: str) -> str:
    """What rows call a photo: its path; one without a path by the SHA-256 of its content, which is `mark`."""
    return image_of(Path(photo)) if isinstance(photo, (str, PathLike)) else mark


def answer_rows(
    method: str,
    photos: Sequence[str],
    marks: Sequence[str],
    outputs: Outputs,
    truth: Tensor,
    answers: Tensor,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """A row a photo: what is true of it, what is answered, and of exclusive classes the probabilities of both.

    Args:
        method: what was trained.
        photos: what rows call them.
        marks: SHA-256 of their files.
        outputs: what the answers mean; of "sigmoid" a class is answered from probability ½ on.
        truth: class indices (n,), or 0 and 1 (n, C), or measurements (n, C).
        answers: logits or measurements (n, C).
        names: of the C columns.
    """
    columns = {"softmax": _exclusive, "sigmoid": _independent, "scalar": _measured}[outputs](truth, answers, names)
    return [
        {"image": photo, "photo_sha256": mark, "method": method, "target": EXAMINED, **said}
        for photo, mark, said in zip(photos, marks, columns, strict=True)
    ]


def _exclusive(truth: Tensor, answers: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    chances = answers.double().softmax(dim=1)
    likeliest = chances.max(dim=1)
    of_truth = chances.gather(1, truth[:, None])[:, 0]
    columns = zip(truth.tolist(), likeliest.indices.tolist(), of_truth.tolist(), likeliest.values.tolist(), strict=True)
    return [
        {
            "class": names[true],
            "answer": names[said],
            "probability of the class": chance,
            "probability of the answer": highest,
        }
        for true, said, chance, highest in columns
    ]


def _independent(truth: Tensor, answers: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    def called(marks: Tensor) -> str:
        return SEPARATOR.join(name for name, mark in zip(names, marks.tolist(), strict=True) if mark) or NONE

    return [
        {"class": called(true > 0.5), "answer": called(said >= 0)} for true, said in zip(truth, answers, strict=True)
    ]


def _measured(truth: Tensor, answers: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            **{f"measured {name}": value for name, value in zip(names, true, strict=True)},
            **{f"answered {name}": value for name, value in zip(names, said, strict=True)},
        }
        for true, said in zip(truth.tolist(), answers.tolist(), strict=True)
    ]
