"""What is asked of a map.

A target turns a classifier's answer into one number per image; a map says which parts of the
picture move that number. People write targets as they think of them (an index, a label, a
`Predicted()`, …); `regard.question.ask` turns that into the one form that explainers see.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from regard.errors import TargetError
from regard.labels import Outputs, Subject, class_count, class_index, class_name, class_names

Images = slice | list[int]
"""Which images: a slice, or their numbers, which may repeat."""


@dataclass(frozen=True)
class Output:
    """What a classifier answered: logits (B, C), None without a head; embedding (B, D), None where it is not known."""

    logits: Tensor | None
    embedding: Tensor | None


class Target(ABC):
    """Base of all targets."""

    kind: ClassVar[str]

    @abstractmethod
    def bind(self, subject: Subject) -> Target:
        """Checked against a classifier, labels turned into indices. Raises TargetError before any compute."""

    @abstractmethod
    def scores(self, output: Output) -> Tensor:
        """The target's value per image, (B,), differentiable in the output."""

    @abstractmethod
    def names(self, subject: Subject, images: int) -> list[str]:
        """The target in words, per image."""

    def indices(self, output: Output) -> Tensor | None:
        """Class index per image (B,) where the target is the logit of one class, else None."""
        return None

    def take(self, images: Images) -> Target:
        """The same target for some of the images, in that order."""
        return self

    def fixed(self, output: Output) -> Target:
        """The same target with what it picks by the answer held fast: a predicted class stays that class."""
        return self


@dataclass(frozen=True)
class Class(Target):
    """The logit of one class, by index or label."""

    kind: ClassVar[str] = "class"
    which: int | str

    def bind(self, subject: Subject) -> Class:
        return Class(class_index(self.which, subject))

    def indices(self, output: Output) -> Tensor:
        logits = logits_of(output)
        return torch.full((len(logits),), int(self.which), device=logits.device)

    def scores(self, output: Output) -> Tensor:
        return logits_of(output)[:, int(self.which)]

    def names(self, subject: Subject, images: int) -> list[str]:
        return [class_name(int(self.which), subject)] * images


@dataclass(frozen=True)
class Predicted(Target):
    """The logit of the class that ranks `rank`-th on each image; 1 is the likeliest."""

    kind: ClassVar[str] = "predicted"
    rank: int = 1

    def bind(self, subject: Subject) -> Predicted:
        classes = class_count(subject)
        if subject.outputs == "scalar":
            raise TargetError(
                "a classifier of measurements has no likeliest class", remedy="name the output by its index or label"
            )
        if type(self.rank) is not int or not 1 <= self.rank <= classes:
            raise TargetError(
                "there is no class of this rank",
                came=f"rank={self.rank!r}",
                expected=f"a whole number from 1 to {classes}",
            )
        return self

    def indices(self, output: Output) -> Tensor:
        logits = logits_of(output).detach()
        return torch.sort(logits, dim=1, descending=True, stable=True).indices[:, self.rank - 1]

    def scores(self, output: Output) -> Tensor:
        return logits_of(output).gather(1, self.indices(output)[:, None])[:, 0]

    def names(self, subject: Subject, images: int) -> list[str]:
        return [f"predicted, rank {self.rank}"] * images

    def fixed(self, output: Output) -> ImageClasses:
        return ImageClasses(self.indices(output).cpu())


def top(count: int = 3) -> list[Target]:
    """The `count` likeliest classes of each image: `Predicted(1)` to `Predicted(count)`."""
    if type(count) is not int or count < 1:
        raise TargetError("top() takes a positive whole number", came=repr(count))
    return [Predicted(rank) for rank in range(1, count + 1)]


