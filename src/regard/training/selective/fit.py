"""Selective models of several seeds: trained together where they can be, each with the curve that it has alone.

`regard.training.loop` does not serve here: it has one optimizer step, one order of examples, one end and one wait for
the device a step for all that it trains. Here every seed has its own order and its own end, a step costs as little as a
model of 3,000 parameters, and what is kept is a seed that is done: trainings are short, so one that was stopped begins
again (`regard.training.selective.kept_seeds`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from regard.attention.selective import SelectiveModel
from regard.errors import NotFiniteError, UnsupportedError
from regard.seeds import check_seed, seed_for
from regard.training.selective.examples import Bank, Mosaics
from regard.training.selective.figures import Judged, chance, collapsed, figures
from regard.training.selective.objective import asked_for, objective
from regard.training.selective.recipe import SelectiveRecipe
from regard.training.selective.stacked import can_be_stacked, keep, stacked, write_back
from regard.training.steps import kept_for_the_caller

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
        end: why no further epoch: its loss was small enough, there was none, or its numbers were no longer finite (then
            the last figures and the model are those before).
        collapsed: see `regard.training.selective.figures.collapsed`, at the end.
    """

    seed: int
    model: SelectiveModel
    epochs: tuple[Mapping[str, float], ...]
    end: End
    collapsed: bool


def fit_selective(
    build: Callable[[int], SelectiveModel],
    train: Mosaics,
    test: Mosaics,
    seeds: Sequence[int],
    recipe: SelectiveRecipe,
    *,
    judged: Judged = lambda *_: {},
    finished: Callable[[TrainedSeed], None] = lambda _: None,
    heard: Callable[[int, int], None] = lambda *_: None,
) -> tuple[TrainedSeed, ...]:
    """Train one model for each seed.

    A seed's numbers do not depend on the others, but for rounding: in float64 curves are equal to 1e-6 as long as the
    training itself does not enlarge differences of 1e-16. Models that draw, or hold a batch norm or a convolution, are
    trained one by one.

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
        In the order of the seeds.

    Raises:
        UnsupportedError: no examples, no seed or one twice, or models of different forms.
    """
    _check(train, test, seeds)
    models = {seed: build(seed) for seed in seeds}
    _check_alike(models)
    together = TOGETHER if can_be_stacked(models[seeds[0]]) else 1
    done: dict[int, TrainedSeed] = {}

    def ended(trained: TrainedSeed) -> None:
        done[trained.seed] = trained
        finished(trained)

    for start in range(0, len(seeds), together):
        group = {seed: models[seed] for seed in seeds[start : start + together]}
        _Group(group, train, test, recipe, judged, ended).train(heard)
    return tuple(done[seed] for seed in seeds)


