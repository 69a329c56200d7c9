"""BR-NPA from end to end on pictures of three coloured parts: checks 31 and 32 of its specification."""

import numpy as np
import pytest
import torch
from torch import nn

import regard
from regard.training.brnpa.figures import AGREEMENT
from regard.training.brnpa.fit import fit_brnpa
from regard.training.brnpa.recipe import BRNPARecipe

SIDE, CELL = 32, 4
CONTRAST = (240, 150, 90)
"""Of the three parts: rank follows it."""


def picture(seed):
    """(uint8 picture, which colour is the brightest part, the parts' masks): black, but for three parts of one colour
    each, of all three colours, in three rows, of sizes that say nothing."""
    random = np.random.default_rng(seed)
    colours, rows = random.permutation(3), random.permutation(3)
    array, masks = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((3, SIDE, SIDE), bool)
    for rank, (colour, row) in enumerate(zip(colours, rows, strict=True)):
        width = CELL * random.integers(1, 7)
        left, top = CELL * random.integers(0, 8 - width // CELL + 1), 3 * CELL * row
        masks[rank, top : top + 2 * CELL, left : left + width] = True
        array[masks[rank], colour] = CONTRAST[rank]
    return array, int(colours[0]), masks


PICTURED = [picture(seed) for seed in range(90)]
PHOTOS = [array for array, _, _ in PICTURED]
LABELS = [["red", "green", "blue"][top] for _, top, _ in PICTURED]
PLAIN = regard.training.Augmentation(crop=False, flip=True, brightness=0.0, saturation=0.0)
QUICK = {"epochs": 6, "batch": 16, "rate": 1e-4, "head_rate": 300.0, "augmentation": PLAIN}


def start(stride=1):
    """Colours, averaged over cells: what a network would have learnt to see."""
    colours = nn.Conv2d(3, 3, CELL, stride=CELL)
    with torch.no_grad():
        colours.weight.copy_(torch.eye(3)[..., None, None].expand(-1, -1, CELL, CELL) / CELL**2)
        colours.bias.zero_()
    further = nn.Conv2d(3, 3, 1, stride=stride)
    with torch.no_grad():
        further.weight.copy_(torch.eye(3)[..., None, None])
        further.bias.zero_()
    network = nn.Sequential(colours, nn.ReLU(), further, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preparation = regard.Preparation(size=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, crop=1.0)
    return regard.Classifier(nn.Sequential(*network, nn.Linear(3, 3)).eval(), preparation)


def trained(**changed):
    recipe = BRNPARecipe(**QUICK | {"epochs": 12} | changed)
    return fit_brnpa(start(), PHOTOS, LABELS, recipe=recipe, held_out=0.3)


def test_representatives_beat_the_mean_and_show_the_parts_in_the_order_of_their_contrast():
    """Check 31."""
    ranked, mean = trained(), trained(pooling="mean")
    assert ranked.worth.held_out.overall.value > mean.worth.held_out.overall.value + 0.2
    assert ranked.worth.held_out.overall.value > 0.95
    subject = ranked.classifier
    with torch.no_grad():
        found, _ = subject.represent(subject.prepare(PHOTOS[:20]))
    shown = (found.maps * found.norms[:, None]).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3).numpy()
    for maps, (_, _, masks) in zip(shown, PICTURED, strict=False):
        for each, mask in zip(maps, masks, strict=True):
            over = each > each.max() / 2
            assert (over & mask).sum() / (over | mask).sum() > 0.8


@pytest.fixture(scope="module")
def teacher():
    """On a coarse grid, by the same labels for a while, so that it is wrong about some."""
    return fit_brnpa(
        start(stride=2), PHOTOS, LABELS, recipe=BRNPARecipe(**QUICK | {"epochs": 2}), held_out=0.3
    ).classifier


def test_a_distilled_student_answers_more_as_its_teacher_than_one_that_knows_the_labels_alone(teacher):
    """Check 32."""
    agreed = []
    for share in (0.0, 1.0):
        recipe = BRNPARecipe(**QUICK, strides=(1,), share=share, temperature=2.0)
        student = fit_brnpa(start(stride=2), PHOTOS, LABELS, teacher=teacher, recipe=recipe, held_out=0.3)
        (figure,) = (each for each in student.worth.beside if each.name == AGREEMENT)
        agreed.append(figure.value)
        assert student.classifier.network.read(student.classifier.picture()).shape[2:] == (8, 8)
    assert agreed[1] > agreed[0] + 0.1
