"""The loss of BR-NPA's training, as a task of the loop: checks 20, 22 and 23 of its specification."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from regard.training.brnpa.recipe import PAPER_HEADS

from ..attention.test_distillation import by_hand
from ..explainers.networks import loud
from .brnpa_trainings import LABELS, NAMES, PHOTOS, gradients, normed, part_of, plan_of, recipe_of


def teacher_of(network=None):
    """A classifier of the three colours with loud answers."""
    taught = plan_of(recipe_of(), network, seed=4).classifier
    loud(taught.head, 3)
    return taught


def task_of(recipe=None, network=None, teacher=None):
    return plan_of(recipe, network, teacher).task(part_of())


def test_the_loss_without_a_teacher_is_the_cross_entropy_of_the_classifiers_own_answers():
    plan = plan_of()
    task = plan.task(part_of())
    task.module.eval()
    batch = task.batch([4, 0, 7], 1)
    losses, components = task.losses(batch)
    answers = plan.classifier(batch.pixels)
    assert batch.classes.tolist() == [NAMES.index(LABELS[place]) for place in (4, 0, 7)]
    assert torch.allclose(losses, functional.cross_entropy(answers, batch.classes, reduction="none"), atol=1e-5)
    assert list(components) == list(task.components) == ["cross-entropy"]
    assert task.examples == len(PHOTOS)


def test_a_teacher_sees_the_very_pixels_in_eval_mode_and_gets_no_gradient():
    teacher = teacher_of(normed())
    teacher.network.train()
    task = task_of(recipe_of(temperature=3.0, share=0.7), teacher=teacher)
    task.module.eval()
    batch = task.batch(range(6), 0)
    losses, components = task.losses(batch)
    losses.sum().backward()
    student, taught = task.subject(batch.pixels), teacher(batch.pixels)
    assert torch.allclose(losses, by_hand(student, taught, batch.classes, 3.0, 0.7).float(), atol=1e-4)
    assert list(components) == list(task.components)
    assert all(weight.grad is None for weight in (*teacher.network.parameters(), *teacher.head.parameters()))
    assert teacher.network.training  # as the caller left it
    assert any(weight.grad is not None for weight in task.module.parameters())


def test_pictures_hang_on_content_and_epoch_alone():
    task = task_of()
    first = task.batch([3, 5], 0).pixels
    torch.rand(3)
    assert torch.equal(task.batch([5, 3], 0).pixels.flip(0), first)
    assert not torch.equal(task.batch([3, 5], 1).pixels, first)
    order = [*range(len(PHOTOS))][::-1]
    other = plan_of().task(part_of([PHOTOS[place] for place in order], [LABELS[place] for place in order]))
    assert torch.equal(other.batch([order.index(3)], 0).pixels, first[:1])


@pytest.mark.parametrize("pooling", ["representative", "bilinear"])
@pytest.mark.parametrize(("count", "sets"), [(3, PAPER_HEADS), (5, ((5,), (1, 3, 4), (4, 2)))], ids=["3", "5"])
def test_auxiliary_heads_read_their_ranks_and_move_nothing_else(pooling, count, sets):
    """Check 23, for any K."""
    alone, _ = gradients(task_of(recipe_of(pooling=pooling, count=count)))
    watched = task_of(recipe_of(pooling=pooling, count=count, auxiliary=sets))
    beside, found = gradients(watched)
    for name, gradient in alone.items():
        assert torch.allclose(beside[name], gradient, atol=1e-6), name
    assert found.components["auxiliary"] > 0
    named = {"+".join(map(str, ranks)): ranks for ranks in sets}
    assert {name.split(".")[1] for name in beside if name.startswith("auxiliary")} == named.keys()
    network, pixels = watched.module.network.eval(), watched.batch([0, 1], 0).pixels
    with torch.no_grad():
        found = network.represent(pixels)
        joined, width = found.joined(), network.read(pixels).shape[1]
        assert joined.shape == (2, count * width)
        said = watched.module.watched(found)
        for name, ranks in named.items():
            head = watched.module.auxiliary[name]
            read = torch.cat([joined[:, width * (rank - 1) : width * rank] for rank in ranks], dim=1)
            assert torch.allclose(said[name], read @ head.weight.T + head.bias, atol=1e-5)


def test_the_branch_learns_by_answers_of_its_own():
    task = task_of(recipe_of(pooling="branch"))
    grads, found = gradients(task)
    assert found.components["branch"] > 0
    assert float(grads["network.pooling.to_logits.weight"].abs().max()) > 0
    assert found.loss == pytest.approx(found.components["branch"] + found.components["cross-entropy"], rel=1e-5)


@pytest.mark.parametrize("batch_norm", [None, "frozen"])
def test_parts_of_a_step_give_the_gradient_of_the_whole(batch_norm):
    """Check 22: without batch norm, and with its statistics frozen."""
    network = None if batch_norm is None else normed()
    if network is not None:
        network[3].p = 0.0
    task = task_of(recipe_of(auxiliary=((1,),)), network, teacher=teacher_of())
    whole, found = gradients(task)
    for parts in (2, 5):
        cut, again = gradients(task, parts)
        assert again.loss == pytest.approx(found.loss, abs=1e-6)
        for name, gradient in whole.items():
            assert torch.allclose(cut[name], gradient, atol=1e-6), name


@pytest.mark.parametrize(("batch_norm", "moved"), [("frozen", False), ("trained", True)])
def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_weights(batch_norm, moved):
    task = task_of(recipe_of(batch_norm=batch_norm, pooling="bilinear"), normed())
    norms = {name: part for name, part in task.module.named_modules() if isinstance(part, _BatchNorm)}
    before = {name: part.running_mean.clone() for name, part in norms.items()}
    grads, _ = gradients(task)
    for name, part in norms.items():
        assert torch.equal(part.running_mean, before[name]) == (not moved and "backbone" in name)
        assert f"{name}.weight" in grads
    assert any(isinstance(part, nn.Dropout) and part.training for part in task.module.modules())


def test_a_finer_grid_has_the_same_weights():
    """Check 20, of the whole trainee: names and shapes."""
    low, high = plan_of(recipe_of(), normed()), plan_of(recipe_of(strides=(1, 1)), normed())
    shapes = [{name: value.shape for name, value in plan.trainee.state_dict().items()} for plan in (low, high)]
    assert shapes[0] == shapes[1]
    grids = [plan.classifier.network.read(plan.classifier.picture()).shape[2:] for plan in (low, high)]
    assert grids == [(8, 8), (32, 32)]
