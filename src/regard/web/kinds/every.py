"""Which function works out which request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regard.web import schema
from regard.web.desk import Desk
from regard.web.jobs import Work
from regard.web.kinds.classify import classify
from regard.web.kinds.concept import concept
from regard.web.kinds.curve import curve
from regard.web.kinds.explain import explain
from regard.web.kinds.mosaic import mosaic
from regard.web.kinds.without import without
from regard.web.visitors import Visitor

_KINDS: dict[type[schema.Asked], Callable[[Any, Visitor, Desk], Work]] = {
    schema.Classify: classify,
    schema.Explain: explain,
    schema.Curve: curve,
    schema.Without: without,
    schema.ShowConcept: concept,
    schema.Mosaic: lambda asked, *_: mosaic(asked),
}


def work_of(asked: schema.AnyJob, visitor: Visitor, desk: Desk) -> Work:
    """The work that a request asks for.

    Raises:
        RegardError: it names what is not there, or asks what cannot be answered.
    """
    return _KINDS[type(asked)](asked, visitor, desk)
