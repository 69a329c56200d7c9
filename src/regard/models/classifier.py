"""What is explained: a network, how its input is prepared, what its output means."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from regard.errors import ClassifierError, LayerError, NotFiniteError, PixelsError, RegardError
from regard.images import Geometry, Photo, Pixels
from regard.labels import Outputs
from regard.models import passes
from regard.models.files import Source
from regard.models.networks import is_backbone, own_head, tensor_of, unwrapped
from regard.models.preparation import Preparation
from regard.models.taps import Place, read, untouched
from regard.models.transformer import Tokens, find_tokens
from regard.models.weights import blame_for_nan, digest, named_weights, state
from regard.targets import Output, at_least_float32

logger = logging.getLogger("regard")

Precision = Literal["float32", "bfloat16"]


class Classifier:
    """A network that regard can explain. The network stays the caller's: never converted, never altered.

    Args:
        network: maps prepared pixels (B, channels, H, W) to logits (B, C), or to embeddings (B, D) where
            `head` is given or there is no head. Tuples and model outputs with `.logits` are unwrapped.
        preparation: how photos become its input.
        labels: one name per class; a name may hold synonyms, separated by commas.
        outputs: what the output means: "softmax" (exclusive classes), "sigmoid" (independent classes),
            "scalar" (measurements), "embedding" (no head). Default: "embedding" where the network's own
            classification layer is an identity, else "softmax".
        head: layer on top of the network's embedding: self-supervised backbone plus one's own classes.
        name: for results; default the network's class.
        precision: "bfloat16" runs the network under autocast, unless its weights are bfloat16 themselves.
            Softmax, sums and maps are float32 either way.
        tokens: for a transformer whose anatomy is not found by itself: its blocks, as the dotted path of each with
            that of its attention, from which the rest is seen; or the whole anatomy.
        source: what `regard.load` built the network from; None for a network of one's own.

    Raises:
        ClassifierError: the network cannot run on its own preparation, or labels do not fit its output.

    One picture of the mean colour is passed at construction, so that what does not fit fails here.
    """

    def __init__(
        self,
        network: nn.Module,
        preparation: Preparation,
        *,
        labels: Sequence[str] | None = None,
        outputs: Outputs | None = None,
        head: nn.Module | None = None,
        name: str | None = None,
        precision: Precision = "float32",
        tokens: Tokens | Mapping[str, str] | None = None,
        source: Source | None = None,
    ) -> None:
        self.network = network
        self.module = unwrapped(network)
        self.preparation = preparation
        self.head = head
        self.name = name or type(self.module).__name__
        self.precision = precision
        self._tokens = tokens
        self.source: Source | None = source
        self._check_arguments(outputs)
        self._head_layer = None if head is not None else own_head(self.module)
        self.outputs: Outputs = outputs or ("embedding" if self._headless() else "softmax")
        self.class_count, self.width = self._probe()
        self.labels = self._checked_labels(labels)
        self._hashed: tuple[tuple[object, ...], str] | None = None

    def built_from(self) -> tuple[Source, Mapping[str, Any] | None]:
        """What its file says of its network: how it is built, and what then is put on it; None for nothing."""
        return self.source or Source("", {}), None

    def prepare(self, photos: Photo | Sequence[Photo] | Tensor) -> Pixels:
        """Photos (paths, PIL images, uint8 arrays) → prepared pixels (B, channels, H, W) on the classifier's device.

        A float tensor counts as prepared already, and is checked as such.

        Raises:
            PhotoError: a photo cannot be read.
            PixelsError: a tensor cannot have been prepared.
        """
        if isinstance(photos, Tensor):
            self._check_shape(photos)
        if isinstance(photos, Pixels):
            self._check_origin(photos)
            return photos.to(self.device)
        if isinstance(photos, Tensor):
            self.preparation.check_range(photos)
            height, width = photos.shape[2:]
            values = photos.detach().clone() if photos.is_inference() else photos
            whole = [Geometry.whole((height, width))] * len(photos)
            return Pixels.of(values.to(self.device), whole, self.preparation)
        listed = (
            [photos] if isinstance(photos, (str, Image.Image, np.ndarray)) or hasattr(photos, "__fspath__") else photos
        )
        listed = [] if listed is None else list(listed)
        if not listed:
            raise PixelsError("there are no photos")
        return self.preparation(listed).to(self.device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (B, C), float32; embeddings (B, D) without a head.

        One pass in eval mode; it records gradients if the caller does.
        """
        prepared = self.prepare(pixels).as_subclass(Tensor)
        self.check_finite(prepared)
        with self.untouched():
            return self.forward(prepared)

    def embed(self, pixels: Tensor) -> Tensor:
        """The embedding (B, D), float32: what the head reads. In chunks, without gradients.

        Raises:
            ClassifierError: the network keeps its head to itself; pass backbone and head apart.
        """
        prepared = self.prepare(pixels).as_subclass(Tensor)
        self.check_finite(prepared)

        def chunk(numbers: Tensor) -> Tensor:
            embedding = self.respond(prepared[numbers]).embedding
            if embedding is None:
                raise ClassifierError(
                    f"the embedding of {self.name} is not known: no linear layer gives its output",
                    remedy="pass the backbone and its head apart: Classifier(backbone, preparation, head=…)",
                )
            return embedding

        return passes.in_chunks(self, len(prepared), prepared[:1], chunk)

    def forward(self, pixels: Tensor) -> Tensor:
        """One pass without checks, in the network's present mode: logits, or embeddings without a head."""
        passes.count(forwards=len(pixels))
        raw = self._run(pixels)
        return at_least_float32(self._headed(raw))

    def respond(self, pixels: Tensor) -> Output:
        """One pass without checks: logits and embedding, each None where there is none."""
        if self.outputs == "embedding":
            return Output(None, self.forward(pixels))
        if self.head is not None:
            passes.count(forwards=len(pixels))
            embedding = self._run(pixels)
            return Output(at_least_float32(self._headed(embedding)), at_least_float32(embedding))
        if self._head_layer is None:
            return Output(self.forward(pixels), None)
        (embedding,), logits = read(self.module, [Place(self._head_layer, "input")], lambda: self.forward(pixels))
        return Output(logits, at_least_float32(embedding))

    def picture(self, noise: bool = False) -> Tensor:
        """A prepared picture (1, channels, H, W) to try the network on: the mean colour, or noise, always the same."""
        shape = (1, self.preparation.channels, *self.preparation.frame)
        plain = torch.randn(shape, generator=torch.Generator().manual_seed(0)) if noise else torch.zeros(shape)
        return plain.to(self.device)

    def head_module(self) -> nn.Module | None:
        """The layer that turns embeddings into logits, where it is known."""
        return self.head if self._head_layer is None else self.module.get_submodule(self._head_layer)

    def untouched(self) -> AbstractContextManager[Any, bool | None]:
        """Eval mode for the block, and nothing changed afterwards; see `taps.untouched`.

        A caller's autocast does not reach into it: the classifier's own precision decides.
        """
        if any(module.training for module in self.module.modules()):
            logger.info("%s is in training mode; it is read in eval mode and set back afterwards", self.name)
        stack = contextlib.ExitStack()
        stack.enter_context(torch.autocast(self.device.type, enabled=False))
        stack.enter_context(untouched(self.module))
        if self.head is not None:
            stack.enter_context(untouched(self.head))
        return stack

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter lies."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))

    @functools.cached_property
    def tokens(self) -> Tokens | None:
        """The anatomy of a transformer; None for any other network."""
        if isinstance(self._tokens, Tokens):
            return self._tokens
        return find_tokens(self, self._tokens)

    @property
    def hash(self) -> str:
        """SHA-256 of weights, buffers, layers, head and preparation: what a concept or a saved map belongs to.

        Kept until a weight is changed; see `weights.state`.
        """
        if self._hashed is None or self._hashed[0] != state(self._weights()):
            return self.hash_anew()
        return self._hashed[1]

    def hash_anew(self) -> str:
        """The same from every byte there is now: also what goes past the count of changes is told."""
        weights = self._weights()
        self._hashed = state(weights), digest(weights, self._meaning())
        return self._hashed[1]

    def _meaning(self) -> str:
        """All but weights that the outputs depend on, in words."""
        prepared = {**self.preparation.to_dict(), "size": self.preparation.frame}
        rows = None if self.tokens is None else self.tokens.rows
        return json.dumps([prepared, self.outputs, rows, repr(self.module), repr(self.head)], sort_keys=True)

    def _weights(self) -> dict[str, Tensor]:
        return dict(named_weights(network=self.module, head=self.head))

    def _run(self, pixels: Tensor) -> Tensor:
        first = next((parameter for parameter in self.module.parameters() if parameter.is_floating_point()), pixels)
        autocast = self.precision == "bfloat16" and first.dtype is torch.float32
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=autocast):
            own = pixels.as_subclass(Tensor).to(first.dtype, copy=True)  # a first layer may work in place
            raw = tensor_of(self._call(own), self.module, self.name)
        return raw.float() if autocast else raw

    def _headed(self, raw: Tensor) -> Tensor:
        """What the separate head makes of embeddings, in the head's own precision; logits as they are without one."""
        if self.head is None:
            return raw
        headed: Tensor = self.head(raw.to(next((weight.dtype for weight in self.head.parameters()), raw.dtype)))
        return headed

    def _call(self, pixels: Tensor) -> Any:
        """The network's own call; what it says of a frame of another size becomes an error a person can read."""
        try:
            return self.module(pixels)
        except (AssertionError, RuntimeError, ValueError) as reason:
            usual, came = self.preparation.frame, tuple(pixels.shape[2:])
            memory = isinstance(reason, RuntimeError) and passes.is_out_of_memory(reason)
            if came == usual or memory or isinstance(reason, RegardError):
                raise
            raise PixelsError(
                f"{self.name} does not take frames of this size",
                came=f"{came[0]}×{came[1]} pixels: {reason}",
                expected=f"{usual[0]}×{usual[1]}, as its preparation gives",
            ) from reason

    def _probe(self) -> tuple[int | None, int | None]:
        """(C, D) from one pass of the mean colour."""
        height, width = self.preparation.frame
        picture = self.picture()
        try:
            with self.untouched(), torch.no_grad():
                self._head_layer = self._confirmed_head(self.picture(noise=True))
                output = self.respond(picture)
        except RegardError:
            raise
        except Exception as reason:
            raise ClassifierError(
                f"{self.name} cannot run on what its preparation gives",
                came=f"{type(reason).__name__}: {reason}",
                expected=f"a network that takes (B, {self.preparation.channels}, {height}, {width})",
            ) from reason
        self._check_probe(output)
        return _columns(output.logits), _columns(output.embedding)

    def _check_probe(self, output: Output) -> None:
        """Refuse answers of another shape than one row a picture, and probabilities where logits are meant."""
        for part in (output.logits, output.embedding):
            if part is not None and (part.dim() != 2 or len(part) != 1):
                raise ClassifierError(
                    f"{self.name} does not return one row per picture",
                    came=f"{tuple(part.shape)} for one picture",
                    expected="(1, C) logits, or (1, D) embeddings with a head",
                    remedy="pool the backbone's feature map or choose its class token first",
                )
        logits = output.logits
        if self.outputs != "softmax" or logits is None or logits.shape[1] < 2:
            return
        if bool((logits >= 0).all()) and abs(float(logits.sum()) - 1) < 1e-3:
            raise ClassifierError(
                f"{self.name} returns probabilities: its last layer seems to be a softmax",
                came=f"values from {float(logits.min()):.3g} that sum to 1",
                expected="logits",
                remedy='leave the softmax out; or outputs="scalar", to explain the probabilities as they are',
            )

    def _confirmed_head(self, picture: Tensor) -> str | None:
        """The head layer, if what it gives for a picture of noise is what the network returns."""
        if self._head_layer is None or self.outputs == "embedding":
            return None
        place = Place(self._head_layer, "output")
        try:
            (given,), returned = read(self.module, [place], lambda: self._run(picture))
        except LayerError:
            return None
        same = returned is not None and given.shape == returned.shape and torch.equal(given.to(returned), returned)
        return self._head_layer if same else None

    def _headless(self) -> bool:
        if self.head is not None or self._head_layer is not None:
            return False
        getter = getattr(self.module, "get_classifier", None)
        named = getter() if callable(getter) else getattr(self.module, "head", None)
        return isinstance(named, nn.Identity) or is_backbone(self.module)

    def _check_arguments(self, outputs: Outputs | None) -> None:
        if not isinstance(self.network, nn.Module):
            raise ClassifierError("the network is no nn.Module", came=type(self.network).__name__)
        if not isinstance(self.preparation, Preparation):
            raise ClassifierError(
                "the second argument says how photos are prepared",
                came=type(self.preparation).__name__,
                expected="regard.Preparation(size=…, mean=…, std=…)",
            )
        if outputs is not None and outputs not in get_args(Outputs):
            raise ClassifierError("no such outputs", came=repr(outputs), expected=", ".join(get_args(Outputs)))
        if outputs == "embedding" and self.head is not None:
            raise ClassifierError("a classifier with a head has other outputs than embeddings")
        if self.precision not in get_args(Precision):
            raise ClassifierError(
                "no such precision", came=repr(self.precision), expected=", ".join(get_args(Precision))
            )
        parts = (self.module, self.head or nn.Identity())
        if any(parameter.is_inference() for part in parts for parameter in part.parameters()):
            raise ClassifierError(
                "the network was made inside torch.inference_mode(), so nothing can be differentiated in it",
                remedy="make or load it outside",
            )

    def _checked_labels(self, labels: Sequence[str] | None) -> list[str] | None:
        if labels is None:
            return None
        named = list(labels)
        if isinstance(labels, str) or not all(isinstance(label, str) for label in named):
            raise ClassifierError("labels are a list of names", came=f"{labels!r:.60}")
        if len(named) != self.class_count:
            raise ClassifierError(
                "the labels do not fit the network's output",
                came=f"{len(named)} labels",
                expected="no labels without a head" if self.class_count is None else f"{self.class_count} labels",
            )
        return named

    def _check_shape(self, pixels: Tensor) -> None:
        channels = self.preparation.channels
        if pixels.dim() != 4 or pixels.shape[1] != channels or not pixels.is_floating_point() or len(pixels) == 0:
            raise PixelsError(
                "a tensor counts as prepared pixels only as floats of the right shape",
                came=f"{pixels.dtype} {tuple(pixels.shape)}",
                expected=f"float32 (B, {channels}, H, W)",
                remedy="give paths, PIL images or uint8 arrays to have them prepared",
            )
        if self.tokens is not None and tuple(pixels.shape[2:]) != self.preparation.frame:
            self.tokens.check_frame(pixels)

    def _check_origin(self, pixels: Pixels) -> None:
        if pixels.prepared_by not in (None, self.preparation):
            raise PixelsError(
                "these pixels were prepared for another classifier",
                came=f"{pixels.prepared_by}",
                expected=f"{self.preparation}",
                remedy="prepare the photos again with this classifier's prepare",
            )

    def check_finite(self, pixels: Tensor) -> None:
        """Refuse NaN or infinity in pixels, with its place."""
        if bool(finite_images(pixels).all()):
            return
        place = (~pixels.isfinite()).nonzero()[0].tolist()
        raise NotFiniteError(
            "the pixels hold NaN or infinity",
            came=f"{float(pixels[tuple(place)])} at " + "image {}, channel {}, row {}, column {}".format(*place),
            remedy='on_nan="skip" leaves such images out, "propagate" lets the value through',
        )

    def blame_for_nan(self) -> str:
        """Name the weights that hold NaN or infinity, or say that none does."""
        return blame_for_nan(self._weights())


def finite_images(pixels: Tensor) -> Tensor:
    """Which pictures (B, 3, H, W) hold neither NaN nor infinity, (B,): their sum does not either. One read of each."""
    return pixels.detach().flatten(1).sum(dim=1).isfinite()


def _columns(part: Tensor | None) -> int | None:
    return None if part is None else part.shape[1]
