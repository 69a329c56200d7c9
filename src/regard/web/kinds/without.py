"""The classes of a photo without some of its cells: two passes, the whole photo's among them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from regard.errors import TargetError
from regard.images import Pixels
from regard.labels import class_count, class_index
from regard.models.classifier import Classifier
from regard.models.dropping import dropped
from regard.question import ask, default_targets
from regard.targets import Class, Output
from regard.web import schema, told
from regard.web.desk import Desk
from regard.web.jobs import Result, Work
from regard.web.kinds.asked import class_answers, fill_of, tokens_to_drop
from regard.web.visitors import Visitor

LIKELIEST = 5


def without(asked: schema.Without, visitor: Visitor, desk: Desk) -> Work:
    """The work of a request."""
    served, photo = desk.classifiers[asked.classifier], desk.photo(asked.photo, visitor)
    classifier, (height, width) = served.classifier, asked.grid
    class_count(classifier)
    for index in asked.indices:
        class_index(index, classifier)
    outside = [cell for cell in asked.removed if cell >= height * width]
    if outside:
        raise TargetError("a cell lies outside the grid", came=str(outside[0]), expected=f"0 to {height * width - 1}")
    kept = torch.ones(height * width)
    kept[asked.removed] = 0
    if asked.removal == "tokens":
        tokens_to_drop(classifier)

    def run(_: object) -> Result:
        pixels = served.pixels(photo)
        with torch.no_grad():
            whole = classifier(pixels)
            left = _left(classifier, pixels, kept.view(height, width), asked.removal)
        return Result(told.ClassesWithout(classes=_answers(classifier, whole, left, asked.indices)))

    return served.work("without", run, 2, quick=True, alike=(asked.removal,), photos=[photo])


def _left(classifier: Classifier, pixels: Pixels, kept: Tensor, removal: schema.Removal) -> Tensor:
    """Logits (1, C) of what is left. Cells of a transformer's own grid are its patches."""
    plain, tokens = pixels.as_subclass(Tensor), classifier.tokens
    covered = [*plain.shape[2:]]
    if tokens is not None and tuple(kept.shape) == tokens.grid(plain):
        covered = [cells * side for cells, side in zip(kept.shape, tokens.patch, strict=True)]
    fill = fill_of(removal, classifier.preparation)
    if fill is not None:
        mask = torch.ones(1, 1, *plain.shape[2:])
        mask[:, :, : covered[0], : covered[1]] = functional.interpolate(kept[None, None], covered, mode="nearest-exact")
        return classifier(classifier.prepare(fill(plain, mask.to(plain.device))))
    assert tokens is not None
    if tuple(kept.shape) != tokens.grid(plain):
        raise TargetError(
            "tokens are dropped by patches", came="×".join(map(str, kept.shape)), expected=f"{tokens.grid(plain)}"
        )
    with classifier.untouched():
        return dropped(classifier, plain, torch.tensor([0]), [kept.flatten().nonzero()[:, 0]])


def _answers(classifier: Classifier, whole: Tensor, left: Tensor, indices: list[int]) -> list[told.ClassAnswer]:
    """Of the classes asked for and of the likeliest ones now, with what changed."""
    now, before = Output(left, None), Output(whole, None)
    (likeliest,) = ask(default_targets(classifier, LIKELIEST), classifier, 1).answers(now)
    asked = list(dict.fromkeys([*indices, *(each.index for each in likeliest if each.index is not None)]))
    question = ask([Class(index) for index in asked], classifier, 1)
    answers, earlier = class_answers(question.answers(now)[0]), class_answers(question.answers(before)[0])
    return [each.model_copy(update={"change": _change(each, old)}) for each, old in zip(answers, earlier, strict=True)]


def _change(now: told.ClassAnswer, before: told.ClassAnswer) -> float | None:
    pairs = ((now.probability, before.probability), (now.score, before.score))
    return next((new - old for new, old in pairs if new is not None and old is not None), None)
