"""Values brought to mean 0 and deviation 1 for a fit, and the fit's layers brought back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Scaling:
    """x → (x − centre) / scale, a column each.

    Attributes:
        centre: mean of each column, float64 (D,).
        scale: standard deviation of each column, float64 (D,); 1 for a column that hardly varies,
            whose rounding errors would be learnt from.
    """

    centre: Tensor
    scale: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Scaling:
        """That of values (n, D)."""
        centre = values.double().mean(dim=0)
        deviation = values.double().std(dim=0, correction=0)
        varies = deviation > 1e-4 * torch.maximum(deviation.max(), centre.abs())
        return cls(centre, torch.where(varies, deviation, 1.0))

    def __call__(self, values: Tensor) -> Tensor:
        """Scaled values, float64."""
        return (values.double() - self.centre) / self.scale


def folded(head: nn.Module, inputs: Scaling, answers: Scaling | None) -> nn.Module:
    """The head (float64) of scaled values as one of plain ones, float32.

    With W, b of the first layer and V, c of the last (which may be the same one, the first step done):

        W' = W / scale,  b' = b − W' · centre;  V' = scale_answers · V,  c' = scale_answers · c + centre_answers
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    first, last = layers[0], layers[-1]
    with torch.no_grad():
        first.weight.div_(inputs.scale)
        first.bias.sub_(first.weight @ inputs.centre)
        if answers is not None:
            last.weight.mul_(answers.scale[:, None])
            last.bias.mul_(answers.scale).add_(answers.centre)
    return head.float()
