"""Trainings that are killed at given moments and begun again. A program: a folder, and `cases.json` in it."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from forked import ends_of, prepare
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


def train(folder, case, strike, rank):
    """One process's training, in which the main one may be struck; that one writes the run."""
    if strike is not None and rank == 0:
        struck(strike["moment"], strike["count"], strike["signal"], strike.get("after", False))
    task = Fit(case.get("norm", False), case.get("dropout", 0.0), case.get("examples", 23))
    if case.get("frozen"):
        task.module.eval()
    asked = settings(**case.get("settings", {}))
    optimizer, schedule = descent(task, asked)
    run = Run.open(folder / "run", "train", {"case": case}) if rank == 0 else None

    def judged(epoch):
        return {"error": float(torch.rand(())) + epoch, "weight": float(task.module[0].weight.detach().sum())}

    fit(task, optimizer, schedule, asked, run, on_epoch=judged, choose_by=case.get("choose_by"))
    torch.save(task.module.state_dict(), folder / f"end-{rank}.pt")


def main(folder):
    prepare()
    cases = json.loads((folder / "cases.json").read_text())
    for name, case in cases.items():
        place = folder / name
        place.mkdir()
        strikes = (*case.get("strikes", ()), None)
        codes = [ends_of(partial(train, place, case, strike), case.get("processes", 1))[0] for strike in strikes]
        (place / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
