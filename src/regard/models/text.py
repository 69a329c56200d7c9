"""Texts as targets: models that embed pictures and texts in one space, as CLIP and SigLIP do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.compat import import_optional
from regard.errors import ClassifierError, TargetError
from regard.models.networks import tensor_of
from regard.models.pretrained import configuration, model, takes_texts

TEMPLATE = "a photo of a {}"
"""What a label is to a model that reads texts: the caption of a photo of it."""


class TextHead(nn.Module):
    """Classes as texts: logits = scale · cos(e, t) + bias for embeddings e (B, D) and texts t (C, D).

    Args:
        text: embeddings of the texts (C, D); they are normalised.
        scale: what the model multiplies cosines with: the exponential of its logit_scale.
        bias: what it adds (SigLIP); none by default, as in CLIP.
    """

    text: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, text: Tensor, scale: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("text", functional.normalize(text.detach().float(), dim=1))
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (B, C), float32."""
        return self.scale * functional.normalize(embedding.to(self.text), dim=1) @ self.text.T + self.bias

    def extra_repr(self) -> str:
        return f"texts={len(self.text)}, width={self.text.shape[1]}"


def embed_texts(name: str, texts: Sequence[str]) -> Tensor:
    """Embeddings of texts (n, D), float32, in the space of `regard.load(name)`'s embeddings; not normalised.

    One of them is a target: `regard.Similarity(embed_texts(name, ["a horn"])[0], "cosine", "a horn")`.

    Args:
        name: "transformers:NAME_OR_FOLDER" of a model with a text tower.
        texts: whole sentences; nothing is put around them.

    Raises:
        ClassifierError: the model reads no texts, or its tokenizer is missing.
        TargetError: no texts, or a text that is longer than the model reads.
    """
    hub, _, place = str(name).partition(":")
    if hub != "transformers":
        raise ClassifierError("no text tower is known there", came=repr(name), expected="transformers:NAME_OR_FOLDER")
    return encoded(two_towers(place, configuration(place, {}), fetch=True), place, texts)


def two_towers(name: str, config: Any, fetch: bool) -> nn.Module:
    """The whole model of pictures and texts, in eval mode.

    Raises:
        ClassifierError: it reads no texts.
    """
    whole = model(name, config, fetch).eval()
    if not takes_texts(type(whole)):
        raise ClassifierError(f"transformers:{name} reads no texts", came=type(whole).__name__)
    return whole


def encoded(whole: nn.Module, name: str, texts: Sequence[str]) -> Tensor:
    """Embeddings of texts (n, D), through the tokenizer of the same folder and the text tower.

    Every text is padded to the longest that the model reads, as SigLIP was trained; CLIP does not see the padding.
    """
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise TargetError("texts are a list of sentences", came=f"{texts!r:.60}")
    tokenizer, longest = _tokenizer(name), int(_config(whole).text_config.max_position_embeddings)
    for text in texts:
        if len(tokenizer(text)["input_ids"]) > longest:
            raise TargetError(
                "the text is longer than the model reads", came=f"{text!r:.60}", expected=f"{longest} tokens"
            )
    numbers = tokenizer(list(texts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return _pooled(cast(Any, whole).get_text_features(**numbers)).float()


def text_head(whole: nn.Module, name: str, labels: Sequence[str]) -> TextHead:
    """Labels as classes: each the text "a photo of a …" of its first synonym."""
    texts = [TEMPLATE.format(label.strip(" ,").partition(",")[0].strip()) for label in labels]
    weights = {name: parameter.detach() for name, parameter in whole.named_parameters()}
    bias = weights.get("logit_bias")
    return TextHead(
        encoded(whole, name, texts),
        float(weights["logit_scale"].exp()) if "logit_scale" in weights else 1.0,
        0.0 if bias is None else float(bias),
    )


def picture_tower(whole: nn.Module) -> nn.Module:
    """The half that embeds pictures, with its projection, as a model of its own; its output is that of the whole.

    Raises:
        ClassifierError: it cannot be taken out.
    """
    transformers, kind = import_optional("transformers", "transformers"), type(whole).__name__.removesuffix("Model")
    tower_class = getattr(transformers, f"{kind}VisionModelWithProjection", None) or getattr(
        transformers, f"{kind}VisionModel", None
    )
    problem = ClassifierError(
        f"the half of {type(whole).__name__} that embeds pictures cannot be taken out",
        remedy="wrap a module of your own that returns the embedding: regard.Classifier(network, preparation)",
    )
    if tower_class is None:
        raise problem
    config = copy.deepcopy(_config(whole).vision_config)
    if hasattr(config, "projection_dim"):
        config.projection_dim = _config(whole).projection_dim
    tower, weights = tower_class(config).eval(), whole.state_dict()
    found = {name: weights.get(name, weights.get(f"vision_model.{name}")) for name in tower.state_dict()}
    if any(tensor is None for tensor in found.values()):
        raise problem
    tower.load_state_dict(found)
    if not _same_embedding(tower, whole):
        raise problem
    return cast(nn.Module, tower)


def _same_embedding(tower: nn.Module, whole: nn.Module) -> bool:
    config = _config(tower)
    shape = (1, config.num_channels, config.image_size, config.image_size)
    picture = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = _pooled(cast(Any, whole).get_image_features(pixel_values=picture))
        found = tensor_of(tower(picture), tower, type(tower).__name__)
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def _pooled(features: Any) -> Tensor:
    """Embeddings as transformers 4 returns them, bare, or as 5 does, in an output."""
    return features if isinstance(features, Tensor) else features.pooler_output


def _config(network: nn.Module) -> Any:
    return cast(Any, network).config


def _tokenizer(name: str) -> Any:
    """The tokenizer beside a model. Where its files are missing, transformers 5 makes one that knows no word at all."""
    transformers = import_optional("transformers", "transformers")
    came = "a tokenizer without words"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        if set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
            return tokenizer
    except Exception as reason:  # tokenizers stumble over whatever is missing
        came = f"{type(reason).__name__}: {str(reason).partition(chr(10))[0][:200]}"
    raise ClassifierError(
        f"transformers:{name} brings no tokenizer, so labels cannot be read as texts",
        came=came,
        remedy="save the tokenizer beside the model",
    )
