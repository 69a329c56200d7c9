"""The loop against a plain one, its log, its choice of an epoch, and its ends: interrupted, not finite, refused."""

import contextlib
import itertools
import json
import math
import signal
import threading

import pytest
import torch

from regard.errors import NotFiniteError, RunError, UnsupportedError
from regard.runs import Run
from regard.training import checkpoints, loop
from regard.training.loop import fit
from regard.training.steps import Steps

from .tasks import EXAMPLES, Fit, bits, descent, settings

STEPS = 9


@pytest.fixture
def place(tmp_path):
    """Opens the same run, again and again."""
    return lambda: Run.open(tmp_path / "run", "train", {})


def trained(task, run, asked=None, **more):
    asked = asked or settings()
    optimizer, schedule = descent(task, asked)
    return fit(task, optimizer, schedule, asked, run, **more)


def lines(run, event):
    return [line for text in (run.folder / "log.jsonl").open() if (line := json.loads(text))["event"] == event]


class Watched(Fit):
    """Notes the rate and momentum of every step, and fails where it is told to."""

    def __init__(self, optimizer=None, failing=None, reason=KeyboardInterrupt, **more):
        super().__init__(**more)
        self.seen, self.failing, self.reason, self.optimizer = [], failing, reason, optimizer

    def losses(self, batch):
        found = super().losses(batch)
        if len(self.seen) == self.failing:
            raise self.reason
        group = self.optimizer.param_groups[0]
        self.seen.append((group["lr"], group["momentum"]))
        return found


def begun(run, failing=None, reason=KeyboardInterrupt, asked=None, **more):
    """A training until it fails, or to its end; its task and what it came to."""
    asked = asked or settings()
    task = Watched(failing=failing, reason=reason, **more)
    optimizer, schedule = descent(task, asked)
    task.optimizer = optimizer
    if failing is None:
        return task, fit(task, optimizer, schedule, asked, run)
    with pytest.raises(reason):
        fit(task, optimizer, schedule, asked, run)
    return task, None


def plain_loop(asked):
    """A training as anyone would write it."""
    task = Fit(kind=torch.float64)
    optimizer, schedule = descent(task, asked)
    order = Steps(task, optimizer, asked)
    for number in range(asked.steps(EXAMPLES)):
        optimizer.zero_grad()
        losses, _ = task.losses(task.batch(*order.examples_of(number)))
        losses.mean().backward()
        optimizer.step()
        schedule.step()
    return task.module


def one_cycle(step, total, most, momenta=(0.95, 0.85)):
    """Rate and momentum of a step, from 0: cosines from most/25 to most at 30 %, on to most/25e4 at the last step."""

    def between(start, end, share):
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

    turn = 0.3 * total - 1
    if step <= turn:
        return between(most / 25, most, step / turn), between(*momenta, step / turn)
    share = (step - turn) / (total - 1 - turn)
    return between(most, most / 25e4, share), between(*reversed(momenta), share)


def test_the_hand_worked_cycle_is_the_one_that_trained_the_published_weights():
    rate, momentum = one_cycle(4 * 160_146, 8 * 160_146, 1e-3)  # printed from a checkpoint: section 2.4
    assert rate == pytest.approx(8.117442845577888e-4, rel=1e-12)
    assert momentum == pytest.approx(0.8688256468468085, rel=1e-12)


@pytest.mark.parametrize("changed", [{}, {"accumulate": 3}, {"batch": 50}, {"batch": 1, "epochs": 1}], ids=str)
def test_it_is_the_plain_loop(changed, place):
    asked = settings(**changed)
    task = Fit(kind=torch.float64)
    came = trained(task, place(), asked)
    assert came.steps == asked.steps(EXAMPLES)
    for parameter, expected in zip(task.module.parameters(), plain_loop(asked).parameters(), strict=True):
        assert float((parameter - expected).detach().abs().max()) < 1e-12


def test_the_loss_falls(place):
    run = place()
    trained(Fit(), run, settings(epochs=30))
    first, *_, last = lines(run, "step")
    assert last["means"]["loss"] < first["means"]["loss"] / 2


