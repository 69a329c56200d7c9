"""One question to several classifiers: what each of them is asked in a column of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regard.cli.asked import class_asked, concept_asked

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.targets import Target

LIKELIEST = 3
"""Without targets: how many of the likeliest classes of the first classifier are compared."""


@dataclass(frozen=True)
class Column:
    """What is asked in one column.

    Attributes:
        name: in words.
        targets: for each classifier its target, or why it has none.
    """

    name: str
    targets: tuple[Target | str, ...]


def columns_asked(subjects: Sequence[Classifier], targets: Sequence[str], concepts: Sequence[str]) -> list[Column]:
    """Columns from what a person wrote, each once.

    Args:
        subjects: the classifiers.
        targets: labels and indices, several in one text separated by commas; since labels hold commas, the longest
            piece that is a label is taken whole. A whole number that is no label of any classifier is an index, which
            counts in the first one. The others are asked for the class of that label, or of one of its synonyms.
        concepts: NAME=FOLDER each; shown to every classifier in its own embedding.

    Raises:
        TargetError: no classifier knows a label, an entry is empty, or two columns would have one name.
    """
    from regard.errors import TargetError

    columns = [_class_column(text, subjects) for given in targets for text in _pieces(given, subjects)]
    for text in concepts:
        shown = tuple(concept_asked(subject, text) for subject in subjects)
        columns.append(Column(f"concept {shown[0].name}", shown))
    columns = [column for place, column in enumerate(columns) if column not in columns[:place]]
    for name, times in Counter(column.name for column in columns).items():
        if times > 1:
            raise TargetError("two targets have one name", came=name, remedy="give the concept another name")
    return columns


def likeliest_columns(subjects: Sequence[Classifier], photo: Path) -> list[Column]:
    """The likeliest classes of a photo as the first classifier has them, a column each.

    Raises:
        PhotoError: the photo cannot be read.
    """
    import torch

    from regard.question import ask, default_targets
    from regard.targets import Output

    first = subjects[0]
    with torch.no_grad():
        logits = first(first.prepare(photo))
    question = ask(default_targets(first, LIKELIEST), first, 1)
    answers = question.answers(Output(logits, None))[0]
    return [_class_column(answer.index, subjects) for answer in answers if answer.index is not None]


def _class_column(text: str | int, subjects: Sequence[Classifier]) -> Column:
    """The column of a label, or of a class of the first classifier."""
    from regard.errors import TargetError
    from regard.labels import class_index, class_name
    from regard.targets import Class

    owner = next((subject for subject in subjects if isinstance(text, str) and _knows(text, subject)), subjects[0])
    asked = class_asked(text, owner) if isinstance(text, str) else text
    index = class_index(asked, owner)
    name = class_name(index, owner)
    spellings = [*([asked] if isinstance(asked, str) else []), name, *name.split(",")]
    found: list[Target | str] = []
    for subject in subjects:
        try:
            found.append(Class(index if _same_classes(subject, owner) else _first_known(spellings, subject)))
        except TargetError as reason:
            found.append(reason.problem)
    return Column(name, tuple(found))


def _same_classes(subject: Classifier, owner: Classifier) -> bool:
    return (subject.labels, subject.class_count) == (owner.labels, owner.class_count)


def _first_known(spellings: Sequence[str], subject: Classifier) -> int:
    """The class of the first spelling that names one; what is wrong with the first, if none does."""
    from regard.labels import class_index

    return class_index(next((text for text in spellings if _knows(text, subject)), spellings[0]), subject)


def _knows(text: str, subject: Classifier) -> bool:
    """Whether a label names one class of a classifier that has classes."""
    from regard.labels import classes_called

    return subject.class_count is not None and len(classes_called(text, subject)) == 1


def _pieces(given: str, subjects: Sequence[Classifier]) -> Iterator[str]:
    """A text cut at its commas, but for those within a label: of several ways, the longest label first.

    Raises:
        TargetError: a piece is empty.
    """
    from regard.errors import TargetError

    labels = {label.casefold() for subject in subjects for label in subject.labels or ()}
    parts = given.split(",")
    while parts:
        longest_first = range(len(parts), 1, -1)
        count = next((count for count in longest_first if ",".join(parts[:count]).strip().casefold() in labels), 1)
        piece = ",".join(parts[:count]).strip()
        if not piece:
            raise TargetError("an entry between commas is empty", came=repr(given))
        yield piece
        parts = parts[count:]
