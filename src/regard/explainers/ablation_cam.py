"""Ablation-CAM (Ramaswamy & Desai, WACV 2020): each feature map is judged by what is lost without it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from regard.explainers.explainer import Explainer, Found
from regard.models import passes
from regard.models.classifier import Classifier
from regard.models.features import features_of
from regard.models.suffix import SAME, Held, Suffix, find_suffix
from regard.question import Question
from regard.targets import Output

ROWS = 256
"""Channels whose answers are written out at a time by the closed form: C numbers each."""


class AblationCAM(Explainer):
    """Feature maps weighed by the share of the target's value that is lost without each of them, positive part.

        L = relu( Σ_k w_k |A_k| ),   w_k = (y − y_k) / |y|          (paper, equations 4 and 5, there A_k, divided by y)

    y is the target's value, y_k that with channel k set to zero; a predicted class is that of the whole picture. The
    paper's y is meant to be above zero, as the logit of a likely class is: where it is below, dividing by it
    would turn the weights round, and channels that support the target would count against it, so its size is taken
    instead; at zero, 1e-12. The paper's features come out of a ReLU. Signed ones, as tokens are, have an effect where
    they are far from zero on either side, so that their size is weighed: a channel whose negative values support the
    target would else count against it in those very places. Of a transformer's tokens the channel of all patches is set
    to zero, prefix tokens stay.

    Features are computed once; per channel only what follows them runs, as far as the network can be entered there:
    see `models.suffix`. Channels that are zero already cost nothing. Where what follows is a pool that takes each
    channel by itself and a linear head (ResNet, DenseNet, EfficientNet), there are no passes at all, for any target:
    without channel k the pooled e_k is zero and every logit loses W_ck e_k. Whether that holds is tried, by passes
    of a picture of noise without one half of the channels and without the other.

    Args:
        classifier: of a convolutional network, or of a transformer over one grid of tokens.
        layer: dotted path of the layer whose output is weighed, a grid or tokens. Default: the last grid that carries
            the decision; in a transformer what the last attention reads.

    Cost: one forward in the closed form; else one more per channel that is not zero, from the layer on, each counted
    as a forward: `forwards_each` is what it costs where none is. All targets are read from the same passes.

    Raises:
        UnsupportedError: the network has neither a grid to the end nor tokens on one.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """

    name: ClassVar[str] = "ablation-cam"
    summary: ClassVar[str] = "feature maps weighed by what the target loses without each"
    networks: ClassVar[str] = "convolutional networks and vision transformers"
    zero_means: ClassVar[str] = "no cell speaks for the target at this layer"

    def __init__(self, classifier: Classifier, *, layer: str | None = None) -> None:
        super().__init__(classifier)
        self.features = features_of(classifier, layer)
        self.settings = {"layer": self.features.layer}
        self.learn()

    def _learn(self) -> None:
        self.suffix: Suffix = find_suffix(self.classifier, self.features.place)
        picture = self.classifier.picture(noise=True)
        with self.classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
            held, output = self.suffix.hold(self.classifier, picture)
            channels = self.features.maps(held.tensor, picture).shape[1]
            self.closed = self._pools(held, output, channels)
        self.forwards_each = 1 if self.closed else channels + 1

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        held, output = self.suffix.hold(self.classifier, pixels)
        features, asked = self.features.maps(held.tensor, pixels), question.fixed(output)
        losses = self._in_closed_form(output, asked) if self.closed else self._by_passes(held, output, asked)
        weights = losses / asked.scores(output).abs().clamp(min=1e-12)[:, None]
        maps = torch.einsum("bkt,bkhw->bthw", weights.float(), features.float().abs())
        return Found(maps.relu(), output)

    def _by_passes(self, held: Held, output: Output, question: Question) -> Tensor:
        """y − y_k by passes of the suffix, (B, K, T); 0 where the channel is zero already."""
        features, scores = self.features.maps(held.tensor, held.pixels), question.scores(output)
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
        exact = torch.float32 if self.classifier.device.type == "mps" else torch.float64
        embedding = _embedding(output).to(exact)
        logits = None if output.logits is None else output.logits.to(exact)
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
        head = self.classifier.head_module()
        assert isinstance(head, nn.Linear)
        return logits - (head.weight[:, channels].to(pooled) * pooled[channels]).T

    def _pools(self, held: Held, output: Output, channels: int) -> bool:
        """Whether the head is linear in what a pool makes of each channel by itself, and of zero zero."""
        embedding, head = output.embedding, self.classifier.head_module()
        linear = isinstance(head, nn.Linear) or (head is None and output.logits is None)
        if embedding is None or not linear or embedding.shape[1] != channels:
            return False
        half = torch.randperm(channels, generator=torch.Generator().manual_seed(0)).to(embedding.device) < channels / 2
        kept = torch.stack([half, ~half])
        images = torch.zeros(2, dtype=torch.int64, device=embedding.device)
        found = self.suffix.run(
            self.classifier,
            held,
            images,
            lambda numbers: self._keeping(held.tensor[images[numbers]], held.pixels, kept[numbers]),
            lambda answer, _: _embedding(answer),
        )
        return torch.allclose(found, embedding * kept, rtol=0, atol=SAME * float(embedding.abs().max()))

    def _keeping(self, tensor: Tensor, pixels: Tensor, kept: Tensor) -> Tensor:
        """Tensors (n, …) at the layer with only some of their channels, kept (n, K)."""
        maps = self.features.maps(tensor, pixels)
        return self.features.back(torch.where(kept[:, :, None, None], maps, 0), tensor)


def _embedding(output: Output) -> Tensor:
    assert output.embedding is not None
    return output.embedding