class _Group:
    """Seeds that are trained together, between two epochs."""

    def __init__(
        self,
        models: Mapping[int, SelectiveModel],
        train: Mosaics,
        test: Mosaics,
        recipe: SelectiveRecipe,
        judged: Judged,
        ended: Callable[[TrainedSeed], None],
    ) -> None:
        self.models, self.recipe, self.judged, self.ended = models, recipe, judged, ended
        self.left = [*models]
        self.model = stacked([*models.values()]) if len(models) > 1 else models[self.left[0]]
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
        for parameter in itertools.chain(*self.learnt.values()):
            parameter.requires_grad_(True)
        for model in self.models.values():
            model.eval()

    def _learn(self, epoch: int) -> None:
        """An epoch's steps, each of as many examples of every seed's own order."""
        phase = self.recipe.phase(epoch)
        for name, parts in _parts(self.model).items():
            learns = phase.learns in (name, "both")
            for part in parts:
                part.train(learns)
            for parameter in self.learnt[name]:
                parameter.requires_grad_(learns)
        draw = {seed: torch.Generator().manual_seed(seed_for(seed, "order", epoch)) for seed in self.left}
        torch.default_generator.manual_seed(seed_for(self.left[0], "dropout", epoch))
        count = len(self.banks["train"])
        orders = {seed: torch.randperm(count, generator=draw[seed]) for seed in self.left}
        self.totals.zero_()
        for start in range(0, count, self.recipe.batch):
            while self.left:
                try:
                    self._step(
                        {seed: orders[seed][start : start + self.recipe.batch] for seed in self.left}, draw, epoch
                    )
                    break
                except NotFiniteError as reason:
                    self._drop_broken(epoch, reason)
        self.totals /= count

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
        """Figures after an epoch; seeds that are done end with them."""
        prediction = self.recipe.predicted(max(epoch, 1))
        while self.left:
            try:
                found = {
                    name: figures(self.model, len(self.left), bank, prediction, self.judged)
                    for name, bank in self.banks.items()
                }
                break
            except NotFiniteError as reason:
                self._drop_broken(epoch, reason)
        ends: dict[int, End] = {}
        for place, (seed, objective_mean) in enumerate(zip(self.left, self.totals.tolist(), strict=True)):
            named = {f"{part} {name}": value for part in found for name, value in found[part][place].items()}
            if epoch:
                named["objective"] = objective_mean
            loss = named["train loss"]
            if not math.isfinite(loss):
                ends[place] = "not finite"
                continue
            self.epochs[seed].append(named)
            if epoch and self.recipe.stop is not None and loss <= self.recipe.stop:
                ends[place] = "loss"
            elif epoch == self.recipe.epochs:
                ends[place] = "epochs"
        self._end(ends, epoch)

    def _drop_broken(self, epoch: int, reason: NotFiniteError) -> None:
        """End the seeds whose own model fails; where none does, it is the examples."""
        ends: dict[int, End] = {}
        prediction = self.recipe.predicted(max(epoch, 1))
        for place, seed in enumerate(self.left):
            self._write_back(place)
            try:
                for bank in self.banks.values():
                    figures(self.models[seed], 1, bank, prediction, lambda *_: {})
            except NotFiniteError:
                ends[place] = "not finite"
        if not ends or not epoch:
            raise reason
        self._end(ends, epoch)
        self.model.train()

    def _end(self, ends: Mapping[int, End], epoch: int) -> None:
        """Let seeds go; those that are left are moved together."""
        if not ends:
            return
        gone = []
        for place, end in ends.items():
            seed = self.left[place]
            self._write_back(place)
            model = self.models[seed]
            model.prediction = self.recipe.predicted(max(epoch, 1))
            last = {name.removeprefix("train "): value for name, value in self.epochs[seed][-1].items()}
            gone.append(TrainedSeed(seed, model, tuple(self.epochs[seed]), end, collapsed(last, self.chance)))
        rest = [place for place in range(len(self.left)) if place not in ends]
        if rest:
            keep(self.model, self.optimizer, rest)
        self.totals = self.totals[rest]
        self.left = [self.left[place] for place in rest]
        for trained in gone:
            self.ended(trained)

    def _write_back(self, place: int) -> None:
        own = self.models[self.left[place]]
        if own is not self.model:
            write_back(self.model, place, own)


def _parts(model: SelectiveModel) -> dict[str, list[nn.Module]]:
    """Focus and classifier; weights that learn belong to the focus."""
    weights = [model.weights] if isinstance(model.weights, nn.Module) else []
    return {"focus": [model.focus, *weights], "classifier": [model.classifier]}


def _optimizer(model: nn.Module, recipe: SelectiveRecipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.rate, fused=True)
    return torch.optim.SGD(model.parameters(), lr=recipe.rate, momentum=0.9, fused=True)


def _check(train: Mosaics, test: Mosaics, seeds: Sequence[int]) -> None:
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
    forms = {
        seed: (repr(model), [(name, value.shape, value.dtype) for name, value in model.state_dict().items()])
        for seed, model in models.items()
    }
    first, form = next(iter(forms.items()))
    other = next((seed for seed, each in forms.items() if each != form), None)
    if other is not None:
        raise UnsupportedError("models of several seeds have the same form", came=f"other ones of {first} and {other}")
    if not form[1]:
        raise UnsupportedError("a model without weights cannot be trained")
