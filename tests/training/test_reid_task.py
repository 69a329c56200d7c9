"""The loss of re-identification, as a task of the loop."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from regard.attention.distillation import distillation_loss
from regard.errors import ClassifierError, UnsupportedError
from regard.training.reid.plan import ReidPlan
from regard.training.reid.recipe import ReidRecipe
from regard.training.steps import Settings, Steps

from ..attention.test_triplets import by_loops
from .persons import LEARNT, part, plan_of, recipe_of, start


def task_of(recipe=None, teacher=None, seed=0):
    return plan_of(recipe, teacher, seed).task(part())


def test_an_example_is_a_person_with_some_photos():
    task = task_of()
    batch = task.batch([2, 0], 1)
    assert task.examples == len(LEARNT)
    assert batch.classes.tolist() == [2, 2, 2, 0, 0, 0]
    assert tuple(batch.pixels.shape) == (6, 3, 32, 16)
    assert len(torch.unique(batch.pixels.flatten(1), dim=0)) == 6


def test_photos_hang_on_seed_person_and_epoch_alone():
    task, other = task_of(), task_of(seed=1)
    first = task.batch([2, 0], 1).pixels
    torch.rand(3)
    assert torch.equal(task.batch([0], 1).pixels, first[3:])
    assert not torch.equal(task.batch([2, 0], 2).pixels, first)
    assert not torch.equal(other.batch([2, 0], 1).pixels, first)


def test_over_the_epochs_every_photo_is_seen_and_none_twice_in_a_step():
    task = task_of(recipe_of(photos=4))
    drawn = [task._drawn(1, epoch) for epoch in range(12)]
    assert all(len({*photos}) == 4 for photos in drawn)
    assert {photo for photos in drawn for photo in photos} == {*task.photos_of[1]}
    assert {part().classes[photo] for photo in task.photos_of[1]} == {1}
    places = [[task.photos_of[person].index(photo) for photo in task._drawn(person, 0)] for person in range(3)]
    assert places[0] != places[1] or places[1] != places[2]


def test_of_a_person_with_too_few_photos_each_is_taken_about_as_often():
    task = task_of(recipe_of(photos=8))
    for epoch in range(5):
        photos = task._drawn(0, epoch)
        times = [photos.count(photo) for photo in task.photos_of[0]]
        assert (len(photos), sorted(times)) == (8, [1, 1, 1, 1, 2, 2])


def in_front(task, pixels):
    """The joined vectors as a neck that does nothing gives them."""
    pooling = task.module.network.pooling
    neck, pooling.neck = pooling.neck, nn.Identity()
    pooling.neck.weight = neck.weight
    try:
        return task.module.network.represent(pixels).joined()
    finally:
        pooling.neck = neck


def test_the_loss_is_the_cross_entropy_behind_the_neck_and_the_triplets_in_front_of_it():
    task = task_of()
    batch = task.batch([2, 0, 1], 0)
    losses, components = task.losses(batch)
    joined = in_front(task, batch.pixels)
    neck = task.module.network.pooling.neck
    behind = (joined - joined.mean(0)) / (joined.var(0, correction=0) + 1e-5).sqrt() * neck.weight
    true = functional.cross_entropy(behind @ task.module.head.weight.T, batch.classes, reduction="none")
    triplets = torch.tensor(by_loops(joined.tolist(), batch.classes.tolist(), 0.3))
    assert task.module.head.bias is None
    assert list(components) == list(task.components) == ["cross-entropy", "triplet"]
    assert triplets.any()
    expected = {"cross-entropy": true, "triplet": triplets}
    for name, values in expected.items():
        by_person = [values[3 * place : 3 * place + 3].mean() for place in range(3)]
        assert torch.allclose(components[name], torch.stack(by_person), atol=1e-4), name
    assert torch.allclose(losses, components["cross-entropy"] + components["triplet"])


def test_a_teachers_answers_about_the_same_photos_are_learnt_and_it_gets_no_gradient():
    teacher = plan_of(seed=4).classifier
    teacher.network.pooling.neck.running_mean += 0.5
    task = task_of(recipe_of(temperature=3.0, share=0.7), teacher)
    task.module.eval()
    batch = task.batch([2, 0], 0)
    losses, components = task.losses(batch)
    losses.sum().backward()
    student, taught = task.subject(batch.pixels), teacher(batch.pixels)
    expected, distilled, _ = distillation_loss(student, taught, batch.classes, 3.0, 0.7)
    assert list(components) == ["cross-entropy", "distillation", "triplet"]
    assert torch.allclose(components["distillation"], distilled.unflatten(0, (2, 3)).mean(1), atol=1e-5)
    assert torch.allclose(losses, expected.unflatten(0, (2, 3)).mean(1) + components["triplet"], atol=1e-5)
    assert float(distilled.detach().sum()) > 1e-3
    assert all(weight.grad is None for weight in (*teacher.network.parameters(), *teacher.head.parameters()))
    assert all(weight.grad is not None for weight in (task.module.head.weight, task.module.network.pooling.neck.weight))


@pytest.mark.parametrize("pooling", ["representative", "bilinear", "branch", "mean"])
def test_every_pooling_can_be_trained(pooling):
    count = 2 if pooling in ("representative", "bilinear") else 1
    task = task_of(recipe_of(pooling=pooling, count=count))
    assert task.components[-1] == "triplet"
    assert ("branch" in task.components) == (pooling == "branch")
    steps = Steps(task, torch.optim.SGD(task.module.parameters(), lr=0.1), Settings(1, task.examples))
    found = steps.gradients(0)
    assert all(weight.grad.isfinite().all() for weight in task.module.parameters())
    assert found.components["triplet"] > 0


def test_triplets_and_neck_see_a_part_of_a_step_at_a_time():
    """With one person in a part there is no other: which shows what a part sees."""
    task = task_of()
    optimizer = torch.optim.SGD(task.module.parameters(), lr=0.1)
    whole = Steps(task, optimizer, Settings(1, 3)).gradients(0)
    cut = Steps(task, optimizer, Settings(1, 3, accumulate=3)).gradients(0)
    assert whole.components["triplet"] > 0
    assert cut.components["triplet"] == 0
    assert cut.components["cross-entropy"] != pytest.approx(whole.components["cross-entropy"], rel=1e-3)


def test_steps_have_more_persons_where_one_would_be_left_alone():
    """Persons in all, persons of a step asked for, and those of each step of an epoch."""
    for persons, batch, sizes in ((3, 2, [3]), (4, 2, [2, 2]), (5, 2, [3, 2]), (5, 4, [5]), (33, 16, [17, 16])):
        names = [f"person {number}" for number in range(persons)]
        settings = ReidPlan.of(start(), None, names, recipe_of(batch=batch), 0).settings(1)
        steps = settings.steps_an_epoch(persons)
        assert [min(settings.batch, persons - settings.batch * step) for step in range(steps)] == sizes


def test_the_backbones_batch_norm_stays_frozen_and_the_necks_learns():
    plan = plan_of(begun=start(norm=True))
    task = plan.task(part())
    before = {name: value.clone() for name, value in task.module.state_dict().items() if "running" in name}
    task.losses(task.batch([0, 1], 0))
    after = task.module.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"network.pooling.neck.running_mean", "network.pooling.neck.running_var"}
    plan_of(recipe_of(batch_norm="trained"), begun=start(norm=True)).task(part()).module.network.backbone.apply(
        lambda module: pytest.fail("in eval mode") if not module.training else None
    )


def test_a_frame_of_its_own_and_what_the_preparation_says_of_it():
    plan = plan_of(recipe_of(frame=(48, 24)))
    assert plan.classifier.preparation.frame == (48, 24)
    assert plan.classifier.preparation.fit == "squash"
    assert plan.classifier.name == "tiny, BR-NPA, re-ID"
    assert plan.words()["recipe"]["frame"] == [48, 24]
    assert start().preparation.frame == (32, 16)


def test_a_student_begins_with_its_teachers_backbone_neck_and_head():
    teacher = plan_of(seed=4).classifier
    teacher.network.pooling.neck.running_mean += 0.5
    student = plan_of(recipe_of(strides=(1,)), teacher, begun=teacher).classifier
    assert student.name == "tiny, BR-NPA, re-ID, 16×8"
    for part_of in ("pooling", "backbone"):
        own = getattr(student.network, part_of).state_dict()
        for name, value in getattr(teacher.network, part_of).state_dict().items():
            assert torch.equal(own[name], value), name
    assert torch.equal(student.head.weight, teacher.head.weight)
    other = plan_of(recipe_of(count=3), begun=teacher).classifier
    assert not other.network.pooling.neck.running_mean.any()


def test_a_teacher_of_other_persons_is_refused():
    teacher = ReidPlan.of(start(), None, ("ann", "bob", "zoe"), recipe_of(), 0).classifier
    with pytest.raises(ClassifierError, match="does not answer about these classes"):
        plan_of(teacher=teacher)
    with pytest.raises(ClassifierError, match="the same pixels"):
        plan_of(recipe_of(frame=(48, 24)), plan_of(seed=4).classifier)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"photos": 1}, "photos of a recipe"),
        ({"photos": 2.0}, "photos of a recipe"),
        ({"batch": 1}, "batch of a recipe"),
        ({"margin": -1}, "margin"),
        ({"frame": (0, 5)}, "frame of a recipe"),
        ({"frame": 128}, "frame of a recipe"),
        ({"frame": (1, 2, 3)}, "frame of a recipe"),
        ({"select": "random"}, "select of a recipe"),
        ({"auxiliary": ((1,),)}, "auxiliary of a recipe"),
        ({"count": 0}, "count of a recipe"),
    ],
)
def test_what_cannot_be_is_refused(changed, said):
    with pytest.raises(UnsupportedError, match=said):
        ReidRecipe(**changed)
