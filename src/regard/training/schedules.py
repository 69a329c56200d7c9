"""How rates rise and fall within a training."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> OneCycleLR:
    """From a twenty-fifth of each group's rate to all of it in the first 30 % of the steps, then to a 250,000th.

    By cosines; momentum, or AdamW's first average, goes from 0.95 to 0.85 and back (TAME, section 2.4).

    Args:
        optimizer: whose groups have their largest rates.
        steps: of the whole training.
    """
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=steps, base_momentum=0.85, max_momentum=0.95)
