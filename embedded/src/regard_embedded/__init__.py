"""Data of regard: trained classifiers and sample photos, as files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class SamplePhoto:
    """A photo that may be shown anywhere with its credit.

    Attributes:
        path: the file.
        label: what is in it; two labels joined by " | " for two photos side by side.
        author: to be named.
        license: address of the licence.
        landing_url: where the photo comes from.
        changes: what was done to it.
    """

    path: Path
    label: str
    author: str
    license: str
    landing_url: str
    changes: str


def classifiers() -> dict[str, Path]:
    """Name → classifier file."""
    return {path.stem: path for path in sorted((_HERE / "weights").glob("*.safetensors"))}


def attentions() -> list[Path]:
    """Trained attentions (TAME) of the classifiers, one file each; their headers say whose they are."""
    return sorted((_HERE / "attentions").glob("*.safetensors"))


def photos() -> list[SamplePhoto]:
    """All sample photos with their credits."""
    with (_HERE / "photos" / "credits.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    fields = ("label", "author", "license", "landing_url", "changes")
    return [SamplePhoto(_HERE / "photos" / row["file"], *(row[name] for name in fields)) for row in rows]
