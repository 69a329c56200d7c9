"""Maps that are given, and slow replicas of what is computed from them: plain loops, one picture a pass."""

import math
from dataclasses import replace
from fractions import Fraction

import torch
from torch import nn

import regard
from regard.fills import Colour, Mean
from regard.images import seed_of

from ..explainers.networks import classifier_of

ZERO = Colour((0.0, 0.0, 0.0))


class Sum(nn.Module):
    """The sum of all values of a picture: what each place adds is known."""

    def forward(self, pixels):
        return pixels.sum(dim=(1, 2, 3))[:, None]


def summing(size):
    return classifier_of(Sum(), size, outputs="scalar")


def picture_of(rows):
    """A picture whose places sum to these numbers over the channels; none is light enough to be taken for a photo."""
    first = torch.tensor(rows)
    return torch.stack([first, torch.ones_like(first), -torch.ones_like(first)])[None]


def given(classifier, pixels, maps, targets=0, **changes):
    """An explanation of these pixels with these maps (B, T, h, w)."""
    shown = regard.Ones(classifier)(pixels, targets)
    return replace(shown, maps=torch.as_tensor(maps, dtype=torch.float32), per_target=True, signed=True, **changes)


def drawn_maps(images, targets, size, seed=3):
    return torch.randn(images, targets, *size, generator=torch.Generator().manual_seed(seed))


def slow_ranking(values, picture, seed=0):
    """Places, the most relevant first: by value, equal ones by a random order drawn from the picture."""
    places = len(values)
    drawn = torch.randperm(places, generator=torch.Generator().manual_seed(seed_of(picture, seed))).tolist()
    turn = {place: number for number, place in enumerate(drawn)}
    return sorted(range(places), key=lambda place: (-values[place], turn[place]))


def slow_counts(places, steps, least=0):
    exact = (Fraction(step * places, steps) for step in range(steps + 1))
    return sorted({max(least, math.floor(count + Fraction(1, 2))) for count in exact})


def slow_enlarged(rows, size):
    """One map (nested lists) → (H, W), between the centres of cells."""

    def between(length, own):
        for place in range(length):
            at = min(max((place + 0.5) * own / length - 0.5, 0.0), own - 1.0)
            yield math.floor(at), min(math.floor(at) + 1, own - 1), at - math.floor(at)

    across = list(between(size[1], len(rows[0])))
    result = []
    for above, below, down in between(size[0], len(rows)):
        line = [one + down * (other - one) for one, other in zip(rows[above], rows[below], strict=True)]
        result.append([line[left] + share * (line[right] - line[left]) for left, right, share in across])
    return result


def slow_filled(fill, picture, kept):
    """One picture (3, H, W) where (H, W) stays."""
    if isinstance(fill, Mean):
        background = torch.stack([torch.full_like(channel, float(channel.double().mean())) for channel in picture])
    elif isinstance(fill, Colour):
        background = torch.stack([torch.full_like(picture[0], value) for value in fill.prepared])
    elif fill.name == "inpaint":
        return fill(picture[None], kept[None, None].float())[0]
    else:
        background = fill.background(picture[None])[0]
    return torch.where(kept, picture, background)


def slow_mask(places, size, covered, frame, beside):
    """Places of a grid → what stays of the frame (H, W): each pixel of the covered part belongs to one cell."""
    shown = set(places)
    rows = [math.floor((row + 0.5) * size[0] / covered[0]) for row in range(covered[0])]
    columns = [math.floor((column + 0.5) * size[1] / covered[1]) for column in range(covered[1])]
    kept = torch.full(frame, beside)
    kept[: covered[0], : covered[1]] = torch.tensor([[r * size[1] + c in shown for c in columns] for r in rows])
    return kept


def slow_curves(value, pixels, maps, fill, steps, level, covered=None, seed=0):
    """Insertion, deletion and retained answers, (B, T, S+1) and (B, T): `value` gives the T numbers of a picture.

    A map serves its own target alone.
    """
    frame = tuple(pixels.shape[2:])
    covered = covered or frame
    found = {"insertion": [], "deletion": [], 0.5: [], 0.15: []}
    for number, (picture, several) in enumerate(zip(pixels, maps, strict=True)):
        for target, one in enumerate(several):
            rows = slow_enlarged(one.tolist(), covered) if level == "pixel" else one.tolist()
            order = slow_ranking([number for row in rows for number in row], picture, seed)
            size, places = (len(rows), len(rows[0])), len(order)

            def shown(chosen, beside, picture=picture, size=size, number=number, target=target):
                kept = slow_mask(chosen, size, covered, frame, beside)
                return value(slow_filled(fill, picture, kept)[None], number)[target]

            counts = slow_counts(places, steps)
            insertion = [shown(order[:count], count == places) for count in counts]
            deletion = [shown(order[places - count :] if count else [], count > 0) for count in reversed(counts)]
            found["insertion"].append(torch.stack(insertion))
            found["deletion"].append(torch.stack(deletion))
            for share in (Fraction(1, 2), Fraction(3, 20)):
                count = math.floor(share * places + Fraction(1, 2))
                found[float(share)].append(shown(order[:count], count == places))
    return {name: torch.stack(values).unflatten(0, maps.shape[:2]) for name, values in found.items()}


def all_close(found, expected, tolerance=1e-4):
    """To a share of each value: probabilities may be small."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected.double(), atol=tolerance / 1000, rtol=tolerance)
    return True


def equal_curves(one, other, tolerance=1e-6):
    assert one.counts.equal(other.counts)
    for name in ("insertion", "deletion"):
        all_close(getattr(one, name), getattr(other, name), tolerance)
    assert one.retained.keys() == other.retained.keys()
    return all(all_close(one.retained[share], other.retained[share], tolerance) for share in one.retained)