@pytest.mark.parametrize("failing", [None, *range(STEPS)])
def test_rates_and_weights_are_those_of_an_uninterrupted_training_wherever_it_is_taken_up(failing, place, tmp_path):
    begun_with, _ = begun(place(), failing) if failing is not None else (None, None)
    task, came = begun(place())
    seen = [*(begun_with.seen if begun_with else ()), *task.seen]
    assert came.steps == STEPS
    for step, rate_and_momentum in enumerate(seen):
        assert rate_and_momentum == pytest.approx(one_cycle(step, STEPS, 0.1))
    assert len(seen) == STEPS
    whole = Fit()
    trained(whole, Run.open(tmp_path / "whole", "train", {}))
    assert bits(task.module) == bits(whole.module)


@pytest.mark.parametrize("failing", [1, 4, 5])
def test_any_other_end_goes_on_from_the_last_checkpoint(failing, place, tmp_path):
    begun(place(), failing, reason=ZeroDivisionError)
    task, _ = begun(place())
    last = max(step for step in (0, 2, 3, 4, 6, 8, 9) if step <= failing)  # every 2 steps, and after epochs of 3
    assert [line["step"] for line in lines(place(), "training")] == [0, last]
    assert len(task.seen) == STEPS - last
    whole = Fit()
    trained(whole, Run.open(tmp_path / "whole", "train", {}))
    assert bits(task.module) == bits(whole.module)


def test_a_damaged_newest_checkpoint_costs_its_steps_and_no_bits(place, tmp_path):
    begun(place(), 5)
    newest = place().folder / "checkpoints" / "0000000005.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    task, _ = begun(place())
    assert [line["step"] for line in lines(place(), "training")] == [0, 4]
    assert [line["file"] for line in lines(place(), "damaged checkpoint")] == ["0000000005.pt"]
    whole = Fit()
    trained(whole, Run.open(tmp_path / "whole", "train", {}))
    assert bits(task.module) == bits(whole.module)


def test_a_training_that_is_done_is_not_done_again(place):
    task, came = begun(place())
    again, then = begun(place())
    assert then == came
    assert again.seen == []
    assert bits(again.module) == bits(task.module)


def test_other_first_weights_play_no_part_in_a_run_that_was_begun(place):
    begun(place(), 0)
    task, expected = Watched(), Fit()
    torch.nn.init.ones_(task.module[0].weight)
    task.optimizer, schedule = descent(task, settings())
    fit(task, task.optimizer, schedule, settings(), place())
    trained(expected, Run.open(place().folder.parent / "whole", "train", {}))
    assert bits(task.module) == bits(expected.module)


def test_buffers_that_a_forward_changed_are_set_back_where_the_step_did_not_come_to_be(place):
    task, _ = begun(place(), 4, norm=True)
    assert int(task.module[1].num_batches_tracked) == 4


@pytest.mark.parametrize("failing", [None, 0, 4])
@pytest.mark.parametrize("reason", [KeyboardInterrupt, ZeroDivisionError])
def test_nothing_is_left_with_the_caller(failing, reason, place):
    handler = signal.getsignal(signal.SIGINT)
    task = Watched(failing=failing, reason=reason, norm=True, dropout=0.5)
    task.optimizer, schedule = descent(task, settings())
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    with pytest.raises(reason) if failing is not None else contextlib.nullcontext():
        fit(task, task.optimizer, schedule, settings(), place())
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.grad is None for parameter in task.module.parameters())
    assert all(part.training for part in task.module.modules())
    assert signal.getsignal(signal.SIGINT) is handler


def test_it_trains_in_another_thread_and_inside_no_grad(place, tmp_path):
    expected, found = Fit(), Fit()
    trained(expected, place())

    def work():
        with torch.inference_mode():
            trained(found, Run.open(tmp_path / "thread", "train", {}))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert bits(found.module) == bits(expected.module)


def test_parts_stay_in_the_modes_they_are_given_in_and_get_them_back_after_an_evaluation(place):
    task = Fit(norm=True)
    task.module[1].eval()
    seen = []
    task.losses = lambda batch: (seen.append([part.training for part in task.module]), Fit.losses(task, batch))[1]

    def judged(epoch):
        task.module.eval()[1].train()
        return {}

    trained(task, place(), on_epoch=judged)
    assert seen == [[True, False, True, True, True]] * STEPS
    assert int(task.module[1].num_batches_tracked) == 0


