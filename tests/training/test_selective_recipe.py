"""Recipes of selective models: phases, shares, words, and what cannot be."""

import json
from dataclasses import fields

import pytest

from regard.errors import UnsupportedError
from regard.training.selective.recipe import (
    Phase,
    SelectiveRecipe,
    alternating,
    hybrid,
    stage_wise,
)


def test_epochs_belong_to_phases_in_order():
    recipe = SelectiveRecipe(hybrid(2, 3))
    assert recipe.epochs == 5
    assert [recipe.phase(epoch).paradigm for epoch in range(6)] == ["soft"] * 3 + ["marginal"] * 3
    assert [recipe.predicted(epoch) for epoch in (2, 3)] == ["aggregate", "chosen"]
    assert SelectiveRecipe(hybrid(2, 3), prediction="mixture").predicted(1) == "mixture"


def test_schedules_of_who_learns():
    assert [phase.learns for phase in stage_wise(2, 3, "hard")] == ["classifier", "focus"]
    turns = alternating(2, 5)
    assert [(turn.learns, turn.epochs) for turn in turns] == [("classifier", 2), ("focus", 2), ("classifier", 1)]


def test_the_share_of_entropy_grows_in_equal_steps():
    recipe = SelectiveRecipe((Phase(10),), entropy=0.02, warm_up=4)
    assert [recipe.share(epoch) for epoch in (1, 2, 3, 5, 6)] == pytest.approx([0, 0.005, 0.01, 0.02, 0.02])
    assert SelectiveRecipe(entropy=0.02).share(1) == 0.02


def test_words_are_json_and_say_all():
    recipe = SelectiveRecipe(
        (Phase(100, "hard"), Phase(1, learns="focus")), 0.1, 2, 3, "none", "chosen", "sgd", 0.01, 20, None
    )
    words = json.loads(json.dumps(recipe.words()))
    phases = tuple(Phase(**phase) for phase in words.pop("phases"))
    assert SelectiveRecipe(phases=phases, **words) == recipe
    assert [*words] == [field.name for field in fields(SelectiveRecipe)][1:]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Phase(0), "epochs"),
        (lambda: Phase(True), "epochs"),
        (lambda: Phase(1, "softly"), "paradigm"),
        (lambda: Phase(1, learns="none"), "learns"),
        (lambda: SelectiveRecipe(()), "phases"),
        (lambda: SelectiveRecipe([Phase(1)]), "phases"),
        (lambda: SelectiveRecipe(entropy=1.5), "entropy"),
        (lambda: SelectiveRecipe(entropy=float("nan")), "entropy"),
        (lambda: SelectiveRecipe(warm_up=-1), "warm_up"),
        (lambda: SelectiveRecipe(samples=1), "draws"),
        (lambda: SelectiveRecipe(baseline="mean"), "baseline"),
        (lambda: SelectiveRecipe(batch=0), "batch"),
        (lambda: SelectiveRecipe(rate=0.0), "rate"),
        (lambda: SelectiveRecipe(stop=-0.1), "stop"),
        (lambda: SelectiveRecipe(optimizer="lamb"), "optimizer"),
        (lambda: SelectiveRecipe(prediction="best"), "prediction"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(UnsupportedError, match=said):
        make()
