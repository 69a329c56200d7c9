"""Two photos of different classes on one canvas: does each class's map stay on its own photo?

    python benchmarks/two_photos.py ../shared/data --write docs/two-photos.md

Every validation photo stands once left and once right of a photo of another class (a seeded ring) on a
448×224 canvas, which the classifier squashes to 224×224. A picture counts if both classes are its top
two. Share: a map's positive mass on its own photo ÷ all its positive mass; 0.5 is chance.
Intervals: 95 %, bootstrap over pictures, both maps of a picture together. Methods that cost a hundred passes a
picture take every fourth picture, starting with the first.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import regard

CONCEPT_PHOTOS = 5
BATCH = 16
SLOW = 4
"""Methods of a hundred passes a picture take every so-manieth of those that count."""
RESAMPLES = 10_000


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ring(labels: list[int], seed: int) -> list[int]:
    """An order of the photos in which neighbours, the last and the first too, are of different classes."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(labels)).tolist()
        for place in range(len(order)):
            others = [
                other for other in range(place + 1, len(order)) if labels[order[other]] != labels[order[place - 1]]
            ]
            if place and labels[order[place]] == labels[order[place - 1]] and others:
                order[place], order[others[0]] = order[others[0]], order[place]
        if all(labels[order[place]] != labels[order[place - 1]] for place in range(len(order))):
            return order


def canvas(left: Path, right: Path) -> Image.Image:
    picture = Image.new("RGB", (448, 224))
    for place, path in enumerate((left, right)):
        picture.paste(Image.open(path).convert("RGB").resize((224, 224)), (224 * place, 0))
    return picture


def own_shares(maps: torch.Tensor) -> np.ndarray:
    """Share of map 0's positive mass on the left half, of map 1's on the right: (B, 2, h, w) → (B, 2)."""
    positive = maps.clamp(min=0)
    half = maps.shape[3] // 2
    sides = torch.stack([positive[:, 0, :, :half].sum((1, 2)), positive[:, 1, :, half:].sum((1, 2))], dim=1)
    return (sides / positive.sum((2, 3))).numpy()


