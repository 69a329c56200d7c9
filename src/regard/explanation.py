"""The answer: raw maps, and all that is needed to trust, place and repeat them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as functional
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from regard.errors import FileFormatError, TargetError
from regard.images import Geometry, Interpolation, Photo
from regard.question import TargetAnswer
from regard.ranks import Ranks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "regard.explanation"
FORMAT_VERSION = 1
SIGNS = ("against the target", "for the target")
"""What values below and above zero mean to most signed methods."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of B images for T targets each.

    Attributes:
        maps: float32 (B, T, h, w) on the method's own grid; raw, signed where the method is signed,
            never normalised, clipped or coloured. Row-major from the frame's upper left corner.
        targets: per image, per target: name, class index, score, probability.
        logits: (B, C) from the same pass; None without a head.
        geometries: where each frame lies on its photo.
        pictures: uint8 (B, H, W, 3), what the classifier saw; for drawing.
        method: the explainer's name.
        settings: its settings.
        classifier: the classifier's name.
        classifier_hash: of its weights and preparation.
        signed: whether values below zero mean the opposite of those above; `signs` says what.
        per_target: whether the method tells targets apart; if not, all T maps of an image are equal.
        attention: the head's attention to the patches (of the class token in the last block, or of a pool),
            (B, heads, h, w), where the method yields it for free.
        prefix: the method's scores of the tokens before the patches, (B, T, P), raw; None where it gives them none.
        not_finite: the images whose maps hold NaN or infinity: those that `on_nan` allowed, and those with a target
            that the method gives no map of, which a note says.
        forwards: forward passes spent, in images.
        backwards: backward passes spent, in images times targets.
        notes: what a reader of the maps should know.
        version: of regard.
        signs: what values below and above zero mean, where the method is signed.
        ranks: a map of each representative, and what it adds to each target's score; None where a method has none.
    """

    maps: Tensor
    targets: tuple[tuple[TargetAnswer, ...], ...]
    logits: Tensor | None
    geometries: tuple[Geometry, ...]
    pictures: Tensor
    method: str
    settings: Mapping[str, Any]
    classifier: str
    classifier_hash: str
    signed: bool
    per_target: bool
    attention: Tensor | None = None
    prefix: Tensor | None = None
    not_finite: tuple[int, ...] = ()
    forwards: int = 0
    backwards: int = 0
    notes: tuple[str, ...] = ()
    version: str = ""
    signs: tuple[str, str] = SIGNS
    ranks: Ranks | None = None

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, image: int) -> Explanation:
        """The explanation of one image, still with a batch axis of one."""
        if not -len(self) <= image < len(self):
            raise IndexError(f"image {image} of {len(self)}")
        image = image % len(self)
        part = slice(image, image + 1)
        return replace(
            self,
            maps=self.maps[part],
            targets=self.targets[part],
            logits=None if self.logits is None else self.logits[part],
            geometries=self.geometries[part],
            pictures=self.pictures[part],
            attention=None if self.attention is None else self.attention[part],
            prefix=None if self.prefix is None else self.prefix[part],
            not_finite=(0,) if image in self.not_finite else (),
            ranks=None if self.ranks is None else self.ranks[part],
        )

    def __iter__(self) -> Iterator[Explanation]:
        return (self[image] for image in range(len(self)))

    @property
    def prefix_mass(self) -> Tensor | None:
        """Share of |score| on the tokens before the patches, (B, T): Σ_prefix |S| / Σ_all |S|; None without them.

        A diagnostic (CDAM, section 3.7): what registers and the class token hold is not seen on the map. NaN
        where all scores are zero.
        """
        if self.prefix is None:
            return None
        before, patches = self.prefix.abs().sum(dim=2), self.maps.abs().sum(dim=(2, 3))
        return before / (before + patches)

    def to_pixels(self, size: tuple[int, int] | None = None, mode: Interpolation = "bilinear") -> Tensor:
        """Maps at the frame's resolution, (B, T, H, W), or at another `size`.

        nearest repeats each cell exactly (its block mean is the raw value); bilinear is smoother and
        changes no value's order of magnitude, but does change the extremes.
        """
        height, width = size or self.geometries[0].frame
        if mode == "nearest":
            return functional.interpolate(self.maps, (height, width), mode="nearest-exact")
        return functional.interpolate(self.maps, (height, width), mode="bilinear", align_corners=False)

    def on_photo(self, mode: Interpolation = "bilinear", longest: int | None = None) -> list[Tensor]:
        """Per image, maps over the upright original photo: (T, height, width), NaN where the crop did not reach.

        Args:
            mode: nearest or bilinear between cells.
            longest: scale so that the longer side has this many pixels; default the photo's own size.
        """
        return [
            geometry.maps_to_photo(maps, _scaled(geometry.photo, longest), mode)
            for geometry, maps in zip(self.geometries, self.maps, strict=True)
        ]

    def figure(self, photos: Sequence[Photo] | None = None) -> Figure:
        """One row an image: the picture, then each target's map over it, with one visible scale an image.

        Args:
            photos: the originals, in order, to draw the maps over them whole; default: over what the
                classifier saw.
        """
        from regard.drawing import draw_explanation

        return draw_explanation(self, photos)

    def rank_figure(self, photos: Sequence[Photo] | None = None) -> Figure:
        """One row an image: the picture, then its ranks over it, each in its colour, and what each adds to the targets.

        Args:
            photos: as of `figure`.

        Raises:
            UnsupportedError: the method gives no ranks.
        """
        from regard.rank_drawing import draw_ranks

        return draw_ranks(self, photos)

    def _repr_html_(self) -> str:
        """The figure, as a notebook shows it: of the first images where there are many."""
        from regard.notebook import MOST_ROWS, html_figure

        shown = self if len(self) <= MOST_ROWS else join([self[image] for image in range(MOST_ROWS)])
        names = "; ".join(", ".join(answer.name for answer in row) for row in shown.targets)
        more = f", {len(shown)} of {len(self)} images" if len(shown) < len(self) else ""
        return html_figure(shown.figure(), f"Maps by {self.method} of {self.classifier}{more}: {names}")

    def map_of(self, target: int | str, image: int = 0) -> Tensor:
        """One map (h, w), by the target's place or by its name as `targets` has it."""
        names = [answer.name for answer in self.targets[image]]
        if isinstance(target, str) and names.count(target) == 1:
            target = names.index(target)
        if isinstance(target, int) and 0 <= target < len(names):
            return self.maps[image, target]
        raise TargetError(
            "the explanation has no such target",
            came=repr(target),
            expected=f"0 to {len(names) - 1}, or one of {names}",
        )

    def save(self, path: str | Path) -> None:
        """Write all of it to one safetensors file, with a JSON header (format version, classifier hash, crop)."""
        path = Path(path)
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_bytes(self.to_bytes())
        unfinished.replace(path)

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        tensors = {name: value for name in _TENSORS if (value := getattr(self, name)) is not None}
        if self.ranks is not None:
            tensors |= {_OF_RANKS + name: tensor for name, tensor in self.ranks.tensors().items()}
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "targets": [[asdict(answer) for answer in row] for row in self.targets],
            "geometries": [asdict(geometry) for geometry in self.geometries],
            **{name: getattr(self, name) for name in (*_PLAIN, "signs")},
        }
        own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        return save(own, metadata={"regard": json.dumps(header, ensure_ascii=False)})

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read what `save` wrote.

        Raises:
            FileFormatError: not a safetensors file, not an explanation, damaged, or of a newer format.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("regard", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except FileNotFoundError:
            raise FileFormatError(f"there is no file {str(path)!r}") from None
        except (SafetensorError, OSError, ValueError) as reason:
            raise FileFormatError(f"{str(path)!r} is not a readable safetensors file", came=str(reason)) from reason
        header = header if isinstance(header, dict) else {}
        if header.get("format") != FORMAT:
            raise FileFormatError(
                f"{str(path)!r} holds no explanation", came=str(header.get("format") or "no regard header")
            )
        version = header.get("format_version")
        if not isinstance(version, int):
            raise FileFormatError(f"the header of {str(path)!r} is damaged", came=f"format version {version!r}")
        if version > FORMAT_VERSION:
            raise FileFormatError(
                f"{str(path)!r} was written by a newer regard",
                came=f"format {version}, regard {header.get('version')}",
                expected=f"format {FORMAT_VERSION} or older",
                remedy="upgrade regard",
            )
        try:
            return cls(**_fields(header, tensors))
        except (KeyError, TypeError, AttributeError) as reason:
            raise FileFormatError(
                f"the explanation in {str(path)!r} is damaged", came=f"{type(reason).__name__}: {reason}"
            ) from reason


def _fields(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: header[name] for name in _PLAIN}
    fields |= {name: tensors[name] for name in ("maps", "pictures")}
    fields |= {name: tensors.get(name) for name in ("logits", "attention", "prefix")}
    fields |= {name: tuple(header[name]) for name in ("not_finite", "notes")}
    of_ranks = {name.removeprefix(_OF_RANKS): tensors[name] for name in tensors if name.startswith(_OF_RANKS)}
    fields["ranks"] = Ranks(**of_ranks) if of_ranks else None
    fields["signs"] = tuple(header.get("signs", SIGNS))
    fields["targets"] = tuple(tuple(TargetAnswer(**answer) for answer in row) for row in header["targets"])
    fields["geometries"] = tuple(Geometry(**_tuples(geometry)) for geometry in header["geometries"])
    return fields


def _tuples(lists: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: tuple(values) for name, values in lists.items()}


_TENSORS = ("maps", "logits", "pictures", "attention", "prefix")
_OF_RANKS = "ranks."
_PLAIN = (
    "method",
    "settings",
    "classifier",
    "classifier_hash",
    "signed",
    "per_target",
    "not_finite",
    "forwards",
    "backwards",
    "notes",
    "version",
)


def join(parts: Sequence[Explanation]) -> Explanation:
    """Explanations of consecutive images, by one explainer and about one question → one."""
    if len(parts) == 1:
        return parts[0]
    offsets = [sum(len(part) for part in parts[:place]) for place in range(len(parts))]
    return replace(
        parts[0],
        maps=torch.cat([part.maps for part in parts]),
        targets=tuple(row for part in parts for row in part.targets),
        logits=_join([part.logits for part in parts]),
        geometries=tuple(geometry for part in parts for geometry in part.geometries),
        pictures=torch.cat([part.pictures for part in parts]),
        attention=_join([part.attention for part in parts]),
        prefix=_join([part.prefix for part in parts]),
        not_finite=tuple(i + offset for part, offset in zip(parts, offsets, strict=True) for i in part.not_finite),
        forwards=sum(part.forwards for part in parts),
        backwards=sum(part.backwards for part in parts),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        ranks=Ranks.joined(ranked) if (ranked := [part.ranks for part in parts if part.ranks is not None]) else None,
    )


def _join(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(present) if present else None


def _scaled(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    if longest is None:
        return size
    factor = longest / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
