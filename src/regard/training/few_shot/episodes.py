"""Episodes: a few classes with a few photos each, and photos to be told by them (Vinyals et al. 2016)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import ClassifierError, UnsupportedError
from regard.seeds import check_seed, seed_for


@dataclass(frozen=True)
class Episode:
    """Photos by index, a row for each of N classes, in the same order.

    Attributes:
        classes: the label of each row, (N,).
        support: the photos that a class is known by, (N, K).
        queries: other photos of it, which are to be told, (N, Q).
    """

    classes: tuple[int, ...]
    support: tuple[tuple[int, ...], ...]
    queries: tuple[tuple[int, ...], ...]

    @property
    def photos(self) -> Tensor:
        """(N, K + Q), support first."""
        return torch.cat([torch.tensor(self.support), torch.tensor(self.queries)], dim=1)


class Episodes:
    """Episodes of labelled photos, by number: each is drawn from (seed, number) alone.

    Every class is as likely as any other, and so is every photo of it; no photo stands twice in an episode.

    Args:
        labels: of each photo, as an index.
        ways: N, classes of an episode.
        shots: K, photos of each that are given.
        queries: Q, photos of each that are asked for.
        seed: another one, other episodes.
        names: of the labels, for what is refused. Default: the labels themselves.

    Raises:
        ClassifierError: fewer classes than `ways`, or a class with fewer photos than `shots` + `queries`.
        UnsupportedError: numbers that cannot be.
    """

    def __init__(
        self,
        labels: Sequence[int],
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> None:
        check_episodes(ways, shots, queries)
        check_seed(seed)
        self.ways, self.shots, self.queries, self.seed = ways, shots, queries, seed
        self._photos: dict[int, list[int]] = defaultdict(list)
        for photo, label in enumerate(labels):
            self._photos[label].append(photo)
        self._labels = sorted(self._photos)
        self._check(names)

    def numbered(self, number: int) -> Episode:
        """The episode of a number, from 0 on without end."""
        draw = torch.Generator().manual_seed(seed_for(self.seed, "episode", number))
        chosen = torch.randperm(len(self._labels), generator=draw)[: self.ways].tolist()
        classes = [self._labels[place] for place in chosen]
        rows = [self._some(label, draw) for label in classes]
        return Episode(
            tuple(classes),
            tuple(row[: self.shots] for row in rows),
            tuple(row[self.shots :] for row in rows),
        )

    def _some(self, label: int, draw: torch.Generator) -> tuple[int, ...]:
        photos = self._photos[label]
        places = torch.randperm(len(photos), generator=draw)[: self.shots + self.queries].tolist()
        return tuple(photos[place] for place in places)

    def _check(self, names: Sequence[str] | None) -> None:
        if len(self._labels) < self.ways:
            raise ClassifierError(
                f"there are too few classes for episodes of {self.ways}",
                came=f"{len(self._labels)}",
                remedy="fewer ways, or photos of more classes in each part",
            )
        needed = self.shots + self.queries
        poor = [label for label in self._labels if len(self._photos[label]) < needed]
        if poor:
            called = {label: str(label) if names is None else names[label] for label in poor}
            listed = ", ".join(f"{called[label]} ({len(self._photos[label])})" for label in poor[:10])
            raise ClassifierError(
                f"{len(poor)} classes have too few photos",
                came=listed + (", …" if len(poor) > 10 else ""),
                expected=f"{needed} different photos of each, {self.shots} given and {self.queries} asked for",
                remedy="fewer shots or queries, or leave these classes out",
            )


def check_episodes(ways: int, shots: int, queries: int) -> None:
    """Refuse numbers that no episode has.

    Raises:
        UnsupportedError: fewer than two ways, or no shots or queries.
    """
    for name, value, least in (("ways", ways, 2), ("shots", shots, 1), ("queries", queries, 1)):
        if type(value) is not int or value < least:
            raise UnsupportedError(
                f"{name} of an episode are a whole number", came=repr(value), expected=f"{least} or more"
            )
