"""BR-NPA (arXiv 2106.02566): a classifier whose head reads the representatives of its backbone's last features."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.attention.pooled import MeanPooling, Pooled
from regard.attention.poolings import pooling_called
from regard.attention.representative import RepresentativePooling, norm_variation
from regard.errors import ClassifierError, LayerError, UnsupportedError
from regard.labels import Outputs
from regard.models import passes
from regard.models.classifier import Classifier, Precision
from regard.models.files import Source
from regard.models.head import HeadForm, backbone_of, sharing_weights
from regard.models.high_resolution import high_resolution
from regard.models.networks import in_fast_layout
from regard.models.pooled import PooledNetwork, last_features
from regard.models.pooled_form import form_of_pooled
from regard.models.preparation import Preparation
from regard.models.saved import save_classifier
from regard.models.transformer import Tokens
from regard.targets import Output

_OWN_NAME = ", BR-NPA"


class BRNPAClassifier(Classifier):
    """A classifier that decides by K representatives of its last features: backbone, pooling, dropout, linear head.

        logits = W · [ v_1; …; v_K ] (+ b),   v_k: vectors of `representative_pooling` of the last features

    It is a `Classifier` to everything else: `network` is a `PooledNetwork`, `head` a linear layer on K · C, the
    embedding the joined vectors. The backbone given is copied, without its own classification layer where that is
    known, and never altered; what is trained is the copy, whose parameters require gradients where the given ones do.
    Networks that BR-NPA is compared with are of this class, too: they decide by the vectors of another `pooling`.

    Args:
        backbone: the classifier whose network, preparation, precision and, in a file, source are taken on. Of a
            `BRNPAClassifier` its backbone, as it was trained, on its grid.
        labels: one name per class. Needed where no head is given.
        count: K; published 3. Another pooling has its own.
        strides: of the last layers that shrink the grid, see `high_resolution`: (1, 1) for maps of four times the
            sides, as published for the student; of a transformer pixels from one patch to the next. None: the
            backbone's grid, as published for the teacher.
        dilation: of `high_resolution`, only with strides. Default: where there are depthwise convolutions.
        layer: dotted path, in the backbone, of the layer whose output is pooled. Default: see `last_features`.
        dropout: share of the joined vectors that is set to zero in training; published 0.
        bias: whether the head that is drawn adds one; published not.
        head: linear, on K · C; a copy is taken. Default: torch's usual random weights, drawn from `seed`.
        outputs: what the logits mean; see `Classifier`.
        name: for results. Default: the backbone's, with the grid if it is finer, and "BR-NPA".
        seed: of the head's first weights, and of select="random".
        pooling: makes another pooling of features of so many channels; see `pooling_called`. Default: representatives.
        **settings: of representatives: select, refine, weights, temperature, negative, detach; see
            `RepresentativePooling`.

    Attributes:
        source: None, since no architecture of that name has such a network; what the backbone was built from, and how
            its grid was made finer, is `backbone_source`.

    Raises:
        ClassifierError: neither labels nor a head, a head that does not read these vectors, dilation without strides.
        UnsupportedError: settings or strides that there are not, settings of another pooling, or a network without a
            grid of last features.
        LayerError: no such layer, or one that gives neither a grid nor tokens.
    """

    network: PooledNetwork
    head: nn.Linear

    def __init__(
        self,
        backbone: Classifier,
        labels: Sequence[str] | None = None,
        *,
        count: int = 3,
        strides: int | Sequence[int] | None = None,
        dilation: bool | None = None,
        layer: str | None = None,
        dropout: float = 0.0,
        bias: bool = False,
        head: nn.Linear | None = None,
        outputs: Outputs = "softmax",
        name: str | None = None,
        seed: int = 0,
        pooling: Callable[[int], nn.Module] | None = None,
        **settings: Any,
    ) -> None:
        if strides is None and dilation is not None:
            raise ClassifierError(
                "nothing is dilated where no stride changes", came=f"dilation={dilation!r}, no strides"
            )
        if pooling is not None and settings:
            raise UnsupportedError("another pooling has settings of its own", came=", ".join(settings))
        bare = _bare(backbone)
        with torch.inference_mode(False):  # made in it, weights could never be trained
            fine = bare if strides is None else high_resolution(bare, strides, dilation=dilation)
            module = in_fast_layout(copy.deepcopy(bare.module) if strides is None else fine.module)
            features = last_features(fine, layer)
            channels = _width(PooledNetwork(module, features, MeanPooling()), bare.preparation, bare.precision)
            found = pooling_called("representative", count=count, **settings) if pooling is None else pooling(channels)
            network, width = PooledNetwork(module, features, found, dropout, seed), cast(int, found.count) * channels
            head = (_drawn(width, labels, bias, seed) if head is None else copy.deepcopy(head)).to(bare.device)
        _check_head(head, width)
        self._complete(
            network.to(bare.device),
            bare.preparation,
            head=head,
            source=fine.source,
            labels=labels,
            outputs=outputs,
            name=name or fine.name + _OWN_NAME,
            precision=bare.precision,
        )

    @classmethod
    def of(
        cls,
        network: PooledNetwork,
        preparation: Preparation,
        *,
        head: nn.Module,
        precision: Precision,
        grid: tuple[int, int] | None = None,
        **parts: Any,
    ) -> BRNPAClassifier:
        """A classifier of parts that are there already, none of them copied: what `regard.load` makes of a file.

        Args:
            network: the pooled network.
            preparation: how photos become its input.
            head: linear, on K · C.
            precision: of the passes; see `Classifier`.
            grid: (h, w) that its maps must have. Default: any.
            **parts: source, what the backbone was built from; labels, outputs and name.

        Raises:
            ClassifierError: the head does not read these vectors, the grid is another, or the parts do not run.
        """
        _check_head(head, _width(network, preparation, precision))
        made = cls.__new__(cls)
        made._complete(network, preparation, head=head, precision=precision, **parts)
        if grid not in (None, made.grid):
            raise ClassifierError(
                f"the maps of {made.name} are of another grid than they were",
                came="{}×{}".format(*made.grid),
                expected="{}×{}".format(*grid),
                remedy="give the backbone as it was before its grid was made finer, at its own strides",
            )
        return made

    def _complete(
        self,
        network: PooledNetwork,
        preparation: Preparation,
        *,
        head: nn.Module,
        source: Source | None,
        **settings: Any,
    ) -> None:
        tokens = network.features.tokens
        blocks = None if tokens is None else dict(zip(_within(tokens.blocks), _within(tokens.attentions), strict=True))
        super().__init__(network.eval(), preparation, head=head.eval(), tokens=blocks, **settings)
        self.backbone_source = source or Source("", {})
        self._looked_at = False

    @functools.cached_property
    def tokens(self) -> Tokens | None:
        """The anatomy of a transformer; None for other networks.

        None also where layers are read inside a block, which then never ends, or where select="random" draws anew for
        every picture, so that nothing can be seen by exchanging what two of them have inside.
        """
        try:
            return super().tokens
        except (ClassifierError, LayerError):
            return None

    @property
    def backbone(self) -> Classifier:
        """The backbone as it is now, its weights shared: a classifier of the embeddings that it had by itself.

        Of a teacher it is what a student begins with: BRNPAClassifier(teacher.backbone, labels, strides=(1, 1)), or
        BRNPAClassifier(teacher, …).
        """
        tokens = self.network.features.tokens
        return Classifier(
            self.network.backbone,
            self.preparation,
            outputs="embedding",
            name=self.name.removesuffix(_OWN_NAME),
            precision=self.precision,
            tokens=None if tokens is None else dict(zip(tokens.blocks, tokens.attentions, strict=True)),
            source=self.backbone_source,
        )

    def with_head(
        self, head: nn.Linear, *, labels: Sequence[str] | None, outputs: Outputs, name: str
    ) -> BRNPAClassifier:
        """Another classifier of the same vectors: a copy of the network that shares its weights, under a head given.

        Raises:
            ClassifierError: the head does not read these vectors, or labels do not fit it.
        """
        return BRNPAClassifier.of(
            sharing_weights(self.network),
            self.preparation,
            head=head,
            precision=self.precision,
            source=self.backbone_source,
            labels=labels,
            outputs=outputs,
            name=name,
        )

    @functools.cached_property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the maps, for a frame of the preparation's size."""
        with self.untouched(), torch.no_grad(), passes.uncounted():
            found, _ = self._represented(self.picture())
        return found.maps.shape[2], found.maps.shape[3]

    def built_from(self) -> tuple[Source, Mapping[str, Any]]:
        return self.backbone_source, asdict(form_of_pooled(self))

    def save(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        """Write one file that `regard.load(path)` reads: backbone, pooling, head, labels and preparation.

        Args:
            path: ends in .safetensors.
            about: origin, training, measured accuracy: JSON values for people.

        Raises:
            ClassifierError: representatives selected by a function, or a path of another ending.
        """
        save_classifier(self, path, about or {})

    def represent(self, pixels: Tensor) -> tuple[Pooled, Output]:
        """One pass without checks, as `respond`: what is pooled of each picture, and logits with embeddings.

        What is pooled are `Representatives`, with their places, unless the pooling is another.

        The first pictures that are seen outside training show whether places differ in activity at all; where they
        hardly do, a warning says so once (see `norm_variation`).

        Args:
            pixels: prepared, (B, channels, H, W).
        """
        found, output = self._represented(pixels)
        if isinstance(self.network.pooling, RepresentativePooling) and not (self._looked_at or self.network.training):
            finite = found.norms[found.norms.flatten(1).isfinite().all(dim=1)]
            self._looked_at = len(finite) > 0
            norm_variation(finite[:, None])
        return found, output

    def _represented(self, pixels: Tensor) -> tuple[Pooled, Output]:
        found: list[Pooled] = []
        handle = self.network.pooling.register_forward_hook(lambda _, __, given: found.append(given))
        try:
            output = self.respond(pixels)
        finally:
            handle.remove()
        return found[0], output


def _bare(backbone: Classifier) -> Classifier:
    """The classifier whose network becomes the backbone: without a head, where one is known."""
    if not isinstance(backbone, Classifier):
        raise ClassifierError(
            "the backbone is a classifier, which knows how photos are prepared",
            came=type(backbone).__name__,
            expected="regard.load(…), or regard.Classifier(network, preparation)",
        )
    if isinstance(backbone, BRNPAClassifier):
        return backbone.backbone
    return backbone if backbone.width is None else backbone_of(backbone)


def _width(network: PooledNetwork, preparation: Preparation, precision: Precision) -> int:
    """K · C of its vectors, by one pass."""
    width = Classifier(network, preparation, outputs="embedding", precision=precision).width
    assert width is not None
    return width


def _check_head(head: object, width: int) -> None:
    """Refuse a head of which the representatives' shares in a logit could not be told."""
    if not isinstance(head, nn.Linear) or head.in_features != width:
        raise ClassifierError(
            "the head does not read these representatives",
            came=" ".join(repr(head).split()),
            expected=f"one Linear of {width} numbers, all vectors one after the other",
        )


def _drawn(width: int, labels: Sequence[str] | None, bias: bool, seed: int) -> nn.Linear:
    """A head with torch's usual random weights; the caller's random numbers stay as they are."""
    if not isinstance(labels, Sequence) or isinstance(labels, str) or not labels:
        raise ClassifierError("a head needs classes", came=f"labels={labels!r:.60}", expected="labels=[…], or head=…")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head = HeadForm("linear", width, len(labels), bias=bias).build()
    return cast(nn.Linear, head)


def _within(paths: Sequence[str]) -> list[str]:
    """Dotted paths in the backbone, as paths in the pooled network."""
    return [f"backbone.{path}" for path in paths]
