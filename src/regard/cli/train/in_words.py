"""Recipes and epochs of networks with representatives, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regard.training import BRNPARecipe


def recipe_in_words(recipe: BRNPARecipe, name: str, grid: tuple[int, int], taught: bool) -> str:
    """The recipe in force, one line."""
    ablated = ", ".join(
        [*(["random places"] if recipe.select == "random" else []), *(["not refined"] if not recipe.refine else [])]
    )
    distilled = f"; distilled at temperature {recipe.temperature:g}, share {recipe.share:g}" if taught else ""
    return (
        f"recipe: {name}: {recipe.pooling} pooling of {grid[0]}×{grid[1]} places, maps {recipe.maps}"
        + (f" ({ablated})" if ablated else "")
        + f"{distilled}; dropout {recipe.dropout:g}; batch norm {recipe.batch_norm}; {recipe.optimizer} at rate "
        f"{recipe.rate:g}; epochs {recipe.epochs}; batch {recipe.batch}; augmentation "
        + (", ".join(recipe.augmentation.changes) or "none")
    )


def epoch_in_words(number: int, epochs: int, figures: Mapping[str, float]) -> str:
    """The figures of an epoch, one line."""
    place = "before training" if number == 0 else f"epoch {number} of {epochs}"
    agreed = f", agreement with the teacher {figures['agreement']:.1%}" if "agreement" in figures else ""
    return f"{place}: cross-entropy {figures['cross_entropy']:.3f}, accuracy {figures['accuracy']:.1%}{agreed}"
