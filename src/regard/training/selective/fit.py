"""Selective models of several seeds: trained together where they can be, each with the curve that it has alone.

`regard.training.loop` does not serve here: it has one optimizer step, one order of examples, one end and one wait for
the device a step for all that it trains. Here every seed has its own order and its own end, a step costs as little as a
model of 3,000 parameters, and what is kept is a seed that is done: trainings are short, so one that was stopped begins
again (`regard.exams.sdc.sitting`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from regard.attention.selective import SelectiveModel
from regard.errors import NotFiniteError, RegardError, UnsupportedError
from regard.seeds import check_seed, seed_for
from regard.training.selective.examples import Bank, MosaicsLike
from regard.training.selective.figures import Judged, chance, collapsed, figures
from regard.training.selective.objective import asked_for, objective
from regard.training.selective.recipe import SelectiveRecipe
from regard.training.selective.stacked import can_be_stacked, form_of, keep, stacked, write_back
from regard.training.steps import kept_for_the_caller

Found = TypeVar("Found")
End = Literal["loss", "epochs", "not finite"]

TOGETHER = 10
"""Seeds of one stack: what more would save is lost, since what a step makes no longer stays near the processor."""


@dataclass(frozen=True)
class TrainedSeed:
    """What became of one seed.

    Attributes:
        seed: of the order of its examples and of its draws, and as `build` had it.
        model: trained, in eval mode; it predicts as the last phase does.
        epochs: figures before training (epoch 0) and after every epoch: "train …" and "test …" of what `figures` gives,
            and "objective", the mean of what was made smaller during the epoch, which epoch 0 does not have.
        end: why no further epoch: its loss was small enough, there was none, or its numbers were no longer finite: then
            the last figures, and the model, are those of the last epoch in which they were.
        collapsed: see `regard.training.selective.figures.collapsed`, at the end.
    """

    seed: int
    model: SelectiveModel
    epochs: tuple[Mapping[str, float], ...]
    end: End
    collapsed: bool


def fit_selective(
    build: Callable[[int], SelectiveModel],
    train: MosaicsLike,
    test: MosaicsLike,
    seeds: Sequence[int],
    recipe: SelectiveRecipe,
    *,
    judged: Judged = lambda *_: {},
    finished: Callable[[TrainedSeed], None] = lambda _: None,
    heard: Callable[[int, int], None] = lambda *_: None,
) -> tuple[TrainedSeed, ...]:
    """Train one model for each seed.

    A seed's numbers do not depend on the others, but for rounding: in float64 curves are equal to 1e-6 as long as the
    training itself does not enlarge differences of 1e-16. Models with anything but linear layers and activations,
    modules of one's own too, are trained one by one; see `can_be_stacked`.

    Cost of a step, for each seed: forward and backward of its examples, and one elementwise pass of the optimizer; of
    an epoch besides: a forward of all examples of both sets.

    Args:
        build: seed → a model of first weights, on its device; all of the same form.
        train: learnt from.
        test: measured alone.
        seeds: each once.
        recipe: how.
        judged: further figures of each example; see `Judged`.
        finished: told each seed as it ends, while others may go on.
        heard: told after every epoch its number, and how many seeds go on.

    Returns:
        In the order of the seeds. The models are those of `build`.

    Raises:
        UnsupportedError: no examples, no seed or one twice, models of different forms, or a device without float64.
        NotFiniteError: numbers that are none before anything was learnt.
        RegardError: whatever a model or `judged` raises then; later it is the end of that seed alone.
    """
    _check(train, test, seeds)
    models = {seed: build(seed) for seed in seeds}
    _check_alike(models)
    check_device(next(models[seeds[0]].parameters()).device)
    together = TOGETHER if can_be_stacked(models[seeds[0]]) else 1
    done: dict[int, TrainedSeed] = {}

    def ended(trained: TrainedSeed) -> None:
        done[trained.seed] = trained
        finished(trained)

    for start in range(0, len(seeds), together):
        group = {seed: models[seed] for seed in seeds[start : start + together]}
        _Group(group, train, test, recipe, judged, ended).train(heard)
    return tuple(done[seed] for seed in seeds)


def check_device(device: torch.device) -> None:
    """Refuse a device on which figures cannot be counted.

    Raises:
        UnsupportedError: it has no float64, as Apple's mps.
    """
    if device.type not in ("cpu", "cuda"):
        raise UnsupportedError(
            "figures are counted in float64, which this device does not have", came=str(device), expected="cpu, cuda"
        )


class _Group:
    """Seeds that are trained together, between two epochs.

    What learns is a copy: a seed's own model has the weights with which its figures were last noted.
    """

    def __init__(
        self,
        models: Mapping[int, SelectiveModel],
        train: MosaicsLike,
        test: MosaicsLike,
        recipe: SelectiveRecipe,
        judged: Judged,
        ended: Callable[[TrainedSeed], None],
    ) -> None:
        self.models, self.recipe, self.judged, self.ended = models, recipe, judged, ended
        self.left = [*models]
        own = [*models.values()]
        self.model = stacked(own) if len(own) > 1 else copy.deepcopy(own[0])
        self.optimizer = _optimizer(self.model, recipe)
        self.learnt = {
            name: [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
            for name, parts in _parts(self.model).items()
        }
        self.like = next(self.model.parameters())
        self.banks = {"train": Bank(train, self.like), "test": Bank(test, self.like)}
        self.chance = chance(self.banks["train"].label)
        self.epochs: dict[int, list[Mapping[str, float]]] = {seed: [] for seed in models}
        self.totals = torch.zeros(len(models), dtype=torch.float64, device=self.like.device)

    def train(self, heard: Callable[[int, int], None]) -> None:
        with kept_for_the_caller(self.model):
            self._note(0)
            epoch = 0
            while self.left:
                epoch += 1
                self._learn(epoch)
                self._note(epoch)
                heard(epoch, len(self.left))

    def _learn(self, epoch: int) -> None:
        """An epoch's steps, each of as many examples of every seed's own order."""
        self._begin(epoch)
        draw = {seed: torch.Generator().manual_seed(seed_for(seed, "order", epoch)) for seed in self.left}
        _seed_device(self.like.device, seed_for(self.left[0], "dropout", epoch))
        count = len(self.banks["train"])
        orders = {seed: torch.randperm(count, generator=draw[seed]) for seed in self.left}
        self.totals.zero_()
        for start in range(0, count, self.recipe.batch):
            rows = {seed: order[start : start + self.recipe.batch] for seed, order in orders.items()}
            self._of_all(partial(self._step, rows, draw, epoch), epoch)
        self.totals /= count

    def _begin(self, epoch: int) -> None:
        """Let learn what does so in an epoch's phase."""
        learner = self.recipe.phase(epoch).learns
        for name, parts in _parts(self.model).items():
            learns = learner in (name, "both")
            for part in parts:
                part.train(learns)
            for parameter in self.learnt[name]:
                parameter.requires_grad_(learns)

    def _step(self, indices: Mapping[int, Tensor], draw: Mapping[int, torch.Generator], epoch: int) -> None:
        recipe, paradigm = self.recipe, self.recipe.phase(epoch).paradigm
        rows = torch.cat([indices[seed] for seed in self.left]).to(self.like.device)
        given = self.banks["train"].examples(rows)
        found = self.model(given.segments, given.mask, asked_for(paradigm))
        draws = None
        if paradigm == "sampled":
            each = [torch.rand(len(indices[seed]), recipe.samples, generator=draw[seed]) for seed in self.left]
            draws = torch.cat(each).to(self.like.device)
        losses = objective(self.model, found, given.label, given.position, draws, recipe, epoch)
        of_seeds = losses.unflatten(0, (len(self.left), -1))
        self.optimizer.zero_grad()
        of_seeds.mean(dim=1).sum().backward()
        self.optimizer.step()
        self.totals += of_seeds.detach().sum(dim=1)

    def _note(self, epoch: int) -> None:
        """Figures, and weights, after an epoch; seeds that are done end with them."""
        found = self._of_all(lambda: self._figures(self.model, len(self.left), epoch), epoch)
        ends: dict[int, End] = {}
        for place, (seed, named) in enumerate(zip(self.left, found or (), strict=True)):
            if not math.isfinite(named["train loss"] + named["test loss"]):
                ends[place] = "not finite"
                continue
            if epoch:
                named["objective"] = float(self.totals[place])
            self.epochs[seed].append(named)
            write_back(self.model, place, self.models[seed])
            if epoch and self.recipe.stop is not None and named["train loss"] <= self.recipe.stop:
                ends[place] = "loss"
            elif epoch == self.recipe.epochs:
                ends[place] = "epochs"
        if not epoch and ends:
            raise NotFiniteError("a loss is no number before anything was learnt", came=f"seed {self.left[min(ends)]}")
        self._end(ends)

    def _figures(self, model: SelectiveModel, seeds: int, epoch: int) -> list[dict[str, float]]:
        """Of both sets, for each seed of a model."""
        prediction = self.recipe.predicted(max(epoch, 1))
        each = [
            [{f"{part} {name}": value for name, value in one.items()} for one in found]
            for part, bank in self.banks.items()
            for found in [figures(model, seeds, bank, prediction, self.judged)]
        ]
        return [train | test for train, test in zip(*each, strict=True)]

    def _of_all(self, act: Callable[[], Found], epoch: int) -> Found | None:
        """What comes of all seeds that are left: those that break in it end, and it is done again."""
        while self.left:
            try:
                return act()
            except RegardError as reason:
                broken = [place for place in range(len(self.left)) if self._breaks(place, epoch)]
                if not (epoch and broken):  # what fails from the start, or of none by itself, is no matter of weights
                    raise reason
                self._end(dict.fromkeys(broken, "not finite"))
                self._begin(epoch)
        return None

    def _breaks(self, place: int, epoch: int) -> bool:
        """Whether a seed fails by itself, too, with the weights that it has come to."""
        alone = copy.deepcopy(self.models[self.left[place]])
        write_back(self.model, place, alone)
        try:
            self._figures(alone, 1, epoch)
        except RegardError:
            return True
        return False

    def _end(self, ends: Mapping[int, End]) -> None:
        """Let seeds go; those that are left are moved together."""
        if not ends:
            return
        gone = []
        for place, end in ends.items():
            seed = self.left[place]
            model, curve = self.models[seed].eval(), self.epochs[seed]
            model.prediction = self.recipe.predicted(max(len(curve) - 1, 1))
            last = {name.removeprefix("train "): value for name, value in curve[-1].items()}
            gone.append(TrainedSeed(seed, model, tuple(curve), end, collapsed(last, self.chance)))
        rest = [place for place in range(len(self.left)) if place not in ends]
        if rest:
            keep(self.model, self.optimizer, rest)
        self.totals = self.totals[rest]
        self.left = [self.left[place] for place in rest]
        for trained in gone:
            self.ended(trained)


