"""Heads of one's own: what they are made of, and the backbone that they stand on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import nn

from regard.errors import ClassifierError
from regard.labels import Outputs
from regard.models.classifier import Classifier
from regard.models.files import Source

Kind = Literal["linear", "mlp"]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class HeadForm:
    """How a head is built, as JSON values.

    Attributes:
        kind: "linear": Linear(D, C); "mlp": Linear(D, hidden), GELU, Linear(hidden, C).
        width: D, of the embeddings that it reads.
        classes: C, of the logits or measurements that it gives.
        hidden: units between the two layers of an "mlp"; None for "linear".
        bias: whether its layers add one.
    """

    kind: Kind
    width: int
    classes: int
    hidden: int | None = None
    bias: bool = True

    def build(self) -> nn.Module:
        """The head, with torch's usual random weights."""
        if self.hidden is None:
            return nn.Linear(self.width, self.classes, self.bias)
        first, last = (self.width, self.hidden), (self.hidden, self.classes)
        return nn.Sequential(nn.Linear(*first, self.bias), nn.GELU(), nn.Linear(*last, self.bias))


def form_of(head: nn.Module) -> HeadForm:
    """The form of a head.

    Raises:
        ClassifierError: a head of another form, which a file could not say how to build.
    """
    form: HeadForm | None = None
    match list(head) if isinstance(head, nn.Sequential) else [head]:
        case [nn.Linear() as only]:
            form = HeadForm("linear", only.in_features, only.out_features, bias=only.bias is not None)
        case [nn.Linear() as first, nn.GELU(approximate="none"), nn.Linear() as last]:
            form = HeadForm("mlp", first.in_features, last.out_features, first.out_features, last.bias is not None)
    with torch.device("meta"):
        rebuilt = None if form is None else form.build()
    if form is None or repr(rebuilt) != repr(head):
        raise ClassifierError(
            "a file cannot say how this head is built",
            came=" ".join(repr(head).split()),
            expected="Linear, or Sequential of Linear, GELU, Linear, both or neither with a bias",
        )
    return form


def sharing_weights(network: Network) -> Network:
    """A copy of a network that shares its weights: what is done to its layers leaves the network as it is."""
    weights = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in weights})


def without_layer(network: nn.Module, layer: str) -> nn.Module:
    """A copy of a network with one layer an identity. It shares the weights of the network, which stays as it is."""
    copied = sharing_weights(network)
    copied.set_submodule(layer, nn.Identity(), strict=True)
    return copied


def backbone_of(classifier: Classifier) -> Classifier:
    """The classifier without its head: its outputs are the embeddings. It shares the network's weights.

    A classification layer of the network's own is an identity in it, and named in its source.

    Raises:
        ClassifierError: no layer is known to be the head, or the network does not run without it.
    """
    picture = classifier.picture(noise=True)
    expected = classifier.embed(picture)  # refuses where no layer is known to be the head
    network, source = classifier.module, classifier.source
    if classifier.outputs != "embedding" and classifier.head is None:
        own = classifier.head_module()
        layer = next(path for path, module in network.named_modules() if module is own)
        network, source = without_layer(network, layer), replace(source or Source("", {}), removed=layer)
    backbone = Classifier(
        network,
        classifier.preparation,
        outputs="embedding",
        name=classifier.name,
        precision=classifier.precision,
        tokens=classifier.tokens,
        source=source,
    )
    given = backbone.embed(picture)
    if given.shape != expected.shape or not torch.allclose(given, expected, rtol=1e-4, atol=1e-5):
        raise ClassifierError(
            f"{classifier.name} gives something else than its embedding once its head is an identity",
            remedy="pass the backbone alone: Classifier(backbone, preparation, outputs='embedding')",
        )
    return backbone


def with_head(
    backbone: Classifier, head: nn.Module, *, labels: Sequence[str] | None, outputs: Outputs, name: str
) -> Classifier:
    """A classifier of the backbone's network and preparation, with a head on its embeddings."""
    return Classifier(
        backbone.network,
        backbone.preparation,
        labels=labels,
        outputs=outputs,
        head=head,
        name=name,
        precision=backbone.precision,
        tokens=backbone.tokens,
        source=backbone.source,
    )
