"""BR-NPA's ranked maps (arXiv 2106.02566): what surrounds each of a picture's representatives, and what it adds."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from regard.attention.pooled import Pooled
from regard.attention.representative import EVEN, RepresentativePooling
from regard.errors import UnsupportedError
from regard.explainers.explainer import Explainer, Found, OnNaN
from regard.explainers.rank_sums import shares_of
from regard.explanation import Explanation
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.models.pooled import last_features
from regard.models.taps import read
from regard.question import Question
from regard.ranks import Ranks
from regard.targets import Output

AS_A_WAY_TO_LOOK = "the classifier does not decide by representatives: these show what its last features hold"
DRAWN = "places are drawn at random, so the order of the ranks says nothing of activity"
SINGLE = "what is used is one place a rank; its map shows what else is like that place"
ACCIDENT = f"norms vary by less than {EVEN:.0%} of their mean, so which places come first is an accident"


class BRNPA(Explainer):
    """Maps of the K representatives of a picture, in the order of their activity, and what each adds to the answer.

        m_k = a_k · ‖f‖,   a_k of `representative_pooling`, ‖f‖ the norm of the features at each place

    a_k alone says what is alike, not how active it is, so it is never shown alone; the product is of floats. The map is
    that of one rank, or of all: the same for every target, since which places represent a picture hangs on no class.
    All ranks are in `Explanation.ranks`, with what each adds to the score of a target, exactly: of a class W_k · v_k,
    which with the head's bias sum to the logit; of a `Similarity` or `Concept` v_k · r_k, for a cosine over ‖v‖ ‖r‖, by
    ranks, as episodes are decided, over K ‖v_k‖ ‖r_k‖, which sum to it; of a `Difference` the difference of these.
    `Explanation.rank_figure` draws them.

    A `BRNPAClassifier` decides by its representatives. Any other classifier does not: of its last features they are
    looked for as a way to look, with a note, and without shares. On a finer grid by `regard.models.high_resolution`.
    A note names pictures all of whose places are about equally active, as they are behind a norm over channels.

    Args:
        classifier: a `BRNPAClassifier`; or any other with a grid of features or one of tokens.
        rank: whose map is shown: 1, the most active, as in the paper's figures of merit; 2, 3, …;
            "mean" or "max" over all ranks.
        count: K where the classifier is not a `BRNPAClassifier`, which has its own; default 3, as published.
        layer: dotted path of a layer whose features are read, in such a classifier. Default: see
            `regard.models.pooled.last_features`.

    Cost: one forward.

    Raises:
        UnsupportedError: no such rank; count or layer for a `BRNPAClassifier`; or no features on a grid.
        LayerError: the named layer does not exist, or its output is neither a grid nor tokens.
    """

    name: ClassVar[str] = "br-npa"
    summary: ClassVar[str] = "the most active places and what resembles each, in ranks"
    networks: ClassVar[str] = "regard.BRNPAClassifier; as a way to look, convolutional networks and vision transformers"
    per_target: ClassVar[bool] = False
    zero_means: ClassVar[str] = "no place is active"

    def __init__(
        self,
        classifier: Classifier,
        *,
        rank: int | Literal["mean", "max"] = 1,
        count: int | None = None,
        layer: str | None = None,
    ) -> None:
        super().__init__(classifier)
        if isinstance(classifier, BRNPAClassifier):
            _check_is_its_own(count, layer)
            self.pooling = classifier.network.pooling
        else:
            self.pooling = RepresentativePooling(3 if count is None else count)
            self.features = last_features(classifier, layer)
            self.settings["layer"] = self.features.layer
            self.notes = (AS_A_WAY_TO_LOOK,)
        self.rank, self.count = rank, cast(int, self.pooling.count)
        _check_rank(rank, self.count)
        self.settings |= {"rank": rank, "count": self.count}

    @property
    def colours(self) -> str:
        from regard.rank_drawing import RANK_COLOURS

        numbered = zip(RANK_COLOURS, range(1, self.count + 1), strict=False)
        return ", ".join(f"{colour}: rank {number}" for colour, number in numbered)

    def _explain(self, pixels: Tensor, question: Question) -> Found:
        found, output, finite = self._represented(pixels)
        maps = _where(finite, found.maps * found.norms[:, None], torch.nan).float()
        shares = self._shares(question, output, found)
        ranks = Ranks(
            maps.cpu(),
            (found.valid & finite[:, None]).cpu(),
            _where(finite, _variation(found.norms), torch.nan).float().cpu(),
            None if shares is None else _where(finite, shares, torch.nan).cpu(),
        )
        shown = _shown(maps, self.rank)[:, None].expand(-1, max(1, len(question.targets)), -1, -1)
        return Found(shown, output, ranks=ranks)

    def _represented(self, pixels: Tensor) -> tuple[Pooled, Output, Tensor]:
        """What is pooled, the answer, and which pictures are of numbers, (B,)."""
        found: Pooled
        if isinstance(self.classifier, BRNPAClassifier):
            found, output = self.classifier.represent(pixels)
        else:
            place = self.features.place
            (tensor,), answered = read(self.classifier.module, [place], lambda: self.classifier.respond(pixels))
            assert answered is not None
            found, output = self.pooling(self.features.maps(tensor, pixels), on_nan="propagate"), answered
        return found, output, found.norms.flatten(1).isfinite().all(dim=1)

    def _shares(self, question: Question, output: Output, found: Pooled) -> Tensor | None:
        """(B, T, K); None where the classifier does not decide by representatives, or nothing was asked."""
        if not isinstance(self.classifier, BRNPAClassifier) or not question.targets:
            return None
        return shares_of(question, output, found.vectors, self.classifier.head.weight)

    def _chunk(self, pixels: Tensor, images: slice, question: Question, on_nan: OnNaN) -> Explanation:
        found = super()._chunk(pixels, images, question, on_nan)
        assert found.ranks is not None
        notes = (*found.notes, *self._on_order(found.ranks, images.start), *_on_sums(found))
        pooling = self.pooling
        if isinstance(pooling, RepresentativePooling) and (pooling.negative, pooling.weights) == ("signed", "sum"):
            return replace(found, notes=notes, signed=True, signs=("opposite to the representative", "like it"))
        return replace(found, notes=notes)

    def _on_order(self, ranks: Ranks, start: int) -> tuple[str, ...]:
        """Notes on what order means where it means little: in which pictures, and which ranks show nothing."""
        if not isinstance(self.pooling, RepresentativePooling):
            return (f"the {self.count} maps of this pooling are in no order",) if self.count > 1 else ()
        even = [f"image {start + image}" for image in (ranks.variation < EVEN).nonzero()[:, 0].tolist()]
        spent = ~ranks.valid & ~ranks.variation.isnan()[:, None]
        named = [f"rank {rank + 1} in image {start + image}" for image, rank in spent.nonzero().tolist()]
        if even and not isinstance(self.classifier, BRNPAClassifier):  # which warns by itself
            warnings.warn(ACCIDENT, stacklevel=2)
        said = ((even, ACCIDENT), (named, "all that is active resembles earlier ranks, so nothing new is shown by"))
        how = ((self.pooling.select == "random", DRAWN), (not self.pooling.refine, SINGLE))
        return (
            *(words for told, words in how if told),
            *(f"{words}: {', '.join(found)}" for found, words in said if found),
        )


def _shown(maps: Tensor, rank: int | str) -> Tensor:
    """Maps of all ranks (B, K, h, w) → the one that is shown, (B, h, w)."""
    if isinstance(rank, int):
        return maps[:, rank - 1]
    return maps.mean(dim=1) if rank == "mean" else maps.amax(dim=1)


def _variation(norms: Tensor) -> Tensor:
    """Standard deviation of norms (B, h, w) over their mean, (B,): NaN of a picture where all are zero."""
    return norms.flatten(1).std(dim=1, correction=0) / norms.flatten(1).mean(dim=1)


def _on_sums(found: Explanation) -> tuple[str, ...]:
    """A note that names targets which are no sum of what ranks add."""
    if found.ranks is None or found.ranks.shares is None:
        return ()
    unknown = found.ranks.shares.isnan().all(dim=2).nonzero().tolist()
    names = [repr(found.targets[image][target].name) for image, target in unknown if image not in found.not_finite]
    return (f"no sum of what ranks add, so without shares: {', '.join(dict.fromkeys(names))}",) if names else ()


def _where(images: Tensor, values: Tensor, other: float) -> Tensor:
    """Values (B, …) of some images (B,), another value in all others."""
    return torch.where(images.view(-1, *[1] * (values.dim() - 1)), values, other)


def _check_is_its_own(count: int | None, layer: str | None) -> None:
    if count is not None or layer is not None:
        raise UnsupportedError(
            "a BRNPAClassifier has representatives of its own",
            came=", ".join(
                f"{name}={value!r}" for name, value in (("count", count), ("layer", layer)) if value is not None
            ),
            remedy="leave count and layer out",
        )


def _check_rank(rank: object, count: int) -> None:
    if rank not in ("mean", "max") and not (type(rank) is int and 1 <= rank <= count):
        raise UnsupportedError("there is no such rank", came=repr(rank), expected=f"1 to {count}, mean or max")
