"""Trainings in processes of their own: the program that a test runs, and how it forks them.

Every process is forked where no thread runs yet, so that torch and accelerate are imported once.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file


def run_program(name, folder):
    """Run a file of this folder on another folder, where it leaves what its trainings came to."""
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name(name), folder],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr


def prepare():
    """Import what each of the processes would import for itself."""
    torch.set_num_threads(1)
    for late in ("accelerate.utils", "torch._dynamo"):
        importlib.import_module(late)


def train_each(train, cases, folder):
    """Call `train(place, name)` in as many processes as a case says, a name and a number; each leaves what it gives.

    That is a module, of which the weights are left, and words. A case "NAME again" is NAME once more.
    """
    prepare()
    for name, count in cases:
        place = Path(folder) / f"{name}, {count}"
        place.mkdir()
        ends = ends_of(partial(_leaving, train, place, name.removesuffix(" again")), count)
        assert not any(ends), f"{name} in {count}: {ends}"


def _leaving(train, place, name, rank):
    module, told = train(place, name)
    weights = {key: value.contiguous() for key, value in module.state_dict().items()}  # some have channels last
    save_file(weights, place / f"weights-{rank}.safetensors")
    (place / f"told-{rank}.json").write_text(json.dumps(told))


def ends_of(train, count):
    """Call `train(rank)` in so many processes that meet, and give how each ended.

    Once the main one has failed, the others are killed: they may wait for it.
    """
    places = _places(count)
    processes = [_forked(train, rank, place) for rank, place in enumerate(places)]
    ends = []
    for process in processes:
        if any(ends[:1]):
            os.kill(process, signal.SIGKILL)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    return ends


def _places(count):
    """What the surroundings of each say; nothing of one alone."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    meeting |= {"LOCAL_WORLD_SIZE": str(count)}
    return [{**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _forked(train, rank, surroundings):
    """A process that ends with 0, with 130 if interrupted, else with 1 and a trace."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.environ.update(surroundings)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        train(rank)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
