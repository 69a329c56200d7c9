"""What a student learns from a teacher's answers (BR-NPA, 1.4; Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from regard.attention.places import fine
from regard.attention.settings import is_number
from regard.errors import UnsupportedError


def distillation_loss(
    student: Tensor, teacher: Tensor, classes: Tensor, temperature: float, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each example, and its two terms.

        ℓ = share · T² · KL( softmax(t/T) ‖ softmax(z/T) ) + (1 − share) · CE(z, y)

    The factor T² keeps gradients of the first term as large as they are at T = 1, up to its limit for large T, half
    the variance over classes of t − z. A constant added to all of an example's logits changes nothing.

    Args:
        student: logits z (b, C).
        teacher: logits t (b, C); they get no gradient.
        classes: true classes y (b,), int64.
        temperature: T, above 0; the larger, the more the unlikely classes count.
        share: of the first term, 0 to 1; 0 leaves the cross-entropy.

    Returns:
        ℓ, T² · KL and CE, each (b,), in float32 at least.

    Raises:
        UnsupportedError: logits of other shapes, or a temperature or share that cannot be.
    """
    check_distillation(temperature, share)
    if student.shape != teacher.shape:
        raise UnsupportedError(
            "student and teacher answer about different classes",
            came=f"logits {tuple(student.shape)} and {tuple(teacher.shape)}",
            expected="the same shape, and the same order of classes",
        )
    with torch.autocast(student.device.type, enabled=False):
        said = fine(student)
        taught = teacher.detach().to(said)
        wanted, given = (logits.div(temperature).log_softmax(dim=1) for logits in (taught, said))
        distilled = temperature**2 * functional.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=1)
        true = functional.cross_entropy(said, classes, reduction="none")
        return share * distilled + (1 - share) * true, distilled, true


def check_distillation(temperature: float, share: float) -> None:
    """Refuse settings of a distillation that cannot be.

    Raises:
        UnsupportedError: the temperature is not above 0, or the share not between 0 and 1.
    """
    right = {
        "temperature": is_number(temperature) and temperature > 0,
        "share": is_number(share) and 0 <= share <= 1,
    }
    for name, value in (("temperature", temperature), ("share", share)):
        if not right[name]:
            raise UnsupportedError(
                f"no such {name} of a distillation", came=repr(value), expected="temperature above 0, share 0 to 1"
            )
