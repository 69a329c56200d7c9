"""The sweep against a slow replica and hand-worked quadratics; what it leaves behind: nothing."""

import copy
import itertools
import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from regard.errors import NotFiniteError, UnsupportedError
from regard.training.rate_test import RateTest, rate_test

from .tasks import Fit, bits, descent, settings


class Parabola:
    """ℓ = ½ k w² for every example; one step at the rate r takes w to (1 − r k) w."""

    components = ()
    examples = 4

    def __init__(self, curvature=2.0, start=1.0, offset=0.0):
        self.curvature, self.offset = curvature, offset
        self.module = nn.ParameterList([nn.Parameter(torch.tensor([start], dtype=torch.float64))])

    def batch(self, indices, epoch):
        return len(indices)

    def losses(self, batch):
        return (self.curvature / 2 * self.module[0].square() + self.offset).expand(batch), {}


def swept(task, rate=0.1, **more):
    optimizer = torch.optim.SGD(task.module.parameters(), lr=rate)
    return rate_test(task, optimizer, settings(batch=3), **more)


def replica(curvature, offset, least, greatest, steps):
    """The sweep on a parabola, by hand: (rates, losses, smoothed)."""
    weight, rates, losses, smoothed = 1.0, [], [], []
    for place in range(steps):
        rate = math.exp(math.log(least) + (math.log(greatest) - math.log(least)) * place / (steps - 1))
        rates.append(rate)
        losses.append(curvature / 2 * weight**2 + offset)
        shares = [0.02 * 0.98 ** (place - earlier) for earlier in range(place + 1)]
        smoothed.append(sum(s * loss for s, loss in zip(shares, losses, strict=True)) / sum(shares))
        if smoothed[-1] > 4 * min(smoothed):
            break
        weight *= 1 - rate * curvature
    return rates, losses, smoothed


