"""What a trained network with a pooling answers to photos, and the answers to those examined, kept beside its file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from regard.answered_run import answer_rows, called_in_rows
from regard.errors import FileFormatError
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.targets import at_least_float32
from regard.training.brnpa.classification import Trainee
from regard.training.parts import Part
from regard.training.readable import BATCH

ANSWERS = "answers.safetensors"
"""In a finished run: what comparisons of trainings are made of, photo by photo."""
_STUDENT, _TEACHER, _TRUTH, _HEAD = "student", "teacher", "truth", "head "


@dataclass(frozen=True, eq=False)
class Answered:
    """Logits of some photos, (n, C) each, on the CPU.

    Attributes:
        student: of the network.
        watched: of the auxiliary heads, by name.
        teacher: None where there is none.
    """

    student: Tensor
    watched: Mapping[str, Tensor]
    teacher: Tensor | None


@dataclass(frozen=True, eq=False)
class Examined:
    """Photos kept from training and from every choice, in the order of their content, and the answers to them.

    Attributes:
        photos: their paths; of those without one SHA-256 of the content.
        marks: SHA-256 of the content of each.
        truth: index of each one's class, (n,).
        answers: to them.
    """

    photos: tuple[str, ...]
    marks: tuple[str, ...]
    truth: Tensor
    answers: Answered

    @classmethod
    def of(cls, part: Part, answers: Answered) -> Examined:
        """Those of a part."""
        names = tuple(called_in_rows(photo, mark) for photo, mark in zip(part.photos, part.marks, strict=True))
        return cls(names, part.marks, torch.tensor(part.classes), answers)

    @classmethod
    def load(cls, path: Path) -> Examined:
        """Read what `save` wrote.

        Raises:
            FileFormatError: the file is gone or damaged.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                photos, marks = (tuple(json.loads(file.metadata()[name])) for name in ("photos", "marks"))
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            watched = {name.removeprefix(_HEAD): found[name] for name in found if name.startswith(_HEAD)}
            return cls(photos, marks, found[_TRUTH], Answered(found[_STUDENT], watched, found.get(_TEACHER)))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as reason:
            raise FileFormatError(f"{str(path)!r} does not hold a training's answers", came=str(reason)) from reason

    def save(self, path: Path) -> None:
        """Write all of it to one safetensors file."""
        tensors = {_STUDENT: self.answers.student, _TRUTH: self.truth}
        tensors |= {_HEAD + name: logits for name, logits in self.answers.watched.items()}
        if self.answers.teacher is not None:
            tensors[_TEACHER] = self.answers.teacher
        own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        path.write_bytes(save(own, metadata={"photos": json.dumps(self.photos), "marks": json.dumps(self.marks)}))

    def rows(self, method: str, names: Sequence[str]) -> list[dict[str, Any]]:
        """A row of a run for each photo: its class, the class that is answered, and the probability of both."""
        return answer_rows(method, self.photos, self.marks, "softmax", self.truth, self.answers.student, names)


def answered(subject: BRNPAClassifier, trainee: Trainee, teacher: Classifier | None, part: Part) -> Answered:
    """The answers to photos as they are used, in eval mode: a forward a photo, and one of the teacher."""
    student, taught = [], []
    watched: dict[str, list[Tensor]] = {name: [] for name in trainee.ranks}
    for start in range(0, len(part), BATCH):
        pixels = subject.prepare(part.photos[start : start + BATCH]).as_subclass(Tensor)
        with subject.untouched(), torch.no_grad():
            found, output = subject.represent(pixels)
            for name, logits in trainee.watched(found).items():
                watched[name].append(at_least_float32(logits).cpu())
        assert output.logits is not None
        student.append(output.logits.cpu())
        if teacher is not None:
            with teacher.untouched(), torch.no_grad():
                taught.append(teacher.forward(pixels).cpu())
    return Answered(
        torch.cat(student),
        {name: torch.cat(logits) for name, logits in watched.items()},
        torch.cat(taught) if taught else None,
    )
