"""The processes that train together: one, or as many as torchrun or `accelerate launch` started.

The one place that knows Hugging Face Accelerate. Its `PartialState` finds the processes and joins them. Its
`Accelerator` is not used: that fixes one precision for as long as the process lives, and its wrapper (DDP) takes the
mean over processes, which is the mean over examples only where all have as many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from regard.compat import import_optional


@dataclass(frozen=True)
class Processes:
    """What one process knows of all; make one with `Processes.of`.

    Attributes:
        count: how many there are.
        index: which one this is; 0 is the main one, the only one that writes.
    """

    count: int
    index: int

    @classmethod
    def of(cls, device: torch.device) -> Processes:
        """The processes that train on devices of this kind; they meet here, when it is first asked.

        Raises:
            MissingDependencyError: accelerate is not installed.
        """
        state = import_optional("accelerate", "train").PartialState(cpu=device.type == "cpu")
        return cls(state.num_processes, state.process_index)

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the sum over all processes; one exchange for all tensors of a type."""
        self._exchange(tensors, lambda operations, flat: operations.reduce(flat, "sum"))

    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the main process's; one exchange for all tensors of a type."""
        self._exchange(tensors, lambda operations, flat: operations.broadcast(flat))

    def of_main(self, value: Any) -> Any:
        """The main process's value, in every process."""
        return value if self.count == 1 else _operations().broadcast_object_list([value])[0]

    def _exchange(self, tensors: Sequence[Tensor], act: Callable[[ModuleType, Tensor], Tensor]) -> None:
        if self.count == 1:
            return
        with torch.no_grad():
            for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
                alike = [tensor for tensor in tensors if tensor.dtype == kind]
                flat = act(_operations(), torch.cat([tensor.reshape(-1) for tensor in alike]))
                for tensor, values in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                    tensor.copy_(values.view_as(tensor))


def own_device(device: str) -> str:
    """Where this process's network goes: of several on one machine each has the GPU of its place among them.

    torchrun and `accelerate launch` say the place in LOCAL_RANK. Untested on machines of several GPUs.

    Args:
        device: as a person asks for it, once for all; "cuda:1", which names one, stays.
    """
    place = os.environ.get("LOCAL_RANK")
    return f"cuda:{place}" if device == "cuda" and place is not None else device


def _operations() -> ModuleType:
    return import_optional("accelerate.utils", "train")