def test_the_log_holds_means_over_steps_and_their_rates(place, monkeypatch):
    monkeypatch.setattr(loop, "LOGGED", 2)
    each, few = place(), Run.open(place().folder.parent / "few", "train", {})
    task, _ = begun(few)
    monkeypatch.setattr(loop, "LOGGED", 1)
    begun(each)
    single = {line["step"]: line for line in lines(each, "step")}
    assert [*single] == list(range(1, 10))
    for line, window in zip(lines(few, "step"), [(1, 2), (3,), (4,), (5, 6), (7, 8), (9,)], strict=True):
        assert line["step"] == window[-1]
        assert line["epoch"] == (window[-1] + 2) // 3
        assert line["rates"][0] == pytest.approx(task.seen[window[-1] - 1][0])
        assert line["rates"][1] == pytest.approx(2 * line["rates"][0])
        assert [*line["means"]] == ["error", "size", "loss", "gradient"]
        for name, mean in line["means"].items():
            assert mean == pytest.approx(sum(single[step]["means"][name] for step in window) / len(window))
        assert line["means"]["loss"] == pytest.approx(line["means"]["error"] + 0.1 * line["means"]["size"], rel=1e-5)
    (said,) = lines(few, "training")
    keys = ("step", "steps", "examples", "processes", "device", "precision")
    assert [said[key] for key in keys] == [0, 9, 23, 1, "cpu", "float32"]


def test_bfloat16_is_autocast_on_float32_weights(place, monkeypatch):
    monkeypatch.setattr(loop, "LOGGED", 1)
    task, exact, seen = Fit(), Fit(), []
    task.losses = lambda batch: (seen.append(task.module(batch[0]).dtype), Fit.losses(task, batch))[1]
    run = place()
    trained(task, run, settings(precision="bfloat16", accumulate=2))
    trained(exact, other := Run.open(run.folder.parent / "exact", "train", {}))
    assert {*seen} == {torch.bfloat16}
    assert {parameter.dtype for parameter in task.module.parameters()} == {torch.float32}
    coarse, fine = (lines(each, "step")[0]["means"]["loss"] for each in (run, other))
    assert 0 < abs(coarse - fine) < 0.02 * fine
    assert lines(run, "training")[0]["precision"] == "bfloat16"


FIGURES = [3.0, 1.0, math.nan, 1.0, 2.0]


def judge(task, kept):
    def judged(epoch):
        kept.append((epoch, bits(task.module), float(torch.rand(()))))
        return {"drop": FIGURES[epoch - 1], "other": float(epoch)}

    return judged


@pytest.mark.parametrize("failing", [None, 4, 6, 13])
def test_the_epoch_whose_number_is_least_is_chosen_the_first_of_equal_ones(failing, place):
    asked, kept, more = settings(epochs=5), [], {"choose_by": "drop"}
    if failing is not None:
        task = Watched(failing=failing)
        task.optimizer, schedule = descent(task, asked)
        with pytest.raises(KeyboardInterrupt):
            fit(task, task.optimizer, schedule, asked, place(), on_epoch=judge(task, kept), **more)
    task = Fit()
    came = trained(task, place(), asked, on_epoch=judge(task, kept), **more)
    assert came.best == 2
    assert [epoch for epoch, _, _ in kept] == [1, 2, 3, 4, 5]
    assert len({drawn for _, _, drawn in kept}) == 5
    assert bits(task.module) == kept[1][1]
    assert [numbers["other"] for numbers in came.epochs] == [1, 2, 3, 4, 5]
    said = lines(place(), "epoch")
    assert [line["numbers"]["drop"] for line in said] == [3.0, 1.0, None, 1.0, 2.0]
    assert [line["best"] for line in said] == [True, True, False, False, False]
    assert lines(place(), "trained")[-1]["best"] == 2


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_an_interrupt_in_an_evaluation_leaves_that_to_the_next_start(interrupted, place, tmp_path):
    def judged(task, interrupted=None):
        calls = itertools.count(1)

        def judge(epoch):
            if next(calls) == interrupted:
                raise KeyboardInterrupt
            return {"epoch": epoch, "step": float(task.module[0].weight.detach().sum())}

        return judge

    task, again, whole = Fit(), Fit(), Fit()
    with pytest.raises(KeyboardInterrupt):
        trained(task, place(), on_epoch=judged(task, interrupted))
    assert lines(place(), "interrupted")[0]["step"] == 3 * interrupted
    expected = trained(whole, Run.open(tmp_path / "whole", "train", {}), on_epoch=judged(whole))
    assert trained(again, place(), on_epoch=judged(again)) == expected
    assert [numbers["epoch"] for numbers in expected.epochs] == [1, 2, 3]