def interval(values: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def measure(
    data: Path, seed: int = 0, only: set[str] | None = None, take: int = 1
) -> tuple[list[tuple[str, str, np.ndarray]], int, int]:
    """Per row: what, targets, shares (pictures, 2); and how many pictures passed the gate, of how many.

    `only` names the methods to measure, default all; `take` keeps every so-manieth picture.
    """
    rows = read_rows(data)
    validation = [row for row in rows if row["split"] == "val"]
    labels = [int(row["label"]) for row in validation]
    classifier = regard.load("regard:vit-small")
    order = ring(labels, seed)
    pairs = [(order[place - 1], order[place]) for place in range(0, len(order), take)]
    pictures = [canvas(data / validation[left]["file"], data / validation[right]["file"]) for left, right in pairs]
    pixels = classifier.prepare(pictures)
    sides = torch.tensor([[labels[left], labels[right]] for left, right in pairs])
    with torch.no_grad():
        logits = torch.cat([classifier(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])
    passed = [
        place
        for place in range(len(pairs))
        if set(logits[place].topk(2).indices.tolist()) == set(sides[place].tolist())
    ]
    pixels, sides = pixels[passed], sides[passed]
    asked = methods(classifier, pixels, sides, concepts(classifier, data, rows))
    shares = []
    for name, targets, maps in asked:
        if only is None or name in only:
            shares.append((name, targets, own_shares(maps())))
            print(f"{name}, {targets}: {np.nanmean(shares[-1][2]):.3f}", flush=True)
    return shares, len(passed), len(pairs)


def concepts(classifier: regard.Classifier, data: Path, rows: list[dict[str, str]]) -> dict[str, list[regard.Concept]]:
    """Per measure, one concept a class, from its first training photos; contrast: minus those of the other classes."""
    train = [row for row in rows if row["split"] == "train"]
    photos = [data / row["file"] for label in range(10) for row in of_class(train, label)[:CONCEPT_PHOTOS]]
    embeddings = classifier.embed(classifier.prepare(photos)).unflatten(0, (10, CONCEPT_PHOTOS))
    rest = [torch.cat([embeddings[:label], embeddings[label + 1 :]]).flatten(0, 1) for label in range(10)]
    return {
        form: [
            regard.Concept.from_embeddings(classifier, own, name, form, others if form == "contrast" else None)
            for name, own, others in zip(classifier.labels or [], embeddings, rest, strict=True)
        ]
        for form in ("dot", "cosine", "contrast")
    }


def of_class(rows: list[dict[str, str]], label: int) -> list[dict[str, str]]:
    return [row for row in rows if int(row["label"]) == label]


Maps = Callable[[], torch.Tensor]


def methods(
    classifier: regard.Classifier, pixels: torch.Tensor, sides: torch.Tensor, made: dict[str, list[regard.Concept]]
) -> list[tuple[str, str, Maps]]:
    """Per row of the table: what, targets, and the maps of the left and of the right photo, (pictures, 2, h, w)."""
    cdam = regard.CDAM(classifier)

    def of_classes(explainer: regard.Explainer) -> Maps:
        return lambda: explainer(pixels, regard.PerImage(sides)).maps

    def of_few(explainer: regard.Explainer) -> Maps:
        return lambda: explainer(pixels[::SLOW], regard.PerImage(sides[::SLOW])).maps

    def of_concepts(listed: list[regard.Concept]) -> Maps:
        return lambda: cdam(pixels, listed).maps[torch.arange(len(pixels))[:, None], sides]

    def differences() -> torch.Tensor:
        pairs = [[regard.Difference(left, right), regard.Difference(right, left)] for left, right in sides.tolist()]
        return torch.cat([cdam(pixels[place : place + 1], pair).maps for place, pair in enumerate(pairs)])

    return [
        ("CDAM", "class logit", of_classes(cdam)),
        ("CDAM, value term", "class logit", of_classes(regard.CDAM(classifier, terms="value"))),
        ("CDAM, routing term", "class logit", of_classes(regard.CDAM(classifier, terms="routing"))),
        ("CDAM", "difference of the two classes", differences),
        *(
            ("CDAM", f"concept of {CONCEPT_PHOTOS} photos, {form}", of_concepts(listed))
            for form, listed in made.items()
        ),
        ("Smooth CDAM", "class logit", of_classes(regard.SmoothCDAM(classifier))),
        ("Integrated CDAM, complete", "class logit", of_classes(regard.IntegratedCDAM(classifier))),
        ("Integrated CDAM as published", "class logit", of_classes(regard.PaperIntegratedCDAM(classifier))),
        ("last-block ablation", "class logit", of_classes(regard.LastBlockAblation(classifier))),
        (
            "token ablation, 2×2, a quarter refined",
            "class logit",
            of_few(regard.TokenAblation(classifier, group=2, refine=0.25)),
        ),
        ("relevance propagation", "class logit", of_classes(regard.RelevancePropagation(classifier))),
        ("partial relevance", "class logit", of_classes(regard.PartialRelevance(classifier))),
        ("Grad-CAM on attention", "class logit", of_classes(regard.AttentionGradCAM(classifier))),
        ("gradient at the last attention", "class logit", of_classes(regard.TokenGradient(classifier))),
        ("input × gradient, pixels", "class logit", of_classes(regard.InputGradient(classifier))),
        ("input × gradient, first tokens", "class logit", of_classes(regard.InputGradient(classifier, at="tokens"))),
        ("integrated gradients", "class logit", of_few(regard.IntegratedGradients(classifier))),
        ("SmoothGrad", "class logit", of_few(regard.SmoothGrad(classifier))),
        ("attention map", "none (the same for both)", of_classes(regard.AttentionMap(classifier))),
        ("rollout", "none (the same for both)", of_classes(regard.Rollout(classifier))),
        ("random (control)", "none", of_classes(regard.Random(classifier))),
        ("centre (control)", "none", of_classes(regard.Centre(classifier))),
    ]


def table(shares: list[tuple[str, str, np.ndarray]], passed: int, pictures: int) -> str:
    lines = [
        "# Two photos on one canvas",
        "",
        *(__doc__ or "").strip().splitlines()[4:],
        "",
        f"Classifier `regard:vit-small`, the 134 validation photos of the Imagenette sample; {passed} of {pictures}",
        f"pictures passed the gate. Concepts: the first {CONCEPT_PHOTOS} training photos a class, without the head.",
        "Dot and cosine nearly agree here, since the final norm makes all embeddings about equally long.",
        "Made by `python benchmarks/two_photos.py DATA --write docs/two-photos.md`.",
        "",
        "| method | target | pictures | share on its own photo, mean [95 %] | both maps above 0.5 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, target, values in shares:
        known = values[~np.isnan(values).any(axis=1)]
        low, high = interval(known.mean(axis=1))
        both = (known > 0.5).all(axis=1).mean()
        empty = f" ({len(values) - len(known)} without positive mass left out)" if len(known) < len(values) else ""
        mean = f"{known.mean():.3f} [{low:.3f}, {high:.3f}]{empty}"
        lines.append(f"| {name} | {target} | {len(values)} | {mean} | {both:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, nargs="?", default=Path("../shared/data"), help="folder that holds imagenette-224"
    )
    parser.add_argument("--write", type=Path, help="file for the table")
    arguments = parser.parse_args()
    text = table(*measure(arguments.data / "imagenette-224"))
    print(text)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
