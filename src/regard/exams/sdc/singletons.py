"""Three numbers: every class is one point, so that what a focus does to an answer can be worked out by hand."""

from __future__ import annotations

import torch

from regard.exams.sdc.items import Items


def singletons(background: float = 0.0) -> tuple[Items, Items]:
    """The foreground is −1 or +1, the background one number (papers: SDC, section 5).

    Background 0 lies between the two, and no focus w x finds both (EM-A); 3 or −3 lies beside them, and a focus on it
    leaves enough of the foreground to tell the two apart (EM-B). One item a class, in both parts the same: there are no
    others, and nothing is learnt by heart that is not the task.
    """
    values = torch.tensor([[-1.0], [1.0], [background]])
    classes = torch.arange(3, dtype=torch.int16)
    items = Items(values, classes, ("minus one", "plus one", "background"), (0, 1))
    return items, items
