"""A step's examples, and its gradient against that of the mean loss of all of them at once."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as drawn
from hypothesis import strategies as some
from torch import nn

from regard.errors import MissingDependencyError, NotFiniteError, UnsupportedError
from regard.seeds import seed_for
from regard.training.steps import Settings, Steps, kept_for_the_caller

from .tasks import EXAMPLES, Fit, descent, settings


def steps_of(task, **changed):
    asked = settings(**changed)
    return Steps(task, descent(task, asked)[0], asked)


def gradient_of_the_whole(task, indices, epoch):
    """By autograd on one batch of all examples."""
    losses, _ = task.losses(task.batch(indices, epoch))
    return torch.autograd.grad(losses.mean(), [*task.module.parameters()])


@drawn(max_examples=25)
@given(examples=some.integers(1, 60), batch=some.integers(1, 70), seed=some.integers(-(2**63), 2**63 - 1))
def test_every_epoch_is_all_examples_in_an_order_of_its_own(examples, batch, seed):
    steps = steps_of(Fit(examples=examples), batch=batch, seed=seed)
    orders = []
    for epoch in range(3):
        taken = [steps.examples_of(epoch * steps.an_epoch + place) for place in range(steps.an_epoch)]
        assert {when for _, when in taken} == {epoch}
        assert [len(indices) for indices, _ in taken[:-1]] == [batch] * (len(taken) - 1)
        assert 1 <= len(taken[-1][0]) <= batch
        orders.append([index for indices, _ in taken for index in indices])
        assert sorted(orders[-1]) == list(range(examples))
    if examples > 20:
        assert orders[0] != orders[1] != orders[2] != orders[0]
    assert steps.examples_of(0)[0] == orders[0][:batch]  # whatever was asked between
    assert steps.settings.steps(examples) == 3 * math.ceil(examples / batch)


def test_another_seed_is_another_order():
    assert steps_of(Fit(), seed=1).examples_of(0) != steps_of(Fit(), seed=2).examples_of(0)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("batch", [1, 8, EXAMPLES, 100])
def test_the_gradient_is_that_of_the_mean_over_the_step_however_it_is_cut(accumulate, batch):
    task = Fit(kind=torch.float64)
    steps = steps_of(task, accumulate=accumulate, batch=batch)
    for number in (0, steps.an_epoch - 1, steps.an_epoch):
        expected = gradient_of_the_whole(task, *steps.examples_of(number))
        found = steps.gradients(number)
        for parameter, gradient in zip(task.module.parameters(), expected, strict=True):
            assert float((parameter.grad - gradient).abs().max()) < 1e-14
        losses, components = task.losses(task.batch(*steps.examples_of(number)))
        assert found.loss == pytest.approx(float(losses.detach().mean()), rel=1e-6)
        for name, values in components.items():
            assert found.components[name] == pytest.approx(float(values.detach().mean()), rel=1e-6)
        assert found.gradient == pytest.approx(
            math.sqrt(sum(float(each.square().sum()) for each in expected)), rel=1e-6
        )


def test_a_long_gradient_is_shortened_to_the_clip_and_a_short_one_is_left():
    whole, clipped, left = Fit(), Fit(), Fit()
    length = steps_of(whole).gradients(0).gradient
    assert steps_of(clipped, clip=length / 4).gradients(0).gradient == length
    assert steps_of(left, clip=length * 4).gradients(0).gradient == length
    for full, short, same in zip(*(each.module.parameters() for each in (whole, clipped, left)), strict=True):
        assert torch.allclose(short.grad, full.grad / 4, rtol=1e-4, atol=1e-8)
        assert torch.equal(same.grad, full.grad)


def test_a_parameter_that_no_example_uses_has_the_gradient_zero():
    task = Fit()
    task.module.append(nn.Linear(2, 2))
    task.losses = lambda batch: Fit.losses(type("Part", (), {"module": task.module[:5]}), batch)
    steps = steps_of(task)
    steps.gradients(0)
    assert torch.equal(task.module[5].weight.grad, torch.zeros(2, 2))
    assert float(task.module[0].weight.grad.abs().max()) > 0


def test_draws_in_a_step_hang_on_seed_and_step_alone():
    task = Fit(dropout=0.5)
    steps = steps_of(task)
    first = steps.gradients(0).loss
    torch.manual_seed(99)
    second = steps.gradients(0).loss
    assert first == second
    assert len({first, steps_of(task, seed=8, batch=EXAMPLES).gradients(0).loss, steps.gradients(1).loss}) == 3


def test_seeds_of_different_draws_differ_and_those_of_one_do_not():
    whats = [(), ("crop",), ("crop", 0), ("crop", 1), ("flip", 0), ("crop", 0, 1), ("crop", 1, 0), ("crop", 10)]
    seeds = [seed_for(seed, *what) for seed in (0, 1, -1) for what in whats]
    assert len({*seeds}) == len(seeds)
    assert seeds[:8] == [seed_for(0, *what) for what in whats]
    assert all(0 <= seed < 2**63 for seed in seeds)


class Broken(Fit):
    """What a loss may come to, from the second step on."""

    def __init__(self, fault):
        super().__init__()
        self.fault, self.seen = fault, 0

    def losses(self, batch):
        losses, components = super().losses(batch)
        self.seen += len(losses)
        return (losses, components) if self.seen <= 8 else self.fault(losses, components)


def at(values, number):
    return torch.where(torch.arange(len(values)) == 1, number, values)


FAULTS = {
    "size": lambda losses, components: (losses, {**components, "size": at(components["size"], math.nan)}),
    "loss": lambda losses, components: (at(losses, math.inf), components),
    "error": lambda losses, components: (losses * math.nan, {**components, "error": -components["error"] / 0}),
    "gradient": lambda losses, components: (losses + (losses * 0).sqrt(), components),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_is_not_finite_is_named_with_its_step(name, accumulate):
    steps = steps_of(Broken(FAULTS[name]), accumulate=accumulate)
    steps.gradients(0)
    with pytest.raises(NotFiniteError, match=f"{name} is not finite in step 2"):
        steps.gradients(1)


WRONG_LOSSES = {
    "one value for all": lambda losses, components: (losses.mean(), components),
    "a column": lambda losses, components: (losses[:, None], components),
    "a component of one value": lambda losses, components: (losses, {**components, "size": losses[0]}),
    "a component missing": lambda losses, components: (losses, {"size": losses}),
    "a component more": lambda losses, components: (losses, {**components, "more": losses}),
    "no graph": lambda losses, components: (losses.detach(), components),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_losses_that_are_not_one_an_example_are_refused(name):
    steps = steps_of(Broken(WRONG_LOSSES[name]))
    steps.gradients(0)
    with pytest.raises(UnsupportedError):
        steps.gradients(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch": 0},
        {"batch": True},
        {"accumulate": -1},
        {"checkpoint_every": 0},
        {"seed": 2**63},
        {"seed": 0.5},
        {"precision": "float16"},
        {"clip": 0.0},
        {"clip": math.nan},
        {"clip": math.inf},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(UnsupportedError):
        Settings(**{"epochs": 1, "batch": 8, **wrong})


def refused(task, parameters):
    with pytest.raises(UnsupportedError) as reason:
        Steps(task, torch.optim.SGD(parameters, lr=0.1), settings())
    return str(reason.value)


def test_an_optimizer_of_other_parameters_is_refused():
    task = Fit()
    own = [*task.module.parameters()]
    assert "without '0.weight'" in refused(task, own[1:])
    assert "5 parameters" in refused(task, [*own, nn.Parameter(torch.zeros(1))])
    assert "other parameters" in refused(task, [*Fit().module.parameters()])
    own[0].requires_grad_(False)
    assert "requires_grad_(False)" in refused(task, own)
    Steps(task, torch.optim.SGD(own[1:], lr=0.1), settings())


def test_a_task_that_cannot_be_trained_is_refused():
    assert "nothing to train on" in refused(Fit(examples=0), [*Fit().module.parameters()])
    half = Fit(kind=torch.bfloat16)
    assert "'0.weight' in torch.bfloat16" in refused(half, half.module.parameters())
    named = Fit()
    named.components = ("loss", "size")
    assert "another name" in refused(named, named.module.parameters())


def test_without_accelerate_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"regard\[train\]"):
        steps_of(Fit())


def disturb(module):
    with kept_for_the_caller(module):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        torch.manual_seed(6)
        module.eval()[1].train()
        raise KeyError


def test_the_caller_finds_its_surroundings_as_they_were():
    module = Fit(norm=True).module
    module[1].eval()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(KeyError):
            disturb(module)
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(torch.rand(1), expected)
    assert [part.training for part in module] == [True, False, True, True, True]