@pytest.mark.parametrize("curvature", [0.5, 2.0, 30.0])
@pytest.mark.parametrize("steps", [2, 60, 150])
@pytest.mark.parametrize("ends", [(1e-8, 10.0), (1e-3, 1.0)], ids=str)
def test_it_is_the_replica(curvature, steps, ends):
    found = swept(Parabola(curvature, offset=0.01), least=ends[0], greatest=ends[1], steps=steps)
    rates, losses, smoothed = replica(curvature, 0.01, *ends, steps)
    assert found.rates == pytest.approx(rates)
    assert found.losses == pytest.approx(losses, rel=1e-4)
    assert found.smoothed == pytest.approx(smoothed, rel=1e-4)
    assert found.diverged == (len(rates) < steps)
    tenth = min(steps // 10, len(rates) - 1)
    lowest = min(smoothed[tenth:])
    assert found.tenth_of_minimum == pytest.approx(rates[smoothed.index(lowest)] / 10)


def test_the_ends_are_exact_and_the_steps_between_are_one_factor():
    rates = swept(Parabola(1e-9), least=1e-7, greatest=3.0, steps=101).rates
    assert (rates[0], rates[-1], len(rates)) == (1e-7, 3.0, 101)
    factors = [after / before for before, after in itertools.pairwise(rates)]
    assert factors == pytest.approx([(3.0 / 1e-7) ** 0.01] * 100)


def test_it_stops_where_the_smoothed_loss_is_above_four_times_the_least():
    found = swept(Parabola(2.0), steps=300)
    assert found.diverged
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert all(value <= 4 * min(found.smoothed[: place + 1]) for place, value in enumerate(found.smoothed[:-1]))
    assert found.rates[-1] > 1  # a parabola of curvature 2 diverges from the rate 1 on


def test_the_suggestion_is_where_the_loss_falls_most_and_lies_below_the_minimum():
    found = swept(Parabola(2.0), steps=300)
    lowest = found.smoothed.index(min(found.smoothed))
    slopes = {place: (found.smoothed[place + 30] - found.smoothed[place - 30]) / 60 for place in range(60, lowest - 29)}
    assert found.suggestion == found.rates[min(slopes, key=slopes.get)]
    assert 0.001 < found.suggestion < 10 * found.tenth_of_minimum
    # nothing falls when it starts at the bottom
    assert swept(Parabola(2.0, start=0.0, offset=1.0), steps=100).suggestion is None


def test_a_negative_loss_diverges_where_it_has_risen_by_three_times_its_least():
    found = swept(Parabola(2.0, offset=-3.0), steps=300)
    assert found.diverged
    assert found.losses[0] == pytest.approx(-2)
    assert found.smoothed[-1] > min(found.smoothed) + 3 * abs(min(found.smoothed))


def test_a_loss_that_is_no_longer_finite_ends_it():
    task = Parabola(2.0)
    task.losses = lambda batch: (
        Parabola.losses(task, batch)[0] * (1 if abs(float(task.module[0].detach())) > 0.5 else math.nan),
        {},
    )
    found = swept(task, steps=200)
    assert found.diverged
    assert all(map(math.isfinite, found.losses))
    assert float(task.module[0].detach()) == 1.0
    with pytest.raises(NotFiniteError, match="in step 1"):
        swept(Parabola(math.inf))


@pytest.mark.parametrize("ending", ["whole", "error", "interrupt"])
def test_weights_buffers_gradients_optimizer_modes_and_random_state_are_as_before(ending):
    task = Fit(norm=True, dropout=0.5)
    asked = settings()
    optimizer, schedule = descent(task, asked)
    for _ in range(3):
        optimizer.zero_grad()
        task.losses(task.batch([0, 1, 2], 0))[0].mean().backward()
        optimizer.step()
        schedule.step()
    task.module[4].eval()
    weights, gradients = bits(task.module), [parameter.grad.clone() for parameter in task.module.parameters()]
    kept, planned = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(schedule.state_dict())
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    seen = []

    def tracked(steps):
        for step in steps:
            seen.append(bits(task.module) != weights)
            if step == 5 and ending != "whole":
                raise ZeroDivisionError if ending == "error" else KeyboardInterrupt
            yield step

    if ending == "whole":
        rate_test(task, optimizer, asked, steps=40, tracked=tracked)
    else:
        with pytest.raises((ZeroDivisionError, KeyboardInterrupt)):
            rate_test(task, optimizer, asked, steps=40, tracked=tracked)
    assert any(seen)
    assert torch.equal(torch.rand(2), expected)
    assert bits(task.module) == weights
    for parameter, gradient in zip(task.module.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert [part.training for part in task.module] == [True, True, True, True, False]
    assert schedule.state_dict() == planned
    now = optimizer.state_dict()
    assert now["param_groups"] == kept["param_groups"]
    for place, state in kept["state"].items():
        assert torch.equal(now["state"][place]["momentum_buffer"], state["momentum_buffer"])


def test_an_optimizer_that_has_not_stepped_has_no_state_afterwards():
    task = Fit()
    optimizer = torch.optim.AdamW(task.module.parameters())
    rate_test(task, optimizer, settings(), steps=5)
    assert optimizer.state_dict()["state"] == {}


def test_groups_keep_the_ratios_of_their_rates():
    task, asked, seen = Fit(), settings(), []
    optimizer, _ = descent(task, asked)
    optimizer.register_step_pre_hook(lambda self, *_: seen.append([group["lr"] for group in self.param_groups]))
    found = rate_test(task, optimizer, asked, steps=30, greatest=1e-3)
    assert [weights for weights, _ in seen] == list(found.rates)
    assert [biases for _, biases in seen] == pytest.approx([2 * rate for rate in found.rates])


def test_the_same_sweep_gives_the_same_bits_and_is_json():
    found = [rate_test(task, descent(task, settings())[0], settings()) for task in (Fit(dropout=0.5), Fit(dropout=0.5))]
    assert found[0] == found[1]
    said = json.loads(json.dumps(asdict(found[0]), allow_nan=False))
    back = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    assert RateTest(**back) == found[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("steps", [100, 200])
def test_noise_does_not_carry_the_suggestion_away(seed, steps):
    task = Fit(dropout=0.5, examples=200)
    found = rate_test(task, descent(task, settings(seed=seed))[0], settings(seed=seed), steps=steps)
    assert 1e-3 < found.suggestion < 1e-1
    assert 1e-3 < found.tenth_of_minimum < 1e-1


@pytest.mark.parametrize(
    "wrong",
    [
        {"least": 0.0},
        {"least": -1.0},
        {"least": math.nan},
        {"greatest": math.inf},
        {"least": 1.0, "greatest": 1.0},
        {"steps": 1},
        {"steps": 501},
        {"steps": 10.0},
        {"rate": 0.0},
    ],
    ids=str,
)
def test_a_sweep_that_cannot_be_is_refused(wrong):
    with pytest.raises(UnsupportedError):
        swept(Parabola(), **wrong)
