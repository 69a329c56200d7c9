"""Recipes of BR-NPA: what cannot be is refused with its name."""

import json

import pytest

from regard.errors import UnsupportedError
from regard.training.brnpa.recipe import BRNPA_RECIPES, PAPER_HEADS, BRNPARecipe

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
    {"select": "random", "pooling": "bilinear"},
    {"refine": False, "pooling": "mean"},
    {"count": 2, "pooling": "branch"},
]


@pytest.mark.parametrize("changed", REFUSED, ids=str)
def test_what_cannot_be_is_refused_with_its_name(changed):
    with pytest.raises(UnsupportedError) as told:
        BRNPARecipe(**changed)
    assert next(iter(changed)) in told.value.problem


def test_every_recipe_can_be_said_in_json():
    for recipe in (*BRNPA_RECIPES.values(), BRNPARecipe(strides=(1, 1), auxiliary=PAPER_HEADS)):
        words = json.loads(json.dumps(recipe.words()))
        assert words["auxiliary"] == [list(ranks) for ranks in recipe.auxiliary]
        assert words["augmentation"]["saturation"] == 0.5


def test_maps_are_counted_where_there_are_several():
    assert [BRNPARecipe(pooling=name).maps for name in ("representative", "bilinear", "branch", "mean")] == [3, 3, 1, 1]
