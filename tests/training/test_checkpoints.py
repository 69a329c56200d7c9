"""Checkpoints: whole or not there, two of them, damage noticed."""

import json

import pytest
import torch

from regard.errors import RunError
from regard.runs import Run
from regard.training import checkpoints


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path / "run", "train", {})


def files(run):
    return sorted(path.name for path in (run.folder / "checkpoints").iterdir())


def place(run, step):
    return run.folder / "checkpoints" / f"{step:010d}.pt"


def write(run, *steps):
    for step in steps:
        checkpoints.write(run, step, {"step": step, "weights": torch.full((300,), float(step))})


def damages():
    yield "empty", lambda whole: b""
    yield "short", lambda whole: whole[:20]
    yield "half", lambda whole: whole[: len(whole) // 2]
    yield "one bit of a weight", lambda whole: whole[:700] + bytes([whole[700] ^ 1]) + whole[701:]
    yield "one bit of the digest", lambda whole: bytes([whole[0] ^ 128]) + whole[1:]
    yield "more", lambda whole: whole + b"\0"


DAMAGES = dict(damages())


def test_the_newest_is_read_back_and_two_are_kept(run):
    assert checkpoints.newest(run) is None
    for step in (0, 3, 10, 200):
        write(run, step)
        state = checkpoints.newest(run)
        assert state["step"] == step
        assert torch.equal(state["weights"], torch.full((300,), float(step)))
    assert files(run) == ["0000000010.pt", "0000000200.pt"]


def test_a_step_written_again_takes_its_own_place(run):
    write(run, 1, 2, 2, 2)
    assert files(run) == ["0000000001.pt", "0000000002.pt"]


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_one_is_passed_over_and_logged(name, run):
    write(run, 1, 2)
    place(run, 2).write_bytes(DAMAGES[name](place(run, 2).read_bytes()))
    assert checkpoints.newest(run)["step"] == 1
    *_, line = (run.folder / "log.jsonl").read_text().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["file"]) == ("damaged checkpoint", "0000000002.pt")


def test_what_is_left_of_later_steps_and_unfinished_files_goes_with_the_next_one(run):
    write(run, 10, 20)
    place(run, 20).write_bytes(b"damaged")
    place(run, 21).with_suffix(".unfinished").write_bytes(b"half")
    write(run, 15)
    assert files(run) == ["0000000010.pt", "0000000015.pt"]


def test_all_damaged_is_an_error_and_no_new_start(run):
    write(run, 1, 2)
    for step in (1, 2):
        place(run, step).write_bytes(b"")
    with pytest.raises(RunError, match="damaged"):
        checkpoints.newest(run)


def test_a_full_disk_is_said_and_costs_no_checkpoint(run, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    write(run, 1)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        write(run, 2)
    assert checkpoints.newest(run)["step"] == 1


def test_what_only_a_pickle_holds_is_not_read(run):
    checkpoints.write(run, 1, {"function": print})
    with pytest.raises(RunError, match="more than tensors"):
        checkpoints.newest(run)
