"""The loss of episodes, as a task of the loop."""

import pytest
import torch
from torch.nn import functional

from regard.attention.cross_attention import CrossAttention
from regard.attention.representative import representative_pooling
from regard.training.brnpa.augmentation import Augmentation
from regard.training.few_shot.task import FewShot, Learner

from ..attention.test_distillation import by_hand
from ..explainers.networks import loud
from .fewshot_trainings import NAMES, classifier_with, gradients, part_of, recipe_of, signed, task_of


def logits_by_loops(vectors, recipe):
    """Of one episode's vectors (N, shots + queries, K, C), query by query: what the formula says."""
    ways, count, scale = recipe.ways, vectors.shape[2], recipe.scale
    rows = []
    for asked in range(ways):
        for query in range(recipe.shots, recipe.shots + recipe.queries):
            row = []
            for label in range(ways):
                ranks = [
                    functional.cosine_similarity(
                        vectors[asked, query, rank],
                        sum(
                            vectors[label, shot, rank] / vectors[label, shot, rank].norm()
                            for shot in range(recipe.shots)
                        ),
                        dim=0,
                    )
                    for rank in range(count)
                ]
                row.append(scale * sum(ranks) / count)
            rows.append(torch.stack(row))
    return torch.stack(rows)


def vectors_of(classifier, pixels, recipe):
    """One episode's, in eval mode."""
    with classifier.untouched(), torch.no_grad():
        found = classifier.represent(pixels)[0].vectors
    return found.unflatten(0, (recipe.ways, recipe.shots + recipe.queries)).double()


@pytest.mark.parametrize("shots", [1, 2])
def test_the_loss_is_the_mean_cross_entropy_of_an_episode_s_queries(shots):
    recipe = recipe_of(shots=shots)
    task = task_of(recipe)
    task.module.eval()
    batch = task.batch([0, 2], 1)
    losses, components = task.losses(batch)
    each = recipe.ways * (shots + recipe.queries)
    assert len(batch.pixels) == 2 * each
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    for place, number in enumerate((3, 5)):  # episodes 0 and 2 of the second epoch of three
        episode = task.episodes.numbered(number)
        photos = [task.part.photos[photo] for photo in episode.photos.flatten()]
        assert torch.equal(
            batch.pixels[place * each : (place + 1) * each], task.subject.prepare(photos).as_subclass(torch.Tensor)
        )
        vectors = vectors_of(task.subject, batch.pixels[place * each : (place + 1) * each], recipe)
        expected = functional.cross_entropy(logits_by_loops(vectors, recipe), truth)
        assert components["cross-entropy"][place].item() == pytest.approx(float(expected), abs=1e-5)
    answers = task.subject(batch.pixels)
    beside = functional.cross_entropy(answers, batch.classes, reduction="none").view(2, -1).mean(dim=1)
    assert torch.allclose(components["head"], beside, atol=1e-5)
    assert torch.allclose(losses, components["cross-entropy"] + components["head"])
    assert list(components) == list(task.components)


def test_the_branch_learns_by_the_classes_trained_on_and_moves_the_network():
    task = task_of(recipe_of(pooling="branch"))
    task.module.eval()
    batch = task.batch([0, 2], 0)
    losses, components = task.losses(batch)
    assert list(components) == list(task.components) == ["cross-entropy", "head", "branch"]
    assert torch.allclose(losses, sum(components.values()))
    answers = task.module.network.represent(batch.pixels).logits
    expected = functional.cross_entropy(answers, batch.classes, reduction="none").view(2, -1).mean(dim=1)
    assert torch.allclose(components["branch"], expected, atol=1e-6)
    kept = [weight for weight in task.module.network.backbone.parameters() if weight.requires_grad]
    moved = torch.autograd.grad(components["branch"].sum(), kept, allow_unused=True)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in moved)


def test_the_head_learns_beside_and_moves_nothing_else():
    task = task_of()
    task.module.eval()
    losses, components = task.losses(task.batch([0], 0))
    weights = [*task.module.network.parameters()]
    kept = [weight for weight in weights if weight.requires_grad]
    moved = torch.autograd.grad(components["head"].sum(), kept, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in moved)
    (of_head,) = torch.autograd.grad(losses.sum(), [task.module.head.weight], retain_graph=True)
    assert float(of_head.abs().max()) > 0
    of_network = torch.autograd.grad(components["cross-entropy"].sum(), kept, allow_unused=True)
    assert any(gradient is not None and float(gradient.abs().max()) > 0 for gradient in of_network)


