"""Gradients averaged over many pictures, on a path or in a cloud of noise: adapters of captum.

captum gives the rules: where to differentiate and how to weigh. What it would do to a model and to numbers is
repaired here: one picture at a time, so that nothing depends on batch mates; all targets from one graph, where
captum runs a forward for each; a predicted class stays that of the whole picture; passes hold what memory
allows and are counted; noise has its own generator, so that a draw depends on picture and seed alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from regard.compat import import_optional
from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer, Found
from regard.explainers.gradients import GRADIENT_BYTES, incomplete, of_targets
from regard.explainers.inputs import from_pixels
from regard.fills import Fill, training_mean
from regard.images import seed_of
from regard.models import passes
from regard.models.classifier import Classifier
from regard.question import Question
from regard.seeds import check_seed


class _Averaged(Explainer):
    """What both share: captum, and gradients of all targets at some points around one picture."""

    signed: ClassVar[bool] = True
    keeps_all = True

    def __init__(self, classifier: Classifier, points: int, called: str) -> None:
        super().__init__(classifier)
        if type(points) is not int or points < 1:
            raise UnsupportedError(f"{called} are a positive whole number", came=repr(points))
        self.points = points
        self.settings = {called: points}
        self.captum: ModuleType = import_optional("captum.attr", "baselines")

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        output = self.classifier.respond(pixels)
        asked = question.fixed(output)
        maps = [self._average(pixels[image : image + 1], asked.take([image])) for image in range(len(pixels))]
        return Found(torch.stack(maps), output)

    @abstractmethod
    def _average(self, picture: Tensor, question: Question) -> Tensor:
        """The maps (T, H, W) of one picture (1, 3, H, W)."""

    def _told(self, attribution: Any, question: Question) -> Any:
        """A captum attribution whose gradients are those of all targets: (n, T, 3, H, W) at n points (n, 3, H, W)."""

        def gradients(*given: Any, **named: Any) -> tuple[Tensor, ...]:
            """captum gives a model, then the points, by place or by name."""
            points: tuple[Tensor, ...] = named["inputs"] if "inputs" in named else given[1]
            leaf, output = from_pixels(self.classifier, points[0])
            asked = question.take([0] * len(leaf))
            return (torch.cat(list(of_targets(output, leaf, asked.cotangents(output)))).transpose(0, 1),)

        attribution.gradient_func = gradients
        return attribution

    def _points_each(self, picture: Tensor, question: Question) -> int:
        """How many points a pass may hold: by the network's memory, and by that of their gradients."""
        of_gradients = GRADIENT_BYTES // (len(question.targets) * picture.numel() * 4)
        return max(1, min(passes.chunk_size(self.classifier, picture, keeps_all=True), of_gradients, self.points))


class IntegratedGradients(_Averaged):
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), through captum; at pixels, (B, T, H, W).

        S = Σ_c (x − x⁰)_c ⊙ Σ_k w_k ∂f/∂x_c ( x⁰ + α_k (x − x⁰) )

    α and w are the nodes and weights of the Gauss–Legendre rule on [0, 1]. Channels are summed, so that the
    map sums to f(x) − f(x⁰) (completeness); where that misses by more than 5 % of |f(x)| + |f(x⁰)|, a note
    says so. Section 4.9 of papers: CDAM takes the mean over channels: a third of it.

    Args:
        classifier: the classifier.
        steps: nodes on the path; 50, as in section 4.9.
        baseline: x⁰, as what a fill leaves where nothing is kept; default the training set's mean colour (zero in
            prepared pixels), as in section 4.9. Black: `Colour.of((0, 0, 0), mean, std)`.

    Cost: steps + 2 forwards, shared by all targets; per target a backward at each step.

    Raises:
        MissingDependencyError: captum is not installed.
        UnsupportedError: steps are no positive whole number, or the baseline is no fill.
    """

    name: ClassVar[str] = "integrated-gradients"
    summary: ClassVar[str] = "pixels times the target's gradient, averaged on the way from the mean colour"

    def __init__(self, classifier: Classifier, *, steps: int = 50, baseline: Fill | None = None) -> None:
        super().__init__(classifier, steps, "steps")
        self.baseline = training_mean(classifier.preparation.channels) if baseline is None else baseline
        if not isinstance(self.baseline, Fill):
            raise UnsupportedError("the baseline is a fill", came=repr(baseline), expected="one of regard.fills")
        self.settings["baseline"] = repr(self.baseline)
        self.forwards_each = steps + 2

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        found = super()._explain(pixels, question)
        assert found.output is not None
        asked = question.fixed(found.output)
        without = self.classifier.respond(self.baseline.background(pixels))
        added = asked.scores(found.output) - asked.scores(without)
        return replace(found, notes=incomplete(found.maps, added, f"{self.points} steps"))

    def _average(self, picture: Tensor, question: Question) -> Tensor:
        attribution = self._told(self.captum.IntegratedGradients(_unused), question)
        found: Tensor = attribution.attribute(
            picture,
            baselines=self.baseline.background(picture),
            n_steps=self.points,
            internal_batch_size=self._points_each(picture, question),
        )
        return found[0].sum(dim=1)


class SmoothGrad(_Averaged):
    """SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825), through captum; at pixels, (B, T, H, W).

        S = 1/n Σ_k 1/3 Σ_c ∂f/∂x_c ( x + σ ε_k ),   ε ~ N(0, 1),   σ = 0.15 (max x − min x) of that picture

    Signed gradients, neither absolute nor squared, mean over channels, as in section 4.9 of papers: CDAM.

    Args:
        classifier: the classifier.
        samples: n; 50, as in section 4.9.
        seed: of the noise, which depends on it and on the picture alone.

    Cost: samples + 1 forwards, shared by all targets; per target a backward at each sample.

    Raises:
        MissingDependencyError: captum is not installed.
        UnsupportedError: samples are no positive whole number, or the seed has more than 64 bits.
    """

    name: ClassVar[str] = "smooth-grad"
    summary: ClassVar[str] = "the target's gradient at the pixels, averaged over noise"
    NOISE: ClassVar[float] = 0.15

    def __init__(self, classifier: Classifier, *, samples: int = 50, seed: int = 0) -> None:
        super().__init__(classifier, samples, "samples")
        check_seed(seed)
        self.seed = seed
        self.settings["seed"] = seed
        self.forwards_each = samples + 1

    def _average(self, picture: Tensor, question: Question) -> Tensor:
        attribution = self.captum.NoiseTunnel(self._told(self.captum.Saliency(_unused), question))
        with _Draws(seed_of(picture[0], self.seed)):
            found: Tensor = attribution.attribute(
                picture.clone(),  # captum sets requires_grad on what it is given
                nt_samples=self.points,
                nt_samples_batch_size=self._points_each(picture, question),
                stdevs=self.NOISE * float(picture.max() - picture.min()),
                abs=False,
            )
        return found[0].mean(dim=1)


def _unused(*_: object) -> None:
    """What captum takes for a model: gradients come from `_told`, so it never runs."""


class _Draws(TorchFunctionMode):
    """While the block runs, `torch.normal(mean, deviations)` draws sample by sample from its own generator.

    captum draws a pass's samples at once from the global one: their noise would depend on how many fit in memory.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is not torch.normal:
            return function(*args, **(kwargs or {}))
        mean, deviations = args
        samples = [torch.randn(one.shape, generator=self.generator) for one in deviations]
        return mean + deviations * torch.stack(samples).to(deviations)
