"""Trainings on a finer grid begin with batch norm measured anew, on the photos that are learnt and no others."""

import pytest
import torch

from regard.training.brnpa.fit import fit_brnpa
from regard.training.few_shot.fit import fit_few_shot
from regard.training.reid.fit import fit_reid

from . import brnpa_trainings, fewshot_trainings, persons

FINER = {"strides": (1, 1), "epochs": 1, "batch_norm": "frozen"}
"""The statistics stay what was measured before the first step."""


def classification():
    subject, held_out = brnpa_trainings.start(brnpa_trainings.normed()), [place % 4 == 0 for place in range(24)]
    photos, labels = brnpa_trainings.PHOTOS, brnpa_trainings.LABELS
    recipe = brnpa_trainings.recipe_of(**FINER)
    trained = fit_brnpa(subject, photos, labels, recipe=recipe, held_out=held_out, choosing=0)
    return subject, [photo for photo, apart in zip(photos, held_out, strict=True) if not apart], trained


def few_shot():
    subject, held_out = fewshot_trainings.start(brnpa_trainings.normed()), fewshot_trainings.HELD_OUT
    photos, labels = fewshot_trainings.PHOTOS, fewshot_trainings.LABELS
    recipe = fewshot_trainings.recipe_of(**FINER)
    trained = fit_few_shot(subject, photos, labels, recipe=recipe, held_out=held_out, choosing=0)
    return subject, [photo for photo, apart in zip(photos, held_out, strict=True) if not apart], trained


def reid():
    subject, seen = persons.start(norm=True), persons.sightings()
    trained = fit_reid(subject, seen, recipe=persons.recipe_of(**FINER))
    return subject, [each.photo for each in seen if each.split == "train"], trained


@pytest.mark.parametrize("task", [classification, few_shot, reid], ids=lambda task: task.__name__)
def test_the_first_norm_has_the_mean_of_what_the_first_filters_give_for_the_photos_learnt(task):
    subject, learnt, trained = task()
    with torch.no_grad():
        given = subject.network[0](subject.prepare(learnt).as_subclass(torch.Tensor))
    found = trained.classifier.network.backbone[1].running_mean
    assert torch.allclose(found, given.mean(dim=(0, 2, 3)), atol=1e-5)
    assert not torch.allclose(found, subject.network[1].running_mean, atol=1e-2)