def test_a_student_is_taught_by_the_teacher_s_own_answers_and_not_by_its_own():
    """Fault 4 of the published code: there the teacher's logits are the student's, and nothing is taught."""
    recipe = recipe_of(temperature=3.0, share=0.7, scale=40.0)
    teacher = classifier_with(recipe, seed=4)
    loud(teacher.network, 9)
    teacher.network.train()
    task = task_of(recipe, teacher=teacher)
    task.module.eval()
    batch = task.batch([1], 0)
    losses, components = task.losses(batch)
    losses.sum().backward()
    own, taught = (logits_by_loops(vectors_of(each, batch.pixels, recipe), recipe) for each in (task.subject, teacher))
    assert not torch.allclose(own, taught, atol=0.1)
    expected = by_hand(own, taught, torch.tensor([0, 0, 1, 1, 2, 2]), 3.0, 0.7).mean()
    assert (losses - components["head"]).item() == pytest.approx(float(expected), abs=1e-4)
    assert components["distillation"].item() > 1e-2
    assert all(weight.grad is None for weight in (*teacher.network.parameters(), *teacher.head.parameters()))
    assert teacher.network.training  # as the caller left it
    assert any(weight.grad is not None for weight in task.module.network.parameters())


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it():
    recipe = recipe_of(share=1.0)
    teacher = classifier_with(recipe)
    losses, components = task_of(recipe, teacher=teacher).losses(task_of(recipe).batch([0, 1], 0))
    assert components["distillation"].abs().max().item() < 1e-4
    assert torch.allclose(losses - components["head"], components["distillation"], atol=1e-5)


def test_episodes_hang_on_epoch_index_and_seed_and_pictures_on_content_and_episode():
    recipe = recipe_of(augmentation=Augmentation())
    task = task_of(recipe)
    first = task.batch([1, 0], 1).pixels
    torch.rand(3)
    again = task.batch([0, 1], 1).pixels
    assert torch.equal(torch.cat([again[9:], again[:9]]), first)
    for other in (task.batch([1, 0], 0), task_of(recipe, seed=1).batch([1, 0], 1)):
        assert not torch.equal(other.pixels, first)


@pytest.mark.parametrize("pooling", ["representative", "mean"])
def test_parts_of_a_step_give_the_gradient_of_the_whole(pooling):
    task = task_of(recipe_of(pooling=pooling))
    whole, found = gradients(task)
    cut, again = gradients(task, 3)
    assert again.loss == pytest.approx(found.loss, abs=1e-6)
    for name, gradient in whole.items():
        assert torch.allclose(cut[name], gradient, atol=1e-6), name


def test_features_of_either_sign_are_pooled_without_negative_weights_and_learn():
    """Fault 19: as published, similarities below zero make weights negative and what was explained grow again."""
    task = task_of(recipe_of(), signed())
    pixels = task.batch([0], 0).pixels
    with torch.no_grad():
        features, found = task.module.network.read(pixels), task.module.network.represent(pixels)
    assert float(representative_pooling(features, negative="signed").maps.min()) < -1e-4
    assert float(found.maps.min()) >= 0
    assert bool((found.scores[:, 1:] <= found.scores[:, :-1] + 1e-6).all())
    found_gradients, _ = gradients(task)
    assert all(bool(gradient.isfinite().all()) for gradient in found_gradients.values())
    assert float(found_gradients["network.backbone.0.weight"].abs().max()) > 0


def test_cross_attention_decides_by_places_and_learns():
    recipe = recipe_of(pooling="mean", comparison="cross-attention", shots=2)
    subject = classifier_with(recipe)
    crossed = CrossAttention(64)
    task = FewShot(Learner(subject.network, subject.head, recipe, crossed), None, part_of(), subject, recipe, 0, NAMES)
    found, _ = gradients(task)
    assert all(float(found[f"crossed.fusion.{layer}.weight"].abs().max()) > 0 for layer in (0, 2))
    assert float(found["network.backbone.0.weight"].abs().max()) > 0
    task.module.eval()
    batch = task.batch([0], 0)
    features = subject.network.read(batch.pixels).unflatten(0, (1, 3, 4))
    logits = crossed(features[:, :, :2].mean(dim=2), features[:, :, 2:].flatten(1, 2)).logits(recipe.scale)
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    assert task.losses(batch)[1]["cross-entropy"].item() == pytest.approx(
        float(functional.cross_entropy(logits[0].detach(), truth)), abs=1e-5
    )
