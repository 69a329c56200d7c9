"""Selective models of several seeds together: the curves of plain single runs, each with its own order and end."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from regard.attention.selective import SelectiveModel
from regard.attention.selective_losses import hard_loss, segment_losses
from regard.attention.selective_weights import weights_called
from regard.errors import UnsupportedError
from regard.training.selective import figures as figuring
from regard.training.selective import fit as fitting
from regard.training.selective.examples import Bank, mosaics_of
from regard.training.selective.figures import chance, collapsed, figures
from regard.training.selective.recipe import SelectiveRecipe, stage_wise
from regard.training.selective.stacked import can_be_stacked

from .selective_models import FOREGROUND, build, plain_training, points, recipe, train, weights_of


def soft(model, segments, label):
    return functional.cross_entropy(model(segments).logits, label, reduction="none")


def hard(model, segments, label):
    found = model(segments, prediction="mixture")
    return hard_loss(found.weights, segment_losses(found.segment_logits, label))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("paradigm", "loss"), [("soft", soft), ("hard", hard)])
def test_curves_of_seeds_together_are_those_of_plain_single_runs(paradigm, loss, optimizer):
    asked = recipe(5, paradigm, optimizer=optimizer, prediction="aggregate")
    for trained in train(recipe=asked):
        model = build()(trained.seed)
        plain = {
            "adam": torch.optim.Adam(model.parameters(), lr=1e-2),
            "sgd": torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9),
        }[optimizer]
        expected = plain_training(model, points(), trained.seed, 5, 25, loss, plain)
        assert [figures["train loss"] for figures in trained.epochs] == pytest.approx(expected, abs=1e-9)
        for name, value in model.state_dict().items():
            assert torch.allclose(trained.model.state_dict()[name], value, atol=1e-9)
        assert expected[-1] < expected[0]


@pytest.mark.parametrize("paradigm", ["soft", "hard", "sampled", "marginal", "posterior", "supervised"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_seed_s_curve_does_not_depend_on_the_others(paradigm, layer):
    asked = recipe(3, paradigm, entropy=0.01, warm_up=2)
    made, ragged = build(layer=layer), points(ragged=True)
    for trained in train(made=made, data=ragged, recipe=asked):
        (alone,) = train([trained.seed], made, ragged, recipe=asked)
        assert [*trained.epochs[0]] == [*alone.epochs[0]]
        for here, there in zip(trained.epochs, alone.epochs, strict=True):
            assert here == pytest.approx(there, abs=1e-9)


@pytest.mark.parametrize("weights", ["sparsemax", "learnt-entmax", "gumbel"])
def test_weights_that_learn_or_draw_have_the_same_curves_too(weights):
    def made(seed):
        return build(weights=weights_called(weights, seed=seed))(seed)

    for trained in train(made=made):
        (alone,) = train([trained.seed], made)
        assert trained.epochs[-1] == pytest.approx(alone.epochs[-1], abs=1e-9)
        assert trained.epochs[-1]["train loss"] < trained.epochs[0]["train loss"]


class Own(nn.Module):
    """A module of which nobody knows what it does."""

    def __init__(self, seed):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.place = nn.Parameter(torch.randn(3, 2, generator=draw, dtype=torch.float64))
        self.lower = nn.Linear(3, 1, bias=False).double()
        nn.init.normal_(self.lower.weight, generator=draw)

    def forward(self, rows):
        return self.lower((rows[:, None] - self.place).square().sum(dim=2).neg().exp())[:, 0]


def test_one_s_own_modules_are_trained_as_they_are():
    def made(seed):
        return SelectiveModel(Own(seed), build()(seed).classifier)

    for trained in train(made=made):
        model = made(trained.seed)
        expected = plain_training(
            model, points(), trained.seed, 4, 25, soft, torch.optim.Adam(model.parameters(), lr=1e-2)
        )
        assert [figures["train loss"] for figures in trained.epochs] == pytest.approx(expected, abs=1e-9)


def dropped(seed):
    model = build(dtype=torch.float32)(seed)
    model.classifier.insert(1, nn.Dropout(0.2))
    return model


def normed(seed):
    model = build(dtype=torch.float32)(seed)
    model.focus[0].insert(1, nn.BatchNorm1d(8))
    return model


@pytest.mark.parametrize("made", [dropped, normed])
def test_what_cannot_be_stacked_goes_one_after_another_and_is_as_repeatable(made):
    assert not can_be_stacked(made(0))
    state = torch.get_rng_state()
    first = train(made=made)
    assert torch.equal(state, torch.get_rng_state())
    for trained in first:
        torch.rand(3)
        (alone,) = train([trained.seed], made)
        assert trained.epochs == alone.epochs


def test_small_and_large_groups_come_to_the_same(monkeypatch):
    large = train(list(range(5)))
    monkeypatch.setattr(fitting, "TOGETHER", 2)
    for here, there in zip(train(list(range(5))), large, strict=True):
        assert here.seed == there.seed
        assert here.epochs[-1] == pytest.approx(there.epochs[-1], abs=1e-9)


# --- every seed its own end ------------------------------------------------------------------------------------------


def test_a_seed_that_is_done_moves_no_more_while_others_go_on():
    losses = [trained.epochs[5]["train loss"] for trained in train(recipe=recipe(10))]
    stop = sorted(losses)[0] * 1.0001
    at_end = {}

    def told(trained):
        at_end[trained.seed] = weights_of(trained)

    counts = []
    found = train(recipe=recipe(10, stop=stop), finished=told, heard=lambda _, left: counts.append(left))
    ends = {trained.seed: len(trained.epochs) - 1 for trained in found}
    assert len({*ends.values()}) > 1
    for trained in found:
        last = len(trained.epochs) - 1
        over = [figures["train loss"] <= stop for figures in trained.epochs]
        assert over[:-1] == [False] * last
        assert trained.end == ("loss" if over[-1] else "epochs")
        assert all(torch.equal(value, at_end[trained.seed][name]) for name, value in weights_of(trained).items())
        (alone,) = train([trained.seed], recipe=recipe(10, stop=stop))
        assert len(alone.epochs) == len(trained.epochs)
        assert alone.epochs[-1] == pytest.approx(trained.epochs[-1], abs=1e-9)
    assert counts == [sum(end > epoch for end in ends.values()) for epoch in range(1, max(ends.values()) + 1)]


# --- phases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("learns", "still"), [("focus", "classifier"), ("classifier", "focus")])
def test_a_module_that_does_not_learn_stays_as_it_is(learns, still):
    for trained in train(recipe=recipe(learns=learns)):
        before, after = build()(trained.seed), trained.model
        same = {
            part: all(map(torch.equal, getattr(before, part).parameters(), getattr(after, part).parameters()))
            for part in ("focus", "classifier")
        }
        assert same == {learns: False, still: True}
        assert all(parameter.requires_grad for parameter in after.parameters())


def test_a_frozen_module_keeps_the_statistics_of_its_norms():
    (trained,) = train([0], normed, recipe=recipe(learns="classifier"))
    assert torch.equal(trained.model.focus[0][1].running_mean, torch.zeros(8))


def test_what_was_frozen_before_stays_frozen():
    def made(seed):
        model = build()(seed)
        model.focus[0].requires_grad_(False)
        return model

    for trained in train(made=made):
        assert torch.equal(trained.model.focus[0][0].weight, made(trained.seed).focus[0][0].weight)
        assert not torch.equal(trained.model.focus[1][0].weight, made(trained.seed).focus[1][0].weight)
        assert [parameter.requires_grad for parameter in trained.model.focus.parameters()] == [False, True]


def test_phases_follow_each_other():
    data = points()
    (staged,) = train([0], data=data, recipe=SelectiveRecipe(stage_wise(2, 2), batch=25, rate=1e-2, stop=None))
    model = build()(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def loss(model, segments, label):
        focus_learns = len(seen) >= 2 * 3
        seen.append(1)
        model.focus.requires_grad_(focus_learns)
        model.classifier.requires_grad_(not focus_learns)
        return soft(model, segments, label)

    seen = []
    expected = plain_training(model, data, 0, 4, 25, loss, optimizer)
    assert [figures["train loss"] for figures in staged.epochs] == pytest.approx(expected, abs=1e-9)


class Elsewhere(nn.Module):
    """Scores a random one of the background segments above all others; its digits say which, the same every time."""

    def forward(self, rows):
        background = torch.cdist(rows, FOREGROUND.to(rows)).amin(dim=1) > 0.7
        lot = (100 * rows.sum(dim=1)).frac().abs()
        return background * (1e3 + 1e6 * lot)


def test_a_fixed_wrong_focus_leaves_the_classifier_at_the_majority():
    """Check 22: what it sees knows nothing of the label, so it is right as often as always the same answer."""

    def made(seed):
        return SelectiveModel(Elsewhere(), build(dtype=torch.float32)(seed).classifier)

    def judged(weights, logits, label, position, mask):
        return {"foreground": weights.gather(1, position[:, None])[:, 0]}

    test = points(3000, seed=1)
    majority = chance(test.label)
    error = 4 * math.sqrt(majority * (1 - majority) / 3000)
    for trained in train([0, 1], made, points(600), test, recipe=recipe(15), judged=judged):
        assert trained.epochs[-1]["test foreground"] < 1e-6
        assert trained.epochs[-1]["test accuracy"] == pytest.approx(majority, abs=error)


def test_a_focus_that_is_told_finds_the_foreground():
    def judged(weights, logits, label, position, mask):
        return {"focus": weights.argmax(dim=1) == position}

    found = train(
        recipe=recipe(25, "supervised", rate=3e-2), made=build(focus="mlp-24-24"), data=points(200), judged=judged
    )
    told = [trained.epochs[-1]["train focus"] for trained in found]
    begun = [trained.epochs[0]["train focus"] for trained in found]
    assert min(told) > 0.75 > 0.5 > max(begun)


def test_large_entropy_collapses_and_the_detector_says_so():
    """Check 27; without it the same seeds are not said to have collapsed."""
    told, plain = (
        train(list(range(4)), made=build(focus="mlp-24-24"), recipe=recipe(40, entropy=share, rate=3e-2))
        for share in (0.9, 0.0)
    )
    fired = [trained for trained in told if trained.collapsed]
    assert fired
    assert not any(trained.collapsed for trained in plain)
    data = points()
    segments = data.items.values[data.index].double()
    for trained in fired:
        with torch.no_grad():
            found = trained.model(segments)
        assert float(found.weights.amax(dim=1).mean()) > 0.98
        assert float((found.logits.argmax(dim=1) == data.label).double().mean()) < 0.6


@pytest.mark.parametrize(("support", "accuracy", "says"), [(1.0, 0.34, True), (1.0, 0.67, False), (4.0, 0.34, False)])
def test_collapse_is_sharp_weights_near_chance(support, accuracy, says):
    assert collapsed({"support": support, "accuracy": accuracy}, 1 / 3) is says


# --- figures and runs ------------------------------------------------------------------------------------------------


def test_figures_are_of_both_sets_from_before_the_first_step():
    seen = []

    def judged(weights, logits, label, position, mask):
        seen.append(len(label))
        return {"right": (weights.argmax(dim=1) == position) & (logits.argmax(dim=1) == label)}

    (trained,) = train([0], judged=judged)
    assert len(trained.epochs) == 5
    assert seen[:2] == [60, 20]
    model, data = build()(0).eval(), points(20, seed=9)
    with torch.no_grad():
        found = model(data.items.values[data.index].double())
    right = (found.weights.argmax(dim=1) == data.position) & (found.logits.argmax(dim=1) == data.label)
    assert trained.epochs[0]["test right"] == pytest.approx(float(right.double().mean()))
    assert trained.epochs[0]["test support"] == pytest.approx(float((found.weights > 0.01).sum(dim=1).double().mean()))
    assert "objective" not in trained.epochs[0]
    assert not trained.model.training


@pytest.mark.parametrize("reused", [False, True], ids=["segments", "items"])
@pytest.mark.parametrize("prediction", ["aggregate", "mixture"])
def test_no_forward_reads_more_than_so_many_bytes_and_figures_do_not_tell(reused, prediction, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    segments = torch.randn(60, 4, 3, 8, 8, generator=draw)
    data = mosaics_of(segments, torch.randint(3, (60,), generator=draw), torch.zeros(60).long())
    if reused:  # fewer items than segments: the focus reads each once
        data = replace(data, index=data.index % 50)
    model = SelectiveModel(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    )
    bank = Bank(data, next(model.parameters()))
    whole = figures(model, 1, bank, prediction, lambda *_: {})
    most, sizes = 20 * 192 * 4, []
    monkeypatch.setattr(figuring, "BYTES", most)
    for part in (model.focus, model.classifier):
        part.register_forward_pre_hook(lambda _, given: sizes.append(given[0].nbytes))
    (found,) = figures(model, 1, bank, prediction, lambda *_: {})
    assert found == pytest.approx(whole[0], rel=1e-6)
    assert max(sizes) == most


@pytest.mark.parametrize(
    ("shape", "most"), [((3, 32, 32), 2**24 // (3072 * 4)), ((2,), 16384)], ids=["pictures", "points"]
)
def test_a_forward_of_pictures_is_bounded_by_bytes_and_one_of_points_by_their_number(shape, most):
    size, counts, none = math.prod(shape), [], torch.zeros(20_000).long()
    data = mosaics_of(torch.zeros(1, 1, *shape), none[:1], none[:1])
    data = replace(data, index=data.index.expand(20_000, 9), label=none, position=none)
    parts = [nn.Sequential(nn.Flatten(), nn.Linear(size, out)) for out in (1, 3)]
    parts[1].register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))
    figures(SelectiveModel(*parts), 1, Bank(data, parts[0][1].weight), "mixture", lambda *_: {})
    assert max(counts) == most // 9 * 9


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: train([]), "once"),
        (lambda: train([1, 1]), "once"),
        (lambda: train(data=points(0)), "nothing to train on"),
        (lambda: train(test=points(0)), "nothing to measure"),
        (lambda: train(made=lambda seed: build(focus="mlp-8" if seed else "mlp-6")(seed)), "same form"),
        (lambda: train(made=lambda _: SelectiveModel(nn.Flatten(0), nn.Identity())), "without weights"),
        (lambda: train(made=lambda seed: build()(seed).to("meta")), "counted in float64"),
    ],
)
def test_what_cannot_be_trained_is_refused(call, said):
    with pytest.raises(UnsupportedError, match=said):
        call()
