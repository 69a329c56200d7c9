"""A training that was interrupted goes on to the bit, whatever its schedule."""

import pytest
import torch

from regard.runs import Run
from regard.training.loop import fit

from .tasks import Fit, bits, settings

STEPS = 9


class Ending(Fit):
    """Is interrupted in a step."""

    def __init__(self, failing):
        super().__init__()
        self.left = failing

    def losses(self, batch):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        return super().losses(batch)


SCHEDULES = {
    "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
    "function": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    "milestones": lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5]),
    "sequence": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=3),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6),
        ],
        [3],
    ),
    "none": lambda optimizer: None,
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_adamw_under_any_schedule_is_taken_up_to_the_bit(name, tmp_path):
    def go(run, failing=None):
        task = Ending(failing)
        optimizer = torch.optim.AdamW(task.module.parameters(), lr=0.05)
        fit(task, optimizer, SCHEDULES[name](optimizer), settings(), run)
        return bits(task.module)

    with pytest.raises(KeyboardInterrupt):
        go(Run.open(tmp_path / "run", "train", {}), failing=4)
    assert go(Run.open(tmp_path / "run", "train", {})) == go(Run.open(tmp_path / "whole", "train", {}))
