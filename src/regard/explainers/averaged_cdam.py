"""Averages of CDAM (Brocki et al., arXiv 2312.02364; CDAM, sections 3.4 and 3.5): over noise, and along two paths.

All points of an average share the network up to its last block, which runs once; each costs the evidence of the
last block alone, and with the closed form little more than its noise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.explainers.cdam import Form, averages, find_evidence
from regard.explainers.evidence import ClosedForm, Point, Pooled, point_of
from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import incomplete
from regard.explainers.reading import anatomy, on_grid, prefix_of
from regard.images import seed_of
from regard.models.classifier import Classifier
from regard.question import Question
from regard.seeds import check_seed
from regard.targets import Output, at_least_float32

NoiseAt = Literal["block input", "norm output"]
Scale = Literal["range", "channel", "rms"]

POINT_BYTES = 32 * 2**20
"""Bytes of the tokens of points that are computed together."""


class _AveragedCDAM(Explainer):
    """Mean over points of factor · S, in chunks of points; predicted classes are those of the picture itself."""

    networks: ClassVar[str] = "vision transformers"
    signed: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, form: Form, pooled: Pooled, **settings: Any) -> None:
        super().__init__(classifier)
        self.tokens = anatomy(classifier, self.name)
        for name, value, known in (("form", form, get_args(Form)), ("pooled", pooled, ("u+x", "paper"))):
            if value not in known:
                raise UnsupportedError(f"{self.name} has no such {name}", came=repr(value), expected=", ".join(known))
        self.form, self.pooled, self.asked = form, pooled, settings
        self.learn()

    def _learn(self) -> None:
        self.evidence, self.notes = find_evidence(self.classifier, self.tokens, "both", self.form, self.pooled)
        self.settings = {**self.asked, "form": "closed" if isinstance(self.evidence, ClosedForm) else "autograd"}
        if averages(self.tokens):
            self.settings["pooled"] = self.pooled

    @abstractmethod
    def _points(self, pixels: Tensor, own: Point) -> Iterator[tuple[Point, float]]:
        """The points over which scores are averaged, each with the factor of the scores there."""

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        own = point_of(self.classifier, self.tokens, pixels)
        own = replace(own, entering=at_least_float32(own.entering), read=at_least_float32(own.read))
        output = self.evidence.answer(own)
        asked = question.fixed(output)
        size = max(1, POINT_BYTES // (own.entering.numel() * own.entering.element_size()))
        total, count = torch.zeros((), device=pixels.device), 0
        for group in _in_groups(self._points(pixels, own), size):
            entering, read = (torch.cat([getattr(point, part) for point, _ in group]) for part in ("entering", "read"))
            images = list(range(len(pixels))) * len(group)
            scores, *_ = self.evidence(replace(own, entering=entering, read=read), asked.take(images))
            factors = torch.tensor([factor for _, factor in group]).to(scores).view(-1, 1, 1, 1)
            total = total + (factors * scores.unflatten(0, (len(group), len(pixels)))).sum(dim=0)
            count += len(group)
        mean = total / count
        maps, prefix = on_grid(self.tokens, pixels, mean), prefix_of(self.tokens, pixels, mean)
        return Found(maps, output, None, prefix, self._notes(own, maps, asked, output))

    def _notes(self, own: Point, maps: Tensor, question: Question, output: Output) -> tuple[str, ...]:
        """What a reader of these maps should know."""
        return ()


class SmoothCDAM(_AveragedCDAM):
    """Smooth CDAM: the mean of CDAMs whose tokens carry noise (CDAM, section 3.4).

        S = 1/K Σ_k Σ_j u_k ⊙ ∂f/∂u_k ,     u_k = norm(x + ε_k),   ε_k ~ N(0, (noise · scale)²)

    Args:
        classifier: of a transformer.
        samples: K, default the paper's 50.
        noise: of the noise's standard deviation, as a share of the tokens' scale; default the paper's 0.05.
        noise_at: "block input" adds it to x, the tokens that enter the last block; "norm output" to u itself.
        scale: per image: "range" the largest value minus the smallest, as in the paper; "channel" the same of each
            channel over the tokens; "rms" the root of the mean square. Few channels of large activations set the
            range, so that shares of it are not comparable between networks; of the others they are.
        seed: of the draws, which depend on seed and picture alone.
        form: as for CDAM.
        pooled: as for CDAM; without its "exact".

    Cost: the network up to its last block once; K times B·N·D normal draws and, in closed form, 26 D² + 6 H D N and
    20 D² + 2 H D N per target.

    Raises:
        UnsupportedError: no transformer, or settings without meaning.
    """

    name: ClassVar[str] = "smooth-cdam"
    summary: ClassVar[str] = "CDAM averaged over noisy tokens"

    def __init__(
        self,
        classifier: Classifier,
        *,
        samples: int = 50,
        noise: float = 0.05,
        noise_at: NoiseAt = "block input",
        scale: Scale = "range",
        seed: int = 0,
        form: Form = "auto",
        pooled: Pooled = "u+x",
    ) -> None:
        _check_count("samples", samples, 1)
        if not (isinstance(noise, (int, float)) and 0 <= noise < float("inf")):
            raise UnsupportedError("noise is a share of the tokens' scale", came=repr(noise), expected="0 or more")
        for name, value, known in (("noise_at", noise_at, NoiseAt), ("scale", scale, Scale)):
            if value not in get_args(known):
                raise UnsupportedError(f"no such {name}", came=repr(value), expected=", ".join(get_args(known)))
        check_seed(seed)
        self.samples, self.noise, self.noise_at, self.scale, self.seed = samples, noise, noise_at, scale, seed
        settings = {"samples": samples, "noise": noise, "noise_at": noise_at, "scale": scale, "seed": seed}
        super().__init__(classifier, form, pooled, **settings)

    def _points(self, pixels: Tensor, own: Point) -> Iterator[tuple[Point, float]]:
        before = self.noise_at == "block input"
        clean = own.entering if before else own.read
        deviation = self.noise * _scale_of(clean, self.scale)
        draws = [torch.Generator().manual_seed(seed_of(picture, self.seed)) for picture in pixels]
        for _ in range(self.samples):
            drawn = torch.stack([torch.randn(clean.shape[1:], generator=draw) for draw in draws])
            noisy = torch.addcmul(clean, drawn.to(clean), deviation)
            if before:
                yield replace(own, entering=noisy, read=self.evidence.normed(noisy, own.picture)), 1.0
            else:
                yield replace(own, read=noisy), 1.0


class _SteppedCDAM(_AveragedCDAM):
    """An average over the steps of a path."""

    least: ClassVar[int] = 1

    def __init__(self, classifier: Classifier, *, steps: int = 50, form: Form = "auto", pooled: Pooled = "u+x") -> None:
        _check_count("steps", steps, self.least)
        self.steps = steps
        super().__init__(classifier, form, pooled, steps=steps)


class IntegratedCDAM(_SteppedCDAM):
    """Integrated gradients of the last attention's tokens: complete (CDAM, section 3.5, "ig").

        S[i] = u_i · 1/K Σ_k ∂f/∂u_i (α_k u),   α_k = (k − ½)/K,   patches scaled, prefix tokens and residual fixed

    Complete: Σ_i S[i] over patches is f(u) − f(u with all patches 0), up to the midpoint rule's 1/K². For heads that
    average patches x is scaled with u. The paper's own "Integrated CDAM" is `PaperIntegratedCDAM`.

    Args:
        classifier: of a transformer.
        steps: K, default 50.
        form: as for CDAM.
        pooled: as for CDAM; without its "exact".

    Raises:
        UnsupportedError: no transformer, or settings without meaning.
    """

    name: ClassVar[str] = "integrated-cdam"
    summary: ClassVar[str] = "integrated gradients of the last attention's tokens: sums to what all patches add"

    def _points(self, pixels: Tensor, own: Point) -> Iterator[tuple[Point, float]]:
        for step in range(self.steps):
            share = (step + 0.5) / self.steps
            yield self._scaled(own, share), 1 / share

    def _scaled(self, own: Point, share: float) -> Point:
        scale = own.read.new_ones(own.read.shape[1], 1)
        scale[self.tokens.prefix :] = share
        both = self.pooled == "u+x" and averages(self.tokens)
        return replace(own, entering=own.entering * scale if both else own.entering, read=own.read * scale)

    def _notes(self, own: Point, maps: Tensor, question: Question, output: Output) -> tuple[str, ...]:
        added = question.scores(output) - question.scores(self.evidence.answer(self._scaled(own, 0.0)))
        return incomplete(maps, added, f"{self.steps} steps")


class PaperIntegratedCDAM(_SteppedCDAM):
    """Integrated CDAM as published: the mean of CDAMs whose block input is scaled (CDAM, section 3.5, "paper").

        S = 1/(m − 1) Σ_k Σ_j u_k ⊙ ∂f/∂u_k ,     u_k = norm(k/m · x),   k = 1 … m − 1

    A norm forgets the scale of its input, so u hardly changes: what is averaged over is the scale of the class token's
    residual. Nothing is integrated, and the sum is no difference of outputs; `IntegratedCDAM` is complete.

    Args:
        classifier: of a transformer.
        steps: m, default the paper's 50.
        form: as for CDAM.
        pooled: as for CDAM; without its "exact".

    Raises:
        UnsupportedError: no transformer, or settings without meaning.
    """

    name: ClassVar[str] = "paper-integrated-cdam"
    summary: ClassVar[str] = "Integrated CDAM as published: the mean over scaled inputs of the last block"
    least = 2

    def _points(self, pixels: Tensor, own: Point) -> Iterator[tuple[Point, float]]:
        for step in range(1, self.steps):
            scaled = own.entering * (step / self.steps)
            yield replace(own, entering=scaled, read=self.evidence.normed(scaled, own.picture)), 1.0


def _in_groups(points: Iterator[tuple[Point, float]], size: int) -> Iterator[list[tuple[Point, float]]]:
    group: list[tuple[Point, float]] = []
    for point in points:
        group.append(point)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _scale_of(tokens: Tensor, scale: Scale) -> Tensor:
    """Of each image: (B, 1, 1), or (B, 1, D) by channel."""
    if scale == "rms":
        return tokens.square().mean(dim=(1, 2), keepdim=True).sqrt()
    places = (1, 2) if scale == "range" else (1,)
    return tokens.amax(dim=places, keepdim=True) - tokens.amin(dim=places, keepdim=True)


def _check_count(name: str, count: int, least: int) -> None:
    if type(count) is not int or count < least:
        raise UnsupportedError(f"{name} is a whole number", came=repr(count), expected=f"{least} or more")
