"""What TAME costs beside the classifier's own forward, and beside the published order of its layers.

    python benchmarks/tame.py [--quick] [--write docs/benchmarks/tame.md] [--network NAME | --training]

Batch 8, float32, median of nine rounds; a round times every row once, one after the other, so that a busy machine
slows all rows alike. "× forward" is to the classifier's own forward of the same round, which every other row holds.
torchvision's networks have random weights and the layers of the papers, the embedded ones those that are read by rule.
`regard.TAME` is what a person calls: pixels and classes in, explanation with logits out. "layers and attention" is the
same without targets and checks: one pass in which the layers are read, then the folded attention. "published order"
is that pass with the attention as it is trained and published: every branch resized to the maps' grid, joined, then
fused to all classes, with batch norm and skip of their own. "multiplications" are those of a picture, of the
convolutions and matrix products alone, as a share of the forward's. "MiB" is the most that tensors held at once, above
what was held before the call. Budgets of `regard.TAME` for one class: ≤ 1.05 (VGG-16), 1.2 (ResNet-50), 1.05
(ViT-B/16).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as functional
from measuring import head, options, page, peak, ratio, rounds, timed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import regard
from regard.attention.fusion import FusionAttention, map_grid, smoothing_radii
from regard.explainers.trained_attention import Card, TrainedAttention
from regard.fills import black
from regard.models.stages import read_stages, stages_of
from regard.training.frozen import frozen
from regard.training.tame.descent import optimizer_of
from regard.training.tame.mask_training import Batch, MaskTraining
from regard.training.tame.presets import PUBLISHED_LAYERS
from regard.training.tame.recipe import Recipe

LITE = "regard:efficientnet-lite0"
BUDGETS = {"torchvision:vgg16": 1.05, "torchvision:resnet50": 1.2, "torchvision:vit_b_16": 1.05}
NETWORKS = (*BUDGETS, LITE, "regard:vit-small")
BATCH, LEARNT = 8, 16
"""Pictures of an explanation, and of a training step."""
FORWARD, ONE, ALL = "forward", "regard.TAME, 1 class", "regard.TAME, all classes"
READ_ONE, READ_SMOOTH = "layers and attention, 1 class", "layers and attention, 1 class, smoothing 1"
READ_ALL, PUBLISHED = "layers and attention, all classes", "published order, all classes"
HEADS = ("network", "work", "median ms", "× forward", "budget", "multiplications", "MiB")

Work = dict[str, Callable[[], tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Subject:
    """A classifier, pixels of it, and attentions with random weights that read it."""

    classifier: regard.Classifier
    pixels: Tensor
    trained: TrainedAttention

    @classmethod
    def of(cls, name: str, pictures: int, device: torch.device) -> Subject:
        torch.manual_seed(0)
        drawn = {"pretrained": False} if name in BUDGETS else {}
        classifier = regard.load(name, device=device, **drawn)
        classifier.network.requires_grad_(False)
        if name == "torchvision:vit_b_16":
            nn.init.normal_(classifier.network.heads.head.weight, std=0.02)  # zeros as it comes: it would read no layer
        height, width = classifier.preparation.frame
        draw = torch.Generator().manual_seed(0)
        pixels = classifier.prepare(torch.randn(pictures, 3, height, width, generator=draw))
        return cls(classifier, pixels, trained_for(classifier, PUBLISHED_LAYERS.get(name)))

    @property
    def attention(self) -> FusionAttention:
        return self.trained.attention

    @torch.no_grad()
    def read(self) -> tuple[list[Tensor], Tensor]:
        """Feature maps and logits of one pass."""
        with self.classifier.untouched():
            features, output = read_stages(self.classifier, self.trained.layers, self.pixels)
        assert output.logits is not None
        return features, output.logits


def trained_for(classifier: regard.Classifier, layers: Sequence[str] | None) -> TrainedAttention:
    """An attention as if trained, of random weights."""
    stages, picture = stages_of(classifier, layers=layers), classifier.picture()
    with torch.no_grad(), classifier.untouched():
        channels = tuple(one.shape[1] for one in read_stages(classifier, stages, picture)[0])
    classes = classifier.class_count
    assert classes is not None
    card = Card(
        classifier=classifier.name,
        classifier_hash=classifier.hash,
        layers=tuple((stage.place.layer, stage.place.at) for stage in stages),
        gated=False,
        variant="tame",
        channels=channels,
        classes=classes,
        photos_of_class=(1000,) * classes,
        training={},
        figures={},
        versions={},
    )
    return TrainedAttention(FusionAttention(channels, classes).eval().to(picture.device), stages, card)


def published_order(attention: FusionAttention, features: Sequence[Tensor]) -> Tensor:
    """Resize, join, fuse: all classes."""
    grid = map_grid([(feature.shape[2], feature.shape[3]) for feature in features])
    branches = [branch(feature) for branch, feature in zip(attention.branches, features, strict=True)]
    joined = torch.cat([functional.interpolate(branch, grid, mode="bilinear") for branch in branches], dim=1)
    return functional.conv2d(joined, attention.fuser.weight[..., None, None], attention.fuser.bias)


def explanations(subject: Subject) -> Work:
    """What is timed of a network."""
    pixels, attention, classes = subject.pixels, subject.attention, list(range(subject.attention.classes))
    smooth = FusionAttention(attention.channels, attention.classes, smoothing=1).to(pixels.device)
    smooth.load_state_dict(attention.state_dict())
    tame, folded, smooth = regard.TAME(subject.classifier, subject.trained), attention.folded(), smooth.folded()
    first = torch.zeros(len(pixels), 1, dtype=torch.int64, device=pixels.device)

    def attended(attend: Callable[[list[Tensor]], Tensor]) -> tuple[Tensor, Tensor]:
        features, logits = subject.read()
        with torch.no_grad():
            return attend(features), logits

    def explained(targets: int | list[int]) -> tuple[Tensor, Tensor]:
        found = tame(pixels, targets)
        assert found.logits is not None
        return found.maps, found.logits

    return {
        FORWARD: lambda: _forward(subject),
        ONE: lambda: explained(0),
        READ_ONE: lambda: attended(lambda features: folded(features, first)),
        READ_SMOOTH: lambda: attended(lambda features: smooth(features, first)),
        ALL: lambda: explained(classes),
        READ_ALL: lambda: attended(folded),
        PUBLISHED: lambda: attended(partial(published_order, attention)),
    }


@torch.no_grad()
def _forward(subject: Subject) -> tuple[Tensor, Tensor]:
    """No maps, and the logits."""
    logits = subject.classifier.forward(subject.pixels)
    return logits[:, :0], logits


def check_equal(subject: Subject, work: Work) -> None:
    """Refuse to compare what does not compute the same."""
    expected, logits = work[PUBLISHED]()
    pairs = [(work[what]()[0], expected[:, :1]) for what in (ONE, READ_ONE)]
    pairs += [(work[what]()[0], expected) for what in (ALL, READ_ALL)]
    pairs += [(work[what]()[1], logits) for what in (FORWARD, ONE, ALL)]
    for found, wanted in pairs:
        if float((found.to(wanted) - wanted).abs().max()) > 1e-4 * float(wanted.abs().max()):
            raise SystemExit(f"{subject.classifier.name}: the sides do not compute the same")


def multiplications(subject: Subject) -> dict[str, float]:
    """Of a picture and each row's attention, as a share of the forward's."""
    features, _ = subject.read()
    grids = [(feature.shape[2], feature.shape[3]) for feature in features]
    cells = [height * width for height, width in grids]
    sizes = list(zip(subject.attention.channels, cells, strict=True))
    branches = sum(channels**2 * count for channels, count in sizes)
    fused = sum(channels * count for channels, count in sizes)
    windows = [(2 * down + 1) * (2 * across + 1) for down, across in smoothing_radii(grids, 1)]
    smooth = sum(window * count for window, count in zip(windows, cells, strict=True))
    height, width = map_grid(grids)
    classes = subject.attention.classes
    own = {
        ONE: branches + fused,
        READ_ONE: branches + fused,
        READ_SMOOTH: branches + fused + smooth,
        ALL: branches + classes * fused,
        READ_ALL: branches + classes * fused,
        PUBLISHED: branches + classes * sum(subject.attention.channels) * height * width,
    }
    forward = _multiplications_of_a_forward(subject.classifier)
    return {FORWARD: 1.0, **{what: 1 + count / forward for what, count in own.items()}}


def _multiplications_of_a_forward(classifier: regard.Classifier) -> float:
    """torch counts all but the two products of fused attention, 2 N² D a block."""
    picture = classifier.picture()
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # without gradients some blocks run as one
        classifier.forward(picture.requires_grad_())
    tokens = classifier.tokens
    if tokens is None:
        return counter.get_total_flops() / 2
    count = tokens.prefix + tokens.patches(picture)
    return counter.get_total_flops() / 2 + len(tokens.blocks) * 2 * count**2 * classifier.width


def table_of(name: str, device: torch.device, quick: bool) -> list[str]:
    """Rows of a network."""
    subject = Subject.of(name, 1 if quick else BATCH, device)
    work, shares = explanations(subject), multiplications(subject)
    check_equal(subject, work)
    times, lines = timed(work, device, *rounds(quick)), []
    for what, call in work.items():
        cells = [name.partition(":")[2], what, f"{statistics.median(times[what]) * 1e3:.1f}"]
        cells += [f"{ratio(times, what, FORWARD):.3f}", f"{BUDGETS.get(name, '')}" if what == ONE else ""]
        cells += [f"{shares[what]:.3f}", f"{peak(call, device):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


class AllThenPicked(nn.Module):
    """An attention that makes the maps of all classes and then takes those asked for, as published."""

    def __init__(self, attention: FusionAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features: Sequence[Tensor], classes: Tensor) -> Tensor:
        maps = self.attention(features)
        return maps.gather(1, classes[..., None, None].expand(-1, -1, *maps.shape[2:]))


def step_of(subject: Subject, attention: nn.Module) -> Callable[[], object]:
    """One step of a training: clean pass, masked pass and back, the attention and back, AdamW."""
    recipe = Recipe(variant="tame", maps="own")
    fill = black(subject.classifier.preparation.mean, subject.classifier.preparation.std)
    task = MaskTraining(subject.classifier, subject.trained.layers, attention.train(), (), (), recipe, fill, 0)
    optimizer = optimizer_of(task.module, recipe)
    none = torch.empty(len(subject.pixels), 0, dtype=torch.int64, device=subject.pixels.device)
    batch = Batch(subject.pixels.as_subclass(Tensor), none)

    def step() -> float:
        loss = task.losses(batch)[0].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()  # at the end: a peak is counted from what is held between two steps
        return loss.item()

    return step


def training(device: torch.device, quick: bool) -> list[str]:
    """A step with the own rows gathered, and with all maps made first."""
    subject = Subject.of(LITE, 2 if quick else LEARNT, device)
    channels, classes = subject.attention.channels, subject.attention.classes
    gathered, every = (FusionAttention(channels, classes).to(device) for _ in range(2))
    every.load_state_dict(gathered.state_dict())
    own, all_maps = "own rows alone", f"all {classes} maps, the own picked"
    work = {own: step_of(subject, gathered), all_maps: step_of(subject, AllThenPicked(every))}
    lines = head([f"a step of {len(subject.pixels)} pictures", "median ms", "pictures a second", "× own rows", "MiB"])
    with frozen(subject.classifier):
        times = timed(work, device, *rounds(quick))
        for what, call in work.items():
            middle = statistics.median(times[what])
            cells = [what, f"{middle * 1e3:.1f}", f"{len(subject.pixels) / middle:.1f}"]
            cells += [f"{ratio(times, what, own):.2f}", f"{peak(call, device):.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return [
        *lines,
        "",
        "EfficientNet-Lite0, AdamW, masks of the pictures' own classes, pixels prepared before. A step: a forward of",
        "the clean pictures, one of the masked ones and back to their pixels, the attention and back, and the update.",
    ]


def main() -> None:
    parser = options(__doc__, "one picture")
    parser.add_argument("--network", choices=NETWORKS, help="only this network's rows, printed")
    parser.add_argument("--training", action="store_true", help="only the training's table, printed")
    asked = parser.parse_args()
    how = asked.device, asked.quick
    if asked.network:
        table_of(asked.network, *how)
    elif asked.training:
        training(*how)
    else:
        maps = [lambda: ["## Maps", "", *head(HEADS)], *(partial(table_of, name, *how) for name in NETWORKS)]
        page("TAME: cost", __doc__, asked, [*maps, lambda: ["", "## Training", "", *training(*how)]])


if __name__ == "__main__":
    main()