@dataclass(frozen=True)
class PerImage:
    """Another class for each image: indices (B,), or (B, T) for T targets an image.

    Integers in a tensor, array or nested list. The only way to give targets by image, and given
    alone; a list of plain targets always applies to every image.
    """

    labels: Any

    def columns(self, images: int) -> list[ImageClasses]:
        """One target per column, checked against the number of images."""
        indices = self._as_tensor()
        if indices.dim() == 1:
            indices = indices[:, None]
        if indices.dim() != 2 or indices.shape[1] == 0 or len(indices) != images:
            raise TargetError(
                "PerImage does not fit the images",
                came=f"indices of shape {tuple(indices.shape)} for {images} images",
                expected=f"({images},) or ({images}, T)",
            )
        return [ImageClasses(column) for column in indices.T]

    def _as_tensor(self) -> Tensor:
        try:
            values = torch.as_tensor(self.labels)
        except (TypeError, ValueError, RuntimeError) as reason:
            raise TargetError(
                "PerImage takes whole numbers of one shape", came=str(reason), expected="(B,) or (B, T); not ragged"
            ) from None
        if values.dtype.is_floating_point or values.dtype is torch.bool or values.dtype.is_complex:
            raise TargetError("PerImage takes class indices", came=f"{values.dtype}", expected="whole numbers")
        return values.detach().to("cpu", torch.int64)


@dataclass(frozen=True, eq=False)
class ImageClasses(Target):
    """One class index per image (B,): a column of `PerImage`."""

    kind: ClassVar[str] = "per image"
    classes: Tensor

    def bind(self, subject: Subject) -> ImageClasses:
        for value in self.classes.tolist():
            class_index(value, subject)
        return self

    def indices(self, output: Output) -> Tensor:
        return self.classes.to(logits_of(output).device)

    def scores(self, output: Output) -> Tensor:
        return logits_of(output).gather(1, self.indices(output)[:, None])[:, 0]

    def names(self, subject: Subject, images: int) -> list[str]:
        return class_names(self.classes.tolist(), subject)

    def take(self, images: Images) -> ImageClasses:
        return ImageClasses(self.classes[images])


@dataclass(frozen=True)
class Difference(Target):
    """first − second: what speaks for one target rather than the other. Both may be any target."""

    kind: ClassVar[str] = "difference"
    first: Any
    second: Any

    def bind(self, subject: Subject) -> Difference:
        return Difference(single(self.first).bind(subject), single(self.second).bind(subject))

    def scores(self, output: Output) -> Tensor:
        difference: Tensor = self.first.scores(output) - self.second.scores(output)
        return difference

    def names(self, subject: Subject, images: int) -> list[str]:
        pairs = zip(self.first.names(subject, images), self.second.names(subject, images), strict=True)
        return [f"{first} − {second}" for first, second in pairs]

    def take(self, images: Images) -> Difference:
        return Difference(self.first.take(images), self.second.take(images))

    def fixed(self, output: Output) -> Difference:
        return Difference(self.first.fixed(output), self.second.fixed(output))


@dataclass(frozen=True)
class Probability(Target):
    """The probability of a class: softmax or sigmoid of the logits, as the classifier's outputs are declared."""

    kind: ClassVar[str] = "probability"
    of: Any
    outputs: Outputs = "softmax"

    def bind(self, subject: Subject) -> Probability:
        inner = single(self.of).bind(subject)
        if not isinstance(inner, (Class, Predicted, ImageClasses)):
            raise TargetError(
                "only a class has a probability", came=repr(self.of), expected="an index, label or Predicted"
            )
        if subject.outputs not in ("softmax", "sigmoid"):
            raise TargetError(f"a classifier with {subject.outputs} outputs gives no probabilities")
        return replace(self, of=inner, outputs=subject.outputs)

    def scores(self, output: Output) -> Tensor:
        return self._log(output).exp()

    def _log(self, output: Output) -> Tensor:
        chosen: Tensor = self.of.indices(output)
        return log_probabilities(logits_of(output), self.outputs).gather(1, chosen[:, None])[:, 0]

    def names(self, subject: Subject, images: int) -> list[str]:
        return [f"{self.kind} of {name}" for name in self.of.names(subject, images)]

    def take(self, images: Images) -> Probability:
        return replace(self, of=self.of.take(images))

    def fixed(self, output: Output) -> Probability:
        return replace(self, of=self.of.fixed(output))