def test_progress_sees_the_steps_that_are_left_and_may_stop_them(place):
    seen = []

    def tracked(steps):
        seen.append(list(steps))
        yield from steps[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(Fit(), place(), tracked=tracked)
    trained(Fit(), place(), tracked=lambda steps: seen.append(list(steps)) or steps)
    assert seen == [list(range(9)), list(range(4, 9))]


def test_a_loss_that_is_not_finite_ends_it_and_the_checkpoint_before_stays(place):
    class Lost(Fit):
        def losses(self, batch):
            losses, components = super().losses(batch)
            unseen = int(self.module[1].num_batches_tracked) < 6
            return losses, components if unseen else {**components, "size": components["size"] * math.inf}

    for _ in range(2):
        task = Lost(norm=True)
        with pytest.raises(NotFiniteError, match="size is not finite in step 6"):
            trained(task, place())
        assert int(task.module[1].num_batches_tracked) == 5
    assert [line["step"] for line in lines(place(), "training")] == [0, 4]
    assert lines(place(), "not finite")[0]["problem"] == "size is not finite in step 6"
    assert len(list((place().folder / "checkpoints").iterdir())) == 2


def test_weights_that_are_not_finite_are_never_written(place):
    task = Fit()
    first, optimizer = bits(task.module), torch.optim.SGD(task.module.parameters(), lr=math.inf)
    with pytest.raises(NotFiniteError, match=r"0\.weight is not finite after step 1"):
        fit(task, optimizer, None, settings(checkpoint_every=1), place())
    task.module.load_state_dict(checkpoints.newest(place())["module"])
    assert bits(task.module) == first


@pytest.mark.parametrize("changed", [{"batch": 4}, {"epochs": 2}, {"seed": 1}, {"clip": 1.0}], ids=str)
def test_a_run_of_other_settings_is_refused(changed, place):
    begun(place(), 2)
    with pytest.raises(RunError, match="another training"):
        trained(Fit(), place(), settings(**changed))
    with pytest.raises(RunError, match="another training"):
        trained(Fit(examples=22), place())
    with pytest.raises(RunError, match="another training"):
        trained(Fit(), place(), on_epoch=lambda epoch: {})


def test_a_run_goes_on_with_checkpoints_at_another_interval(place):
    begun(place(), 4)
    task = Fit()
    trained(task, place(), settings(checkpoint_every=3))
    whole = Fit()
    optimizer, schedule = descent(whole, settings())
    fit(whole, optimizer, schedule, settings(), Run.open(place().folder.with_name("whole"), "train", {}))
    assert bits(task.module) == bits(whole.module)
    assert [line["step"] for line in lines(place(), "training")] == [0, 4]


@pytest.mark.parametrize("total", [STEPS - 1, STEPS + 1])
def test_a_schedule_of_another_length_or_optimizer_is_refused_before_the_work(total, place):
    task = Watched()
    task.optimizer, schedule = descent(task, settings())
    other = torch.optim.lr_scheduler.OneCycleLR(task.optimizer, 0.1, total_steps=total)
    with pytest.raises(UnsupportedError, match="another length"):
        fit(task, task.optimizer, other, settings(), place())
    with pytest.raises(UnsupportedError, match="another optimizer"):
        fit(task, descent(task, settings())[0], schedule, settings(), place())
    assert task.seen == []


def test_a_choice_without_its_number_and_a_training_without_its_run_are_refused(place):
    with pytest.raises(UnsupportedError, match="on_epoch"):
        trained(Fit(), place(), choose_by="drop")
    with pytest.raises(UnsupportedError, match="that there is not"):
        trained(Fit(), place(), choose_by="drop", on_epoch=lambda epoch: {"gain": 1.0})
    with pytest.raises(RunError, match="in a run"):
        trained(Fit(), None)


def test_a_state_that_could_not_be_read_back_is_refused_before_the_work(place):
    task = Watched()
    optimizer = torch.optim.SGD(task.module.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    schedule.function = print
    with pytest.raises(RunError, match="more than tensors"):
        fit(task, optimizer, schedule, settings(), place())
    assert task.seen == []
