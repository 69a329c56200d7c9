"""Groups of the optimizers and OneCycle (papers/tame.md, checks 22-25)."""

import pytest
import torch

from regard.training.rate_test import rate_test
from regard.training.schedules import one_cycle
from regard.training.tame.descent import SCALAR_RATE, optimizer_of
from regard.training.tame.presets import RECIPES

from .mask_trainings import photos_of, recipe_of, task_of


def by_name(task, optimizer):
    """Name of each parameter → (rate, weight decay); every one stands in one group."""
    names = {id(parameter): name for name, parameter in task.module.named_parameters()}
    found = [
        (names.pop(id(parameter)), (group["lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert not names
    return dict(found)


@pytest.mark.parametrize(("name", "factor"), [("paper", 1.0), ("paper-v1", 2.0)])
def test_as_published_weights_decay_those_of_norms_too_and_biases_do_not(name, factor):
    task = task_of(recipe_of(), photos_of(4))
    optimizer = optimizer_of(task.module, RECIPES[name])
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["nesterov"]
    for parameter, (rate, decay) in by_name(task, optimizer).items():
        biased = parameter.endswith("bias")
        assert (rate, decay) == ((factor * 1e-3, 0.0) if biased else (1e-3, 5e-4)), parameter


def test_of_adamw_norms_do_not_decay_either():
    task = task_of(recipe_of(optimizer="adamw", rate=1e-4, weight_decay=0.1, area_target=0.3), photos_of(4))
    optimizer = optimizer_of(task.module, task.recipe)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = by_name(task, optimizer)
    decaying = {name for name, (_, decay) in found.items() if decay}
    assert decaying == {f"attention.branches.{i}.convolution.weight" for i in (0, 1)} | {"attention.fuser.weight"}
    assert found["multiplier"] == (SCALAR_RATE, 0.0)
    assert {rate for name, (rate, _) in found.items() if name != "multiplier"} == {1e-4}


def test_the_one_bias_of_tied_rows_has_the_rate_of_single_numbers():
    task = task_of(recipe_of(variant="tied", optimizer="adamw", rate=1e-4), photos_of(4))
    found = by_name(task, optimizer_of(task.module, task.recipe))
    assert found["attention.bias"] == (SCALAR_RATE, 0.0)
    assert {rate for name, (rate, _) in found.items() if name != "attention.bias"} == {1e-4}


def cycle(steps, name="paper"):
    task = task_of(recipe_of(), photos_of(4))
    optimizer = optimizer_of(task.module, RECIPES[name])
    return optimizer, one_cycle(optimizer, steps)


def test_one_cycle_is_the_one_that_the_released_weights_were_trained_under():
    """After 640,584 of 8 · 160,146 steps at 1e-3, as printed in the authors' notebook (section 2.4)."""
    optimizer, schedule = cycle(8 * 160_146, "paper-v1")
    optimizer.step()
    schedule.last_epoch = 640_583
    schedule.step()
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    assert rates == pytest.approx([8.117442845577888e-4, 2 * 8.117442845577888e-4], rel=1e-12)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.8688256468468085, rel=1e-12)


def test_one_cycle_begins_at_a_25th_is_highest_at_30_percent_and_ends_at_a_250000th():
    optimizer, schedule = cycle(100)
    rates, momenta = [], []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert rates.index(max(rates)) == 29
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-3 / 25 / 1e4)
    assert (momenta[0], momenta[29], momenta[-1]) == (pytest.approx(0.95), pytest.approx(0.85), pytest.approx(0.95))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cycle_of_few_steps_does_not_raise(steps):
    optimizer, schedule = cycle(steps)
    for _ in range(steps):
        optimizer.step()
        schedule.step()


def test_a_rate_test_goes_from_end_to_end_and_leaves_the_attention_as_it_was():
    from regard.training.steps import Settings

    task = task_of(recipe_of(optimizer="sgd", bias_rate=2.0), photos_of(6))
    optimizer, before = (
        optimizer_of(task.module, task.recipe),
        {n: v.clone() for n, v in task.module.state_dict().items()},
    )
    drawn = torch.get_rng_state()
    found = rate_test(task, optimizer, Settings(1, 4), least=1e-6, greatest=1e-2, steps=12)
    assert (found.rates[0], found.rates[-1]) == (1e-6, 1e-2)
    ratios = [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert ratios == pytest.approx([1e4 ** (1 / 11)] * 11)
    assert all(value.equal(before[name]) for name, value in task.module.state_dict().items())
    assert torch.get_rng_state().equal(drawn)
