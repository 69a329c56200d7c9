"""What a server shows, which is fixed at its start: classifiers and sample photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regard.models.classifier import Classifier
from regard.web.classifiers import Classifiers
from regard.web.photos import SAMPLE, Sample, ShownPhoto
from regard.web.refusals import not_there
from regard.web.visitors import Visitor


class Desk:
    """Classifiers and samples by name.

    Args:
        classifiers: by the names that `regard.load` knows.
        samples: photos that all visitors may see.
    """

    def __init__(self, classifiers: Mapping[str, Classifier], samples: Sequence[Sample] = ()) -> None:
        self.classifiers = Classifiers(classifiers)
        self.samples = {sample.id: sample for sample in samples}

    def photo(self, name: str, visitor: Visitor) -> ShownPhoto:
        """A sample, or a visitor's own photo; RefusedError where there is neither."""
        if not name.startswith(SAMPLE):
            return visitor.photo(name)
        if name not in self.samples:
            raise not_there("photo")
        return self.samples[name]
