"""The likeliest classes of a photo: one pass."""

from __future__ import annotations

import torch

from regard.labels import class_count
from regard.question import ask, default_targets
from regard.targets import Output
from regard.web import schema, told
from regard.web.desk import Desk
from regard.web.jobs import Result, Work
from regard.web.kinds.asked import class_answers, frame_of
from regard.web.visitors import Visitor


def classify(asked: schema.Classify, visitor: Visitor, desk: Desk) -> Work:
    """The work of a request."""
    served, photo = desk.classifiers[asked.classifier], desk.photo(asked.photo, visitor)
    class_count(served.classifier)

    def run(_: object) -> Result:
        classifier, pixels = served.classifier, served.pixels(photo)
        with torch.no_grad():
            output = Output(classifier(pixels), None)
        (answers,) = ask(default_targets(classifier, asked.count), classifier, 1).answers(output)
        return Result(told.Classes(classes=class_answers(answers), frame=frame_of(pixels.geometries[0])))

    return served.work("classify", run, 1, quick=True, alike=(), photos=[photo])
