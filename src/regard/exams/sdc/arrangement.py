"""How mosaics are drawn from items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import UnsupportedError
from regard.exams.sdc.background import with_background
from regard.exams.sdc.items import Items, generator, whole
from regard.exams.sdc.task import Mosaics, SelectiveTask
from regard.seeds import check_seed

_MOST_SEGMENTS = 2**15 - 1


@dataclass(frozen=True)
class Arrangement:
    """What any task can be asked for.

    A label is drawn first, all alike often, then an item of its class, all alike often; the class of each background
    segment likewise, and its item, which may occur twice. Nothing but the foreground depends on the label. The first
    mosaics are the same however many are drawn, and their labels also whatever the segments.

    Attributes:
        train: mosaics to learn from.
        test: mosaics to be examined with.
        segments: m, the foreground among them; or (least, most), drawn for each mosaic, all alike often.
        seed: of all draws, items too where those are drawn.
        leaky: take the test's mosaics from the training's items, as the original experiments did.
        skew: share of mosaics whose foreground stands first; in the others it stands anywhere, all alike often.
        label_noise: share of `train` whose label is another one, all alike often. `test` keeps the truth.
        spread: of the background about its mean, 1 as it is (`with_background`).
        overlap: share of the background's items that lie about a foreground class (`with_background`).

    Raises:
        UnsupportedError: a number that cannot be.
    """

    train: int = 3000
    test: int = 3000
    segments: int | tuple[int, int] = 9
    seed: int = 0
    leaky: bool = False
    skew: float = 0.0
    label_noise: float = 0.0
    spread: float = 1.0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UnsupportedError(f"{name} is a number of mosaics", came=repr(value), expected="1 or more")
        check_seed(self.seed)
        if type(self.leaky) is not bool:
            raise UnsupportedError("a task leaks or does not", came=repr(self.leaky), expected="True or False")
        for name, most in (("skew", 1), ("label_noise", 1), ("spread", math.inf), ("overlap", 1)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= most or value == math.inf:
                raise UnsupportedError(f"{name} is no such number", came=repr(value), expected=f"from 0 to {most}")
        limits = self.limits
        if not all(type(end) is int for end in limits) or not 1 <= limits[0] <= limits[1] <= _MOST_SEGMENTS:
            raise UnsupportedError(
                "segments are counted, or lie between two counts",
                came=repr(self.segments),
                expected=f"1 to {_MOST_SEGMENTS}, or (least, most)",
            )

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the most segments of a mosaic."""
        if isinstance(self.segments, (tuple, list)) and len(self.segments) == 2:
            return self.segments[0], self.segments[1]
        return self.segments, self.segments


def arranged(name: str, train: Items, test: Items, arrangement: Arrangement) -> SelectiveTask:
    """A task of items: `train` to learn from, others of the same classes to be examined with.

    It leaks where it is asked to, and where an item of one part is also in the other, to the last bit.

    Raises:
        UnsupportedError: the two have other classes or forms, or there is no background for a second segment.
    """
    alike = all(getattr(train, each) == getattr(test, each) for each in ("names", "foreground"))
    if not alike or train.values.shape[1:] != test.values.shape[1:]:
        raise UnsupportedError("what is learnt from and what is examined with have other classes or forms")
    asked = arrangement
    leaky = asked.leaky or _share(train, test)  # of what is given: spread 0 makes all background the same on purpose
    train, test = with_background(train, test, asked.spread, asked.overlap, asked.seed)
    if asked.leaky:
        test = train
    return SelectiveTask(
        name,
        _drawn(train, asked.train, asked, "train", asked.label_noise),
        _drawn(test, asked.test, asked, "test", 0.0),
        tuple(train.names[number] for number in train.foreground),
        leaky,
    )


def _share(train: Items, test: Items) -> bool:
    """Whether an item is in both parts; hashes of 64 bits stand for items, so that no copy of all is held."""
    if train.values is test.values:
        return True
    known, other = ({hash(value.tobytes()) for value in items.values.cpu().numpy()} for items in (train, test))
    return not known.isdisjoint(other)


def _drawn(items: Items, count: int, asked: Arrangement, part: str, noise: float) -> Mosaics:
    least, most = asked.limits
    if most > 1 and not items.background:
        raise UnsupportedError(
            "there is no background for a second segment", came=f"{len(items.names)} classes, all of them foreground"
        )

    def uniform(what: str, *shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=generator(asked.seed, part, what))

    labels = len(items.foreground)
    label = whole(uniform("label", count), labels)
    length = least + whole(uniform("length", count), most - least + 1)
    position = whole(uniform("position", count), length).masked_fill(uniform("skew", count) < asked.skew, 0)
    background = torch.tensor(items.background or items.foreground)
    classes = background[whole(uniform("class", count, most), len(background))]
    classes[torch.arange(count), position] = torch.tensor(items.foreground)[label]
    index = items.drawn(classes, uniform("item", count, most)).int()
    index[torch.arange(most) >= length[:, None]] = -1
    wrong = uniform("wrong", count) < noise
    if labels > 1:
        label = torch.where(wrong, (label + 1 + whole(uniform("other", count), labels - 1)) % labels, label)
    return Mosaics(items, index, position.to(torch.int16), label.to(torch.int16), ragged=least < most)
