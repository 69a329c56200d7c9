"""Trainings in processes of their own, killed at given moments and begun again. A program: a folder, and `CASES` in it.

Every process is forked here, where no thread runs yet, so that torch and accelerate are imported once.
"""

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from tasks import Fit, descent, settings

from regard.runs import Run
from regard.training.loop import fit

MOMENTS = {
    "batch": (Fit, "batch"),
    "backward": (torch.Tensor, "backward"),
    "update": (torch.optim.SGD, "step"),
    "schedule": (torch.optim.lr_scheduler.OneCycleLR, "step"),
    "write": (os, "fsync"),
    "name": (Path, "replace"),
    "remove": (Path, "unlink"),
    "log": (Run, "log"),
}


def struck(moment, count, number, after):
    """Send this process a signal in the `count`th call of a function, before or after its work."""
    place, name = MOMENTS[moment]
    usual, calls = getattr(place, name), 0

    def do(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == count and not after:
            if moment == "write":
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            os.kill(os.getpid(), number)
        result = usual(*arguments, **named)
        if calls == count and after:
            os.kill(os.getpid(), number)
        return result

    setattr(place, name, do)


def train(folder, case):
    """One process's training; the main one writes what came of it."""
    task = Fit(case.get("norm", False), case.get("dropout", 0.0), case.get("examples", 23))
    if case.get("frozen"):
        task.module.eval()
    asked = settings(**case.get("settings", {}))
    optimizer, schedule = descent(task, asked)
    main = os.environ.get("RANK", "0") == "0"
    run = Run.open(folder / "run", "train", {"case": case}) if main else None

    def judged(epoch):
        return {"error": float(torch.rand(())) + epoch, "weight": float(task.module[0].weight.detach().sum())}

    fit(task, optimizer, schedule, asked, run, on_epoch=judged, choose_by=case.get("choose_by"))
    torch.save(task.module.state_dict(), folder / f"end-{os.environ.get('RANK', '0')}.pt")


def child(folder, case, strike, surroundings):
    """Fork; the child trains and ends with 0, or with 130 if interrupted."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.environ.update(surroundings)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if strike is not None:
            struck(strike["moment"], strike["count"], strike["signal"], strike.get("after", False))
        train(folder, case)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException as reason:
        sys.stderr.write(f"{reason!r}\n")
    finally:
        os._exit(code)


def started(folder, case, strike):
    """Train in as many processes as the case has, and give how the main one ended."""
    count = case.get("processes", 1)
    if count == 1:
        return os.waitstatus_to_exitcode(os.waitpid(child(folder, case, strike, {}), 0)[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    meeting |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "LOCAL_WORLD_SIZE": str(count)}
    all_of_them = [
        child(folder, case, None if rank else strike, {**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    code = os.waitstatus_to_exitcode(os.waitpid(all_of_them[0], 0)[1])
    for process in all_of_them[1:]:
        if code:
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return code


def main(folder):
    torch.set_num_threads(1)
    for late in ("accelerate.utils", "torch._dynamo"):  # which each of them would import for itself
        importlib.import_module(late)
    cases = json.loads((folder / "cases.json").read_text())
    for name, case in cases.items():
        place = folder / name
        place.mkdir()
        codes = [started(place, case, strike) for strike in (*case.get("strikes", ()), None)]
        (place / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
