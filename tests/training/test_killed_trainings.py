"""Trainings that are killed or interrupted at any moment, and trainings in two processes."""

import json
import signal

import pytest
import torch

from .forked import run_program
from .tasks import bits_of

KILL, INTERRUPT = int(signal.SIGKILL), int(signal.SIGINT)
MANY = {"dropout": 0.3, "norm": True, "choose_by": "error"}


def strike(moment, count, number=KILL, **more):
    return {"moment": moment, "count": count, "signal": number, **more}


KILLED = {
    "first batch": [strike("batch", 1)],
    "backward": [strike("backward", 4)],
    "before the update": [strike("update", 5)],
    "amid the update": [strike("schedule", 5)],
    "after the update": [strike("schedule", 6, after=True)],
    "first checkpoint half written": [strike("write", 2)],
    "checkpoint half written": [strike("write", 3)],
    "checkpoint of an epoch half written": [strike("write", 5)],
    "checkpoint not named": [strike("name", 5)],
    "checkpoint named": [strike("name", 6, after=True)],
    "old one not removed": [strike("remove", 2)],
    "logging": [strike("log", 5, after=True)],
    "last step": [strike("schedule", 9, after=True)],
    "thrice": [strike("update", 4), strike("batch", 2), strike("write", 2)],
}
INTERRUPTED = {
    "in a batch": [strike("batch", 5, INTERRUPT)],
    "after a forward": [strike("backward", 5, INTERRUPT)],
    "amid an update": [strike("update", 5, INTERRUPT, after=True)],
    "in a checkpoint": [strike("write", 4, INTERRUPT)],
    "twice": [strike("backward", 2, INTERRUPT), strike("schedule", 3, INTERRUPT)],
}
TOGETHER = {
    "plain": {},
    "accumulated": {"settings": {"accumulate": 3}},
    "one left for one": {"examples": 9, "settings": {"batch": 4, "accumulate": 2}},
    "frozen statistics": {"norm": True, "frozen": True},
}


def cases():
    yield "whole", MANY
    yield from ((f"killed: {name}", {**MANY, "strikes": strikes}) for name, strikes in KILLED.items())
    yield from ((f"interrupted: {name}", {**MANY, "strikes": strikes}) for name, strikes in INTERRUPTED.items())
    for name, case in TOGETHER.items():
        yield f"{name}, one", case
        yield f"{name}, two", {**case, "processes": 2}
    both = {**MANY, "processes": 2}
    yield "both", both
    yield "both again", both
    yield "both, killed", {**both, "strikes": [strike("backward", 5)]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("trainings")
    (place / "cases.json").write_text(json.dumps(dict(cases())))
    run_program("trainings.py", place)
    return place


def end(folder, case, rank=0):
    return torch.load(folder / case / f"end-{rank}.pt", weights_only=True)


def lines(folder, case, *events):
    log = [json.loads(line) for line in (folder / case / "run" / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in log if line["event"] in events]


def codes(folder, case):
    return json.loads((folder / case / "codes.json").read_text())


@pytest.mark.parametrize("name", KILLED)
def test_a_training_killed_at_any_moment_ends_with_the_same_bits(name, folder):
    case = f"killed: {name}"
    assert codes(folder, case) == [-KILL] * len(KILLED[name]) + [0]
    assert bits_of(end(folder, case)) == bits_of(end(folder, "whole"))


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_training_goes_on_from_its_last_whole_step_with_the_same_bits(name, folder):
    case = f"interrupted: {name}"
    assert codes(folder, case) == [130] * len(INTERRUPTED[name]) + [0]
    assert bits_of(end(folder, case)) == bits_of(end(folder, "whole"))
    left_at = [line["step"] for line in lines(folder, case, "interrupted")]
    begun_at = [line["step"] for line in lines(folder, case, "training")]
    assert begun_at == [0, *left_at]
    assert (
        left_at
        == {
            "in a batch": [4],
            "after a forward": [4],
            "amid an update": [5],
            "in a checkpoint": [3],
            "twice": [1, 3],
        }[name]
    )


@pytest.mark.parametrize(
    "case", [*(f"killed: {name}" for name in KILLED), *(f"interrupted: {name}" for name in INTERRUPTED)]
)
def test_steps_and_epochs_stand_in_the_log_once_whatever_happened(case, folder):
    expected = lines(folder, "whole", "step", "epoch")
    assert [(line["event"], line["step"]) for line in expected] == [
        (event, step) for step in (3, 6, 9) for event in ("step", "epoch")
    ]
    assert lines(folder, case, "step", "epoch") == expected


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_give_the_weights_of_one(name, folder):
    alone = end(folder, f"{name}, one")
    for rank in range(2):
        found = end(folder, f"{name}, two", rank)
        assert max(float((found[key] - value).abs().max()) for key, value in alone.items()) < 1e-5
    assert bits_of(end(folder, f"{name}, two", 1)) == bits_of(end(folder, f"{name}, two", 0))


def test_two_processes_log_the_losses_of_one(folder):
    one, two = (lines(folder, f"plain, {count}", "step") for count in ("one", "two"))
    for line, other in zip(one, two, strict=True):
        assert other["means"] == pytest.approx(line["means"], abs=1e-5)


def test_two_processes_with_batch_norm_give_the_same_bits_again_and_after_a_kill(folder):
    expected = bits_of(end(folder, "both"))
    assert expected != bits_of(end(folder, "whole"))  # statistics of halves are not those of the whole
    for case, ended in (("both again", [0]), ("both, killed", [-KILL, 0])):
        assert codes(folder, case) == ended
        for rank in range(2):
            assert bits_of(end(folder, case, rank)) == expected
