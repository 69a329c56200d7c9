"""Ablation-CAM (Ramaswamy & Desai, WACV 2020): each feature map is judged by what is lost without it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from regard.explainers.explainer import Found
from regard.explainers.gradcam import OnOneLayer
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.networks import trial_pictures
from regard.models.suffix import SAME, Held, Suffix, find_suffix, joined
from regard.question import Question
from regard.targets import Output, exact

ROWS = 256
"""Channels whose answers are written out at a time by the closed form: C numbers each."""


class AblationCAM(OnOneLayer):
    """Feature maps weighed by the share of the target's value that is lost without each of them, positive part.

        L = relu( Σ_k w_k a(A_k) ),   w_k = (y − y_k) / |y|      (paper, equations 4 and 5, there A_k, divided by y)

    y is the target's value, y_k that with channel k set to zero; a predicted class is that of the whole picture. The
    paper's y is meant to be above zero, as the logit of a likely class is: where it is below, dividing by it
    would turn the weights round, and channels that support the target would count against it, so its size is taken
    instead; at zero, 1e-12. The paper's features come out of a ReLU: a(A) = A. Of others, what the network reads
    counts. Where a ReLU follows the layer, as in DenseNet, negative values have no effect: a(A) = relu(A), taken if
    what follows the layer answers relu(A) as it does A, on noise and on bright noise. Elsewhere, as in tokens, features
    have an effect where they are far from zero on either side: a(A) = |A|, since a channel whose negative values
    support the target would else count against it in those very places. Of a transformer's tokens the channel of all
    patches is set to zero, prefix tokens stay.

    Features are computed once; per channel only what follows them runs, as far as the network can be entered there:
    see `models.suffix`. Channels whose a(A) is zero already cost nothing. Where what follows is a pool that takes each
    channel by itself and a linear head (ResNet, DenseNet, EfficientNet), there are no passes at all, for any target:
    without channel k the pooled e_k is zero and every logit loses W_ck e_k. Whether that holds is tried, by passes
    of noise and of bright noise without one half of the channels and without the other.

    Args and errors as of `GradCAM`.

    Cost: one forward in the closed form; else one more per channel that is not zero, from the layer on, each counted
    as a forward: `forwards_each` is what it costs where none is. All targets are read from the same passes.
    """

    name: ClassVar[str] = "ablation-cam"
    summary: ClassVar[str] = "feature maps weighed by what the target loses without each"
    zero_means: ClassVar[str] = "no cell speaks for the target at this layer"

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier, layer=layer)
        self.learn()

    def _learn(self) -> None:
        self.suffix: Suffix = find_suffix(self.classifier, self.features.place)
        pictures = trial_pictures(self.classifier)
        with self.classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
            held, output = self.suffix.hold(self.classifier, pictures)
            maps = self.features.maps(held.tensor, pictures)
            rectified = self.features.back(maps.relu(), held.tensor)
            self.rectified = self.suffix.agrees(self.classifier, held, output, rectified)
            channels = maps.shape[1]
            self.closed = self._pools(held, output, channels)
        self.forwards_each = 1 if self.closed else channels + 1

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        held, output = self.suffix.hold(self.classifier, pixels)
        features, asked = self._read(held), question.fixed(output)
        losses = self._in_closed_form(output, asked) if self.closed else self._by_passes(held, output, asked)
        weights = losses / asked.scores(output).abs().clamp(min=1e-12)[:, None]
        maps = torch.einsum("bkt,bkhw->bthw", weights.float(), features.float())
        return Found(maps.relu(), output)

    def _read(self, held: Held) -> Tensor:
        """How much of each feature the network reads, a(A), (B, K, h, w)."""
        maps = self.features.maps(held.tensor, held.pixels)
        return maps.relu() if self.rectified else maps.abs()

    def _by_passes(self, held: Held, output: Output, question: Question) -> Tensor:
        """y − y_k by passes of the suffix, (B, K, T); 0 where nothing of the channel is read."""
        features, scores = self._read(held), question.scores(output)
        images, channels = (features != 0).flatten(2).any(dim=2).nonzero().T

        def without(numbers: Tensor) -> Tensor:
            kept = torch.ones(len(numbers), features.shape[1], device=features.device, dtype=torch.bool)
            kept[torch.arange(len(numbers), device=features.device), channels[numbers]] = False
            return self._keeping(held.tensor[images[numbers]], held.pixels, kept)

        def losses(answer: Output, numbers: Tensor) -> Tensor:
            owners = images[numbers]
            return scores[owners] - question.take(owners.tolist()).scores(answer)

        lost = scores.new_zeros(*features.shape[:2], scores.shape[1])
        if len(images):
            lost[images, channels] = self.suffix.run(self.classifier, held, images, without, losses)
        return lost

    def _in_closed_form(self, output: Output, question: Question) -> Tensor:
        """y − y_k from the embedding alone, (B, K, T): in float64, since nearly equal values are subtracted."""
        embedding = exact(_embedding(output))
        logits = None if output.logits is None else exact(output.logits)
        whole = question.scores(Output(logits, embedding))
        losses = []
        for image, pooled in enumerate(embedding):
            parts = []
            for channels in torch.arange(len(pooled), device=pooled.device).split(ROWS):
                without = pooled.repeat(len(channels), 1).scatter_(1, channels[:, None], 0)
                answer = Output(None if logits is None else self._logits(logits[image], pooled, channels), without)
                parts.append(whole[image] - question.take([image] * len(channels)).scores(answer))
            losses.append(torch.cat(parts))
        return torch.stack(losses)

    def _logits(self, logits: Tensor, pooled: Tensor, channels: Tensor) -> Tensor:
        """Logits (C,) without each of some channels, (n, C): each loses W_ck e_k."""
        return logits - (self._weight()[:, channels].to(pooled) * pooled[channels]).T

    def _weight(self) -> Tensor:
        """Of the linear head, (C, K)."""
        head = self.classifier.head_module()
        assert isinstance(head, nn.Linear)
        return head.weight

    def _pools(self, held: Held, output: Output, channels: int) -> bool:
        """Whether the answer is linear in what a pool makes of each channel by itself, and of zero zero."""
        embedding, head = output.embedding, self.classifier.head_module()
        if embedding is None or embedding.shape[1] != channels:
            return False
        if output.logits is not None and not isinstance(head, nn.Linear):
            return False
        half = torch.randperm(channels, generator=torch.Generator().manual_seed(0)).to(embedding.device) < channels / 2
        images = torch.arange(len(embedding), device=embedding.device).repeat(2)
        kept = torch.stack([half, ~half]).repeat_interleave(len(embedding), dim=0)
        found = self.suffix.run(
            self.classifier,
            held,
            images,
            lambda numbers: self._keeping(held.tensor[images[numbers]], held.pixels, kept[numbers]),
            joined,
        )
        lost = embedding[images] * ~kept
        expected = [embedding[images] - lost]
        if output.logits is not None:
            expected.insert(0, output.logits[images] - lost @ self._weight().to(lost).T)
        parts = zip(found.split([part.shape[1] for part in expected], dim=1), expected, strict=True)
        return all(torch.allclose(*pair, rtol=0, atol=SAME * float(pair[1].abs().max())) for pair in parts)

    def _keeping(self, tensor: Tensor, pixels: Tensor, kept: Tensor) -> Tensor:
        """Tensors (n, …) at the layer with only some of their channels, kept (n, K)."""
        maps = self.features.maps(tensor, pixels)
        return self.features.back(torch.where(kept[:, :, None, None], maps, 0), tensor)


def _embedding(output: Output) -> Tensor:
    assert output.embedding is not None
    return output.embedding
