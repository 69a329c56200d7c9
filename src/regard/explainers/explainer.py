"""What every method shares: photos and targets in, an explanation out, nothing left behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from regard.errors import NotFiniteError, TargetError, UnsupportedError
from regard.explanation import SIGNS, Explanation, join
from regard.images import Photo, Pixels
from regard.models import passes
from regard.models.classifier import Classifier, finite_images
from regard.provenance import version
from regard.question import Question, TargetAnswer, ask
from regard.ranks import Ranks
from regard.targets import Output

OnNaN = Literal["error", "skip", "propagate"]
ALL_TARGETS = frozenset(
    {
        "class",
        "predicted",
        "per image",
        "difference",
        "probability",
        "log-probability",
        "score",
        "concept",
        "similarity",
    }
)


@dataclass(frozen=True)
class Found:
    """What a method computed for some images.

    Attributes:
        maps: (B, T, h, w).
        output: the classifier's answer from the same pass; None where the method ran none.
        attention: the head's attention to the patches (B, heads, h, w), where it came for free.
        prefix: the method's scores of prefix tokens, (B, T, P), where it gives them some.
        notes: what a reader of these maps should know.
        ranks: a map of each representative, and what it adds to each target's score.
    """

    maps: Tensor
    output: Output | None
    attention: Tensor | None = None
    prefix: Tensor | None = None
    notes: tuple[str, ...] = ()
    ranks: Ranks | None = None


class Explainer(ABC):
    """A method bound to a classifier.

    Subclasses declare what they are and implement `_explain` for a chunk of images; the base prepares
    photos, checks targets before any compute, keeps the network untouched, cuts the batch by
    the memory budget, and refuses NaN.

    Class attributes:
        name: as the command line and tables write it.
        summary: one line.
        answers: kinds of targets it can be asked.
        networks: which networks it explains, in words.
        signed: whether values below zero mean the opposite of those above.
        signs: what values below and above zero mean where it is signed, as legends say it: blue, and red.
        keeps_all: whether a pass keeps what all layers computed, as gradients through them do; chunks are smaller then.
        forwards_each: forward passes that one picture costs.
        per_target: whether it tells targets apart. A method that does not gives every target the same map.
        zero_means: what a map says that is zero everywhere, to follow a colon.

    Raises:
        UnsupportedError: at construction, where the method cannot explain the classifier, with the reason.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    answers: ClassVar[frozenset[str]] = ALL_TARGETS
    networks: ClassVar[str] = "any"
    signed: ClassVar[bool] = False
    signs: ClassVar[tuple[str, str]] = SIGNS
    per_target: ClassVar[bool] = True
    zero_means: ClassVar[str] = "nothing was found in the picture that moves the target"
    keeps_all: bool = False
    forwards_each: int = 1

    def __init__(self, classifier: Classifier) -> None:
        if not isinstance(classifier, Classifier):
            raise UnsupportedError(
                f"{self.name} explains a regard.Classifier",
                came=type(classifier).__name__,
                remedy="regard.Classifier(network, regard.Preparation(…)), or regard.load(name)",
            )
        self.classifier = classifier
        self._learned_from: str | None = None
        self.settings: dict[str, Any] = {}
        self.notes: tuple[str, ...] = ()

    @property
    def colours(self) -> str:
        """How pictures of its maps are read."""
        below, above = self.signs
        return f"red: {above}, blue: {below}" if self.signed else "bright is where it looks"

    def learn(self) -> None:
        """Take from the classifier what depends on its weights; done again by itself where they have changed.

        Raises:
            UnsupportedError: the method cannot explain the classifier.
        """
        self._learn()
        self._learned_from = self.classifier.hash

    def _learn(self) -> None:  # noqa: B027 (most methods have nothing to keep)
        """What `learn` does; nothing where a method reads the network anew each time."""

    @abstractmethod
    def _explain(self, pixels: Tensor, question: Question) -> Found:
        """Maps of a chunk of prepared images (B, 3, H, W), in eval mode."""

    def __call__(
        self, photos: Photo | Sequence[Photo] | Tensor, targets: Any = None, *, on_nan: OnNaN = "error"
    ) -> Explanation:
        """Explain photos or prepared pixels.

        Args:
            photos: paths, PIL images, uint8 arrays, or prepared pixels (B, 3, H, W).
            targets: an index, a label, a target or a list of those, which applies to every image;
                `PerImage` for each its own; default the likeliest class.
            on_nan: what NaN or infinity does: "error" names its place; "skip" makes the whole image's
                maps NaN; "propagate" leaves them as they come. Either is counted in `not_finite`.

        Returns:
            Maps float32 (B, T, h, w), raw.
        """
        if on_nan not in ("error", "skip", "propagate"):
            raise NotFiniteError("no such rule for NaN", came=repr(on_nan), expected="error, skip or propagate")
        pixels = self.classifier.prepare(photos)
        question = self.question(targets, len(pixels))
        plain = pixels.as_subclass(Tensor)
        if on_nan == "error":
            self.classifier.check_finite(plain)
        belongs_to = self.classifier.hash
        if self._learned_from not in (None, belongs_to):
            self.learn()

        def chunk(numbers: Tensor) -> Explanation:
            images = slice(int(numbers[0]), int(numbers[-1]) + 1)
            return replace(self._chunk(pixels[images], images, question, on_nan), classifier_hash=belongs_to)

        return join(passes.in_parts(self.classifier, len(plain), plain[:1], chunk, keeps_all=self.keeps_all))

    def question(self, targets: Any, images: int) -> Question:
        """Targets as a person writes them, checked against classifier and method; no compute.

        Raises:
            TargetError: what cannot be asked.
        """
        if targets is None and not self.per_target and self.classifier.class_count is None:
            return Question((), self.classifier)
        question = ask(targets, self.classifier, images)
        refused = sorted({target.kind for target in question.targets} - self.answers)
        if refused:
            raise TargetError(
                f"{self.name} does not answer this kind of target",
                came=refused[0],
                expected=", ".join(sorted(self.answers)),
                remedy="regard methods lists which method answers what",
            )
        return question

    def _chunk(self, pixels: Tensor, images: slice, question: Question, on_nan: OnNaN) -> Explanation:
        assert isinstance(pixels, Pixels)
        plain, part = pixels.as_subclass(Tensor), question.take(images)
        with passes.counted() as spent:
            found = self._explain(plain, part)
            output = found.output or self.classifier.respond(plain)
        maps, not_finite = self._checked(found.maps.detach().float(), _sound(plain, output), images.start, on_nan)
        maps, answers = maps.cpu(), _answers(part, output, len(plain))
        height, width = self._covered(plain, maps)
        return Explanation(
            maps=maps,
            targets=answers,
            logits=None if output.logits is None else output.logits.detach().float().cpu(),
            geometries=tuple(geometry.corner(height, width) for geometry in pixels.geometries),
            pictures=self.classifier.preparation.pictures(plain[:, :, :height, :width]),
            method=self.name,
            settings=self.settings,
            classifier=self.classifier.name,
            classifier_hash="",
            signed=self.signed,
            per_target=self.per_target,
            attention=_kept(found.attention),
            prefix=_kept(found.prefix),
            not_finite=not_finite,
            forwards=spent.forwards,
            backwards=spent.backwards,
            notes=(*self.notes, *found.notes, *self._on_zeros(maps, answers, images.start)),
            version=version(),
            signs=self.signs,
            ranks=found.ranks,
        )

    def _on_zeros(self, maps: Tensor, answers: tuple[tuple[TargetAnswer, ...], ...], start: int) -> tuple[str, ...]:
        """A note that names image and target of every map that is zero everywhere, and says what that means."""
        zeros = (maps == 0).flatten(2).all(dim=2).nonzero().tolist()
        named = [f"{answers[image][target].name!r} in image {start + image}" for image, target in zeros]
        return (f"the map is zero everywhere for {', '.join(named)}: {self.zero_means}",) if named else ()

    def _covered(self, pixels: Tensor, maps: Tensor) -> tuple[int, int]:
        """(H, W) of the part of the frame that maps are of: maps of patches end where whole patches end."""
        tokens = self.classifier.tokens
        if tokens is None or tuple(maps.shape[2:]) != tokens.grid(pixels):
            return pixels.shape[2], pixels.shape[3]
        return maps.shape[2] * tokens.patch[0], maps.shape[3] * tokens.patch[1]

    def _checked(self, maps: Tensor, sound: Tensor, start: int, on_nan: OnNaN) -> tuple[Tensor, tuple[int, ...]]:
        finite = maps.isfinite().flatten(1).all(dim=1) & sound.to(maps.device)
        if bool(finite.all()):
            return maps, ()
        bad = [image for image, good in enumerate(finite.tolist()) if not good]
        if on_nan == "error":
            raise NotFiniteError(
                f"the map of image {start + bad[0]}, or the network's answer to it, holds NaN or infinity",
                came=self.classifier.blame_for_nan(),
                remedy='repair the network, or pass on_nan="skip" or "propagate"',
            )
        if on_nan == "skip":
            maps = torch.where(finite[:, None, None, None], maps, torch.nan)
        return maps, tuple(bad)


def _kept(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().float().cpu()


def _sound(pixels: Tensor, output: Output) -> Tensor:
    """Which images are finite and got an answer without NaN, (B,): a map of any other means nothing."""
    sound = finite_images(pixels)
    for part in (output.logits, output.embedding):
        if part is not None:
            sound = sound & ~part.isnan().any(dim=1)
    return sound


def _answers(question: Question, output: Output, images: int) -> tuple[tuple[TargetAnswer, ...], ...]:
    """Per image, per target; a method that tells no targets apart may have been asked nothing at all."""
    if not question.targets:
        return ((TargetAnswer("any target", None, None, None),),) * images
    return question.answers(output)