def _parts(model: SelectiveModel) -> dict[str, list[nn.Module]]:
    """Focus and classifier; weights that learn belong to the focus."""
    weights = [model.weights] if isinstance(model.weights, nn.Module) else []
    return {"focus": [model.focus, *weights], "classifier": [model.classifier]}


def _seed_device(device: torch.device, seed: int) -> None:
    """The random state that dropout draws from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


def _optimizer(model: nn.Module, recipe: SelectiveRecipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.rate, fused=True)
    return torch.optim.SGD(model.parameters(), lr=recipe.rate, momentum=0.9, fused=True)


def _check(train: MosaicsLike, test: MosaicsLike, seeds: Sequence[int]) -> None:
    """Refuse before slow work what would fail after it."""
    for name, mosaics in (("train on", train), ("measure", test)):
        if not len(mosaics.label):
            raise UnsupportedError(f"there is nothing to {name}")
    for seed in seeds:
        check_seed(seed)
    if not seeds or len({*seeds}) < len(seeds):
        raise UnsupportedError("every seed is trained once", came=f"{[*seeds]}"[:200])


def _check_alike(models: Mapping[int, SelectiveModel]) -> None:
    """Refuse models that cannot be the same but for their weights."""
    forms = {seed: form_of(model) for seed, model in models.items()}
    first, form = next(iter(forms.items()))
    other = next((seed for seed, each in forms.items() if each != form), None)
    if other is not None:
        raise UnsupportedError("models of several seeds have the same form", came=f"other ones of {first} and {other}")
    if not [*models[first].parameters()]:
        raise UnsupportedError("a model without weights cannot be trained")
