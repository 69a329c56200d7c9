"""The distillation loss: check 21 of BR-NPA's specification, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from regard.attention.distillation import distillation_loss
from regard.errors import UnsupportedError


def logits(seed, classes=5, examples=4, kind=torch.float64):
    return 3 * torch.randn(examples, classes, generator=torch.Generator().manual_seed(seed), dtype=kind)


CLASSES = torch.tensor([0, 3, 4, 1])


def by_hand(student, teacher, classes, temperature, share):
    """The formula with plain loops."""
    losses = []
    for z, t, y in zip(student.tolist(), teacher.tolist(), classes.tolist(), strict=True):
        p, q = ([math.exp(value / temperature) for value in row] for row in (t, z))
        p, q = ([value / sum(row) for value in row] for row in (p, q))
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        true = -z[y] + math.log(sum(math.exp(value) for value in z))
        losses.append(share * temperature**2 * divergence + (1 - share) * true)
    return torch.tensor(losses, dtype=torch.float64)


@given(
    temperature=st.floats(0.5, 20),
    share=st.floats(0, 1),
    seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)),
)
def test_it_is_the_formula(temperature, share, seeds):
    student, teacher = map(logits, seeds)
    loss, _, _ = distillation_loss(student, teacher, CLASSES, temperature, share)
    assert torch.allclose(loss, by_hand(student, teacher, CLASSES, temperature, share), atol=1e-9)


def test_without_a_share_it_is_the_cross_entropy():
    loss, _, true = distillation_loss(logits(0), logits(1), CLASSES, 4.0, 0.0)
    assert torch.equal(loss, functional.cross_entropy(logits(0), CLASSES, reduction="none"))
    assert torch.equal(loss, true)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn():
    student = logits(0).requires_grad_()
    loss, _, _ = distillation_loss(student, logits(0), CLASSES, 4.0, 1.0)
    loss.sum().backward()
    assert float(loss.detach().abs().max()) < 1e-12
    assert float(student.grad.abs().max()) < 1e-12


@given(shift=st.floats(-50, 50), temperature=st.sampled_from([1.0, 6.0]))
def test_a_constant_added_to_all_logits_changes_nothing(shift, temperature):
    plain = distillation_loss(logits(0), logits(1), CLASSES, temperature, 0.5)[0]
    for student, teacher in ((logits(0) + shift, logits(1)), (logits(0), logits(1) + shift)):
        assert torch.allclose(distillation_loss(student, teacher, CLASSES, temperature, 0.5)[0], plain, atol=1e-9)


def test_a_high_temperature_compares_logits():
    """T² · KL → ½ Σ (d − mean d)² / C of the differences d, worked out from the second order of the exponential."""
    difference = logits(1) - logits(0)
    limit = (difference - difference.mean(dim=1, keepdim=True)).square().mean(dim=1) / 2
    distilled = distillation_loss(logits(0), logits(1), CLASSES, 1e4, 1.0)[0]
    assert torch.allclose(distilled, limit, rtol=1e-3)


def test_the_teacher_gets_no_gradient():
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    distillation_loss(student, teacher, CLASSES, 4.0, 0.5)[0].sum().backward()
    assert teacher.grad is None
    assert float(student.grad.abs().min()) > 0


def test_half_precision_is_summed_in_float32_also_under_autocast():
    student, teacher = logits(0, kind=torch.bfloat16), logits(1, kind=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = distillation_loss(student, teacher, CLASSES, 4.0, 0.5)[0]
    assert loss.dtype == torch.float32
    assert torch.allclose(loss.double(), by_hand(student.double(), teacher.double(), CLASSES, 4.0, 0.5), rtol=1e-5)


def test_no_answer_is_so_sure_that_the_loss_is_not_finite():
    sure = torch.tensor([[300.0, -300.0], [-300.0, 300.0]])
    loss = distillation_loss(sure, sure.flip(0), torch.tensor([0, 1]), 1.0, 0.5)[0]
    assert bool(loss.isfinite().all())


@pytest.mark.parametrize(
    ("temperature", "share"),
    [(0, 0.5), (-1, 0.5), (math.inf, 0.5), (4, -0.1), (4, 1.1), (4, math.nan), ("4", 1), (4, True)],
)
def test_settings_that_cannot_be_are_refused(temperature, share):
    with pytest.raises(UnsupportedError, match="of a distillation"):
        distillation_loss(logits(0), logits(1), CLASSES, temperature, share)


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(UnsupportedError, match="different classes"):
        distillation_loss(logits(0), logits(1, classes=6), CLASSES, 4.0, 0.5)
