"""Seeds whose numbers are no longer finite end alone, with what they were when they were."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from regard.errors import MetricError, NotFiniteError
from regard.exams.sdc.outcomes import outcome_columns
from regard.training.selective import fit as fitting
from regard.training.selective.examples import mosaics_of
from regard.training.selective.stacked import can_be_stacked

from .selective_models import build, points, recipe, train, weights_of


class Fuse(nn.Module):
    """NaN once its scale has moved by more than a limit."""

    def __init__(self, limit):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.limit = nn.Parameter(torch.full((1,), limit, dtype=torch.float64), requires_grad=False)

    def forward(self, rows):
        return rows * self.scale.where((self.scale - 1).abs() <= self.limit, math.nan)


class Overflow(nn.Module):
    """−∞ for every segment once its scale has moved: rows without a segment, which is another error than NaN."""

    def __init__(self, limit):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.limit = nn.Parameter(torch.full((1,), limit, dtype=torch.float64), requires_grad=False)

    def forward(self, rows):
        return rows * self.scale - torch.zeros_like(rows).where((self.scale - 1).abs() <= self.limit, math.inf)


def judged(weights, logits, label, position, mask):
    """As the outcomes of an exam do, it refuses logits that are none."""
    return outcome_columns(weights, logits, label, position, mask)


@pytest.mark.parametrize("told", [None, judged], ids=["plain", "judged"])
@pytest.mark.parametrize("steps", [1.5, 4.5])  # within an epoch of three steps, and after it
@pytest.mark.parametrize(("part", "fault"), [("focus", Fuse), ("classifier", Fuse), ("focus", Overflow)])
def test_however_a_seed_breaks_it_ends_with_the_weights_of_its_last_figures(part, fault, steps, told):
    def made(seed):
        model = build()(seed)
        getattr(model, part).append(fault(steps * 1e-2 if seed == 0 else 1e9))
        return model

    settings = {} if told is None else {"judged": told}
    found = {each.seed: each for each in train(made=made, **settings)}
    assert {seed: each.end for seed, each in found.items()} == {0: "not finite", 3: "epochs", 7: "epochs"}
    assert len(found[0].epochs) == 1 + (steps > 3)
    agrees_with_its_last_figures(found[0], points(20, seed=9))


def agrees_with_its_last_figures(trained, test):
    with torch.no_grad():
        said = trained.model(test.items.values[test.index].double())
    assert trained.epochs[-1]["test loss"] == pytest.approx(float(functional.cross_entropy(said.logits, test.label)))
    assert all(math.isfinite(value) for figures in trained.epochs for value in figures.values())


def calm(part):
    """Mosaics and models of which every seed but 0 has no gradient in one part, and stays whatever the rate."""

    def made(seed):
        model = build()(seed)
        with torch.no_grad():
            if seed and part == "focus":
                model.focus[0][0].weight.fill_(-1)  # all coordinates are above 0: no unit of its ReLU is
            elif seed:
                first, last = (stage[0].weight.zero_() for stage in model.classifier)
                first[:2, 0] = torch.tensor([1000.0, -1000.0])  # sure of the side, and right
                last[0, 0] = last[1, 1] = 1
        return model

    label = torch.arange(60) % 2
    sides = (1.0 - 2 * label)[:, None, None].expand(-1, 4, 2)
    return points() if part == "focus" else mosaics_of(sides, label, torch.zeros(60).long()), made


@pytest.mark.parametrize("told", [None, judged], ids=["plain", "judged"])
@pytest.mark.parametrize("batch", [25, 60])  # breaks in a step, and in what is noted after it
@pytest.mark.parametrize("part", ["focus", "classifier"])
def test_a_seed_that_breaks_in_a_stack_ends_alone(part, batch, told):
    data, made = calm(part)
    assert can_be_stacked(made(0))
    settings = {"recipe": recipe(3, learns=part, optimizer="sgd", rate=1e200, batch=batch)}
    settings |= {} if told is None else {"judged": told}
    found = {each.seed: each for each in train([3, 0, 7], made, data, data, **settings)}
    assert {seed: each.end for seed, each in found.items()} == {3: "epochs", 0: "not finite", 7: "epochs"}
    assert [len(found[seed].epochs) for seed in (3, 0, 7)] == [4, 1, 4]
    for seed, trained in found.items():
        agrees_with_its_last_figures(trained, data)
        assert all(torch.equal(value, made(seed).state_dict()[name]) for name, value in weights_of(trained).items())
    (alone,) = train([0], made, data, data, **settings)
    assert (alone.end, len(alone.epochs)) == ("not finite", 1)


@pytest.mark.parametrize("settings", [{"optimizer": "sgd", "rate": 1e38}, {"rate": 1e20}], ids=["sgd", "adam"])
@pytest.mark.parametrize("learns", ["both", "focus", "classifier"])
def test_a_rate_beyond_all_numbers_ends_seeds_and_not_the_training(learns, settings):
    asked = recipe(3, learns=learns, **settings)
    for trained in train(made=build(dtype=torch.float32), recipe=asked, judged=judged):
        assert all(math.isfinite(value) for figures in trained.epochs for value in figures.values())
        assert all(bool(value.isfinite().all()) for value in trained.model.state_dict().values())
        if trained.end == "not finite":
            assert len(trained.epochs) < 4


def test_where_one_seed_breaks_the_frozen_module_stays_in_eval_mode(monkeypatch):
    modes, step = [], fitting._Group._step

    def watched(self, *given):
        modes.append((len(self.left), self.model.focus.training, self.model.classifier.training))
        step(self, *given)

    monkeypatch.setattr(fitting._Group, "_step", watched)
    data, made = calm("focus")
    train([3, 0, 7], made, data, recipe=recipe(1, learns="focus", optimizer="sgd", rate=1e200))
    assert modes == [(3, True, False), (3, True, False), (2, True, False), (2, True, False)]


@pytest.mark.parametrize("told", [lambda *_: {}, judged], ids=["plain", "judged"])
@pytest.mark.parametrize("seeds", [(3, 0, 7), (0,)], ids=str)
def test_numbers_that_are_none_from_the_start_are_an_error(seeds, told):
    data = points()
    data.items.values[3] = math.nan
    with pytest.raises(NotFiniteError):
        train(seeds, data=data, judged=told)

    def made(seed):
        model = build()(seed)
        model.classifier.append(Fuse(-1.0 if seed == 0 else 1e9))
        return model

    with pytest.raises(NotFiniteError):
        train(seeds, made, judged=told)


def test_what_fails_for_no_seed_by_itself_is_an_error():
    calls = []

    def fails(weights, logits, label, position, mask):
        calls.append(1)
        if len(calls) > 2 and len(label) > 60:  # after epoch 0, of all seeds together
            raise MetricError("too many")
        return {}

    with pytest.raises(MetricError, match="too many"):
        train(judged=fails)
