"""How a pooled network is made of its backbone, as JSON values: what a file of a BR-NPA classifier says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from regard.attention.poolings import described, pooling_called
from regard.errors import ClassifierError
from regard.models.features import Features
from regard.models.pooled import PooledNetwork
from regard.models.taps import At, Place, find_layer
from regard.models.transformer import Tokens

if TYPE_CHECKING:
    from regard.models.brnpa import BRNPAClassifier

Channels = Literal["first", "last"]


@dataclass(frozen=True)
class PooledForm:
    """The steps from a backbone to a `PooledNetwork`.

    Attributes:
        grid: (h, w) of its maps, by which a backbone of other strides is told.
        layer: dotted path, in the backbone, of the layer at which its features stand.
        at: whether they are its input or its output.
        channels: which axis of that tensor they are; see `Features`.
        tokens: fields of `Tokens`, where the tensor is tokens.
        pooling: its name and settings; see `pooling_called`.
        dropout: of the joined vectors.
        seed: of `PooledNetwork`.
    """

    grid: Sequence[int]
    layer: str
    at: At
    channels: Channels
    tokens: Mapping[str, Any] | None
    pooling: Mapping[str, Any]
    dropout: float
    seed: int

    def build(self, backbone: nn.Module) -> PooledNetwork:
        """The pooled network of a backbone, which becomes part of it.

        Args:
            backbone: of the architecture that the form belongs to, its grid as fine, with any weights.

        Raises:
            RegardError: what it does not go with, or settings that there are not.
            TypeError, KeyError, AttributeError: values of a kind that the form does not have.
        """
        self._check()
        find_layer(backbone, self.layer)
        tokens = None if self.tokens is None else _tokens(self.tokens)
        features = Features(Place(self.layer, self.at), self.channels, tokens)
        pooling = pooling_called(**self.pooling)
        return PooledNetwork(backbone, features, pooling, self.dropout, self.seed)

    def _check(self) -> None:
        right = {
            "grid": len(self.grid) == 2 and all(type(side) is int for side in self.grid),
            "layer": isinstance(self.layer, str),
            "at": self.at in get_args(At),
            "channels": self.channels in get_args(Channels),
        }
        wrong = [name for name in right if not right[name]]
        if wrong:
            raise ClassifierError("no such value", came=f"{wrong[0]}={getattr(self, wrong[0])!r}")


def form_of_pooled(classifier: BRNPAClassifier) -> PooledForm:
    """The form of a classifier's network.

    Raises:
        ClassifierError: its representatives are selected by a function, which a file could not hold.
        UnsupportedError: its pooling is none that has a name.
    """
    network = classifier.network
    place, tokens, pooling = network.features.place, network.features.tokens, described(network.pooling)
    if callable(pooling.get("select")):
        raise ClassifierError(
            "a file cannot hold the function that selects representatives",
            came=f"select={pooling['select']!r}",
            expected='"norm" or "random"',
        )
    return PooledForm(
        grid=classifier.grid,
        layer=place.layer,
        at=place.at,
        channels=network.features.channels,
        tokens=None if tokens is None else asdict(tokens),
        pooling=pooling,
        dropout=network.dropout.p,
        seed=network.seed,
    )


def _tokens(fields: Mapping[str, Any]) -> Tokens:
    """An anatomy of JSON values, in which tuples are lists."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    values["attention_input"] = Place(**values["attention_input"])
    found = Tokens(**values)
    numbers = (*found.patch, found.prefix + 1)
    if len(numbers) != 3 or not all(type(number) is int and number > 0 for number in numbers):
        raise ClassifierError("no such tokens", came=f"patch={found.patch!r}, prefix={found.prefix!r}")
    return found
