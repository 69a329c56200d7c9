"""Recipes of BR-NPA: what cannot be is refused with its name."""

import json
import math
from dataclasses import fields

import pytest

from regard.errors import UnsupportedError
from regard.training import Recipe
from regard.training.brnpa.augmentation import Augmentation
from regard.training.brnpa.recipe import BRNPA_RECIPES, PAPER_HEADS, BRNPARecipe
from regard.training.few_shot.recipe import FewShotRecipe
from regard.training.reid.recipe import ReidRecipe

REFUSED = [
    {"pooling": "maximum"},
    {"select": "first"},
    {"batch_norm": "none"},
    {"optimizer": "adam"},
    {"schedule": "none"},
    {"count": 0},
    {"count": 2.0},
    {"epochs": True},
    {"batch": 0},
    {"rate": 0},
    {"rate": float("nan")},
    {"head_rate": -1},
    {"weight_decay": -1e-3},
    {"dropout": 1},
    {"temperature": 0},
    {"share": 2},
    {"auxiliary": ((4,),)},
    {"auxiliary": ((0,),)},
    {"auxiliary": ((),)},
    {"auxiliary": ((1, 1),)},
    {"auxiliary": ((1,), (1,))},
    {"auxiliary": ((2,),), "pooling": "mean"},
    {"dilation": True},
    {"dilation": "no", "strides": (1, 1)},
    {"refine": "no"},
    {"layer": 3},
    {"strides": "1"},
    {"strides": ()},
    {"strides": (1, 0)},
    {"strides": True},
    {"auxiliary": (1, 2)},
    {"auxiliary": 1},
    {"auxiliary": "1"},
    {"augmentation": "none"},
    {"select": "random", "pooling": "bilinear"},
    {"refine": False, "pooling": "mean"},
    {"count": 2, "pooling": "branch"},
]


@pytest.mark.parametrize("changed", REFUSED, ids=str)
def test_what_cannot_be_is_refused_with_its_name(changed):
    with pytest.raises(UnsupportedError) as told:
        BRNPARecipe(**changed)
    assert next(iter(changed)) in told.value.problem


def test_one_stride_and_lists_are_taken_as_what_they_mean():
    recipe = BRNPARecipe(strides=4, auxiliary=[[1], [2, 3]])
    assert (recipe.strides, recipe.auxiliary) == ((4,), ((1,), (2, 3)))
    assert BRNPARecipe(strides=[1, 1]) == BRNPARecipe(strides=(1, 1))
    assert BRNPARecipe(strides=4).words()["strides"] == [4]


@pytest.mark.parametrize("name", ["crop", "flip"])
def test_an_augmentation_crops_and_flips_or_does_not(name):
    with pytest.raises(UnsupportedError, match=f"{name} is done or not"):
        Augmentation(**{name: "no"})


def floats_of(recipe):
    """The settings that are measured, not counted."""
    return [each.name for each in fields(recipe) if type(getattr(recipe, each.name)) is float]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in (Augmentation, BRNPARecipe, FewShotRecipe, ReidRecipe, Recipe)
        for name in floats_of(kind())
    ],
)
def test_a_number_of_any_recipe_is_none_that_is_not_finite(kind, name, wrong):
    with pytest.raises(UnsupportedError) as told:
        kind(**{name: wrong})
    assert name.replace("_", " ") in told.value.problem.replace("_", " ")
    assert str(wrong) in told.value.came


def test_every_recipe_can_be_said_in_json():
    for recipe in (*BRNPA_RECIPES.values(), BRNPARecipe(strides=(1, 1), auxiliary=PAPER_HEADS)):
        words = json.loads(json.dumps(recipe.words()))
        assert words["auxiliary"] == [list(ranks) for ranks in recipe.auxiliary]
        assert words["augmentation"]["saturation"] == 0.5


def test_maps_are_counted_where_there_are_several():
    assert [BRNPARecipe(pooling=name).maps for name in ("representative", "bilinear", "branch", "mean")] == [3, 3, 1, 1]