@dataclass(frozen=True)
class LogProbability(Probability):
    """The logarithm of a class's probability; unlike the logit it does not change when all logits shift."""

    kind: ClassVar[str] = "log-probability"

    def scores(self, output: Output) -> Tensor:
        return self._log(output)


@dataclass(frozen=True)
class Score(Target):
    """Any differentiable function of the output: (B, C) logits, or (B, D) embeddings, → (B,).

    Args:
        function: batch first; the value of an image may depend on that image alone.
        of: what it reads.
        name: in words, for pictures and files.
    """

    kind: ClassVar[str] = "score"
    function: Callable[[Tensor], Tensor]
    of: Literal["logits", "embedding"] = "logits"
    name: str = "score"

    def bind(self, subject: Subject) -> Score:
        if not callable(self.function):
            raise TargetError("Score takes a function", came=repr(self.function))
        if self.of not in ("logits", "embedding"):
            raise TargetError("Score reads logits or the embedding", came=f"of={self.of!r}")
        if self.of == "logits":
            class_count(subject)
        elif subject.width is None:
            raise no_embedding()
        return self

    def scores(self, output: Output) -> Tensor:
        argument = logits_of(output) if self.of == "logits" else embedding_of(output)
        values = self.function(argument)
        if not isinstance(values, Tensor) or values.shape != argument.shape[:1]:
            came = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise TargetError(
                f"the function of {self.name!r} does not give one number per image",
                came=came,
                expected=f"a tensor of shape ({len(argument)},) from one of shape {tuple(argument.shape)}",
                remedy="write it batch first, for example lambda logits: logits[:, 3] - logits[:, 5]",
            )
        return values

    def names(self, subject: Subject, images: int) -> list[str]:
        return [self.name] * images


def single(target: Any) -> Target:
    """One target as a person writes it, an index or label included → a `Target`."""
    if isinstance(target, Target):
        return target
    if isinstance(target, PerImage):
        raise TargetError("PerImage gives all targets at once", remedy="give it alone, not in a list")
    if isinstance(target, str):
        return Class(target)
    if isinstance(target, Tensor) or (hasattr(target, "__array__") and getattr(target, "ndim", 0) > 0):
        raise TargetError(
            "a bare tensor or array as targets could mean two things",
            came=f"{type(target).__name__} of shape {tuple(target.shape)}",
            remedy="regard.PerImage(tensor) gives each image its own; a list such as [3, 5] applies to every image",
        )
    if not isinstance(target, bool):
        try:
            return Class(operator.index(target))
        except TypeError:
            pass
    raise TargetError(
        "this is not a target",
        came=repr(target)[:80],
        expected="a class index, a label, or one of regard's targets (Predicted, Difference, Concept, …)",
    )


def log_probabilities(logits: Tensor, outputs: Outputs) -> Tensor:
    """log softmax over classes, or log sigmoid of each: (B, C) → (B, C), float32; float64 where the logits are."""
    if outputs == "sigmoid":
        return torch.nn.functional.logsigmoid(at_least_float32(logits))
    return torch.log_softmax(at_least_float32(logits), dim=1)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precisions → float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def exact(tensor: Tensor) -> Tensor:
    """In float64, where the device has it: mps has not, and keeps float32."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def logits_of(output: Output) -> Tensor:
    """The logits, or TargetError where there is no head."""
    if output.logits is None:
        raise TargetError("the classifier has no head, so it knows no classes")
    return output.logits


def embedding_of(output: Output) -> Tensor:
    """The embedding, or TargetError where it is not known."""
    if output.embedding is None:
        raise no_embedding()
    return output.embedding


def no_embedding() -> TargetError:
    """What is said where a target reads an embedding that is not known."""
    return TargetError(
        "the embedding of this network is not known: no linear layer gives its output",
        remedy="pass the backbone and its head apart: Classifier(backbone, preparation, head=…)",
    )
