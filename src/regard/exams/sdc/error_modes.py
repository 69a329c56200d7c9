"""What is wrong with an attention that gives right answers: the dominating mode of error, and the numbers that say so.

Modes are those of papers: SDC, section 5. They are looked for in this order, and the first that fits is named:

| mode                        | what it is                                                                      |
| --------------------------- | ------------------------------------------------------------------------------- |
| memorisation                | accurate on what was learnt from, looking elsewhere; not on the test (EM-E)     |
| collapse                    | one segment has all weight and nothing was learnt                               |
| nothing learnt              | hardly better than chance, without that                                         |
| class-coded focus           | background stands for one label (EM-A)                                          |
| interpretable               | none: right answers are given while looking at the foreground                   |
| uniform mixing              | weights are all alike; the answer is read from the average (EM-C)               |
| late aggregation            | the answer is right with any weights (EM-D)                                     |
| inverted focus with leakage | the focus is elsewhere, and what little weight is left tells the label (EM-B)   |
| unnamed                     | the focus is often elsewhere, in no way that has a name, or none that was shown |

What the closed forms do where the foreground loses its weight, and where it is swapped while the weights are held:

| form | without the foreground                         | swapped                                                      |
| ---- | ---------------------------------------------- | ------------------------------------------------------------ |
| EM-A | the coded label's answers stay, all others go  | the coded label is told once it is there, no other is        |
| EM-B | constant: nothing is left                      | follows below a* = ½ ln(1 + √2), contradicts above it, where |
|      |                                                | the foreground's weight tells, not what it is                |
| EM-C | constant: nothing is left                      | follows                                                      |
| EM-D | α h = 0: nothing is left                       | follows, whatever the weights are                            |

So EM-A asks that the coded answers stay, EM-B and EM-D that nothing does, and EM-D alone that the answer follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from regard.exams.sdc.evidence import Coded, Evidence
from regard.training.selective.figures import SHARP, learnt

Mode = Literal[
    "memorisation",
    "collapse",
    "nothing learnt",
    "class-coded focus",
    "interpretable",
    "uniform mixing",
    "late aggregation",
    "inverted focus with leakage",
    "unnamed",
]

# Thresholds, in per cent; what is a collapse, and what has learnt, is said by `regard.training.selective.figures`.
FORGOTTEN = 50.0
"""Of what was learnt beyond chance that is missing in the test: the memorising run of the experiments misses 88 %,
those that learn both modules from 30,000 mosaics at most 26."""
ELSEWHERE = 5.0
"""Of right answers with the focus elsewhere, up to which a model is interpretable: after a supervised start of the
focus about 2 % are left, after a random one 7 and more."""
CODED = 50.0
"""Of a label's right answers with the focus elsewhere, from which it is coded: by the closed form it is all of them.
Below a half the foreground is still the rule; of the other labels it must be, else the focus is not coded but wrong."""
DOMINATING = 50.0
"""Of all FFPT that is the coded label's: all of it by the closed form. From a half on the other errors, leakage beside
it or a second coded label, are fewer; linear focuses trained on boxes have 46 to 100."""
ALIKE = 10.0
"""Of what the largest weight can have beyond its share 1/m: by the closed form it is nothing. With all mosaics alike no
weight is above 0.55 at m = 2, none above 0.2 at m = 9. The entropy would not do: at m = 2 a weight of 0.63 has 95 % of
it, and linear focuses of boxes that lean so (12 to 26) find the foreground of two labels in three. Nor may the answers
hang on what little the weights differ: with all of them alike they must survive."""
LAST = 90.0
"""Of mosaics in which the foreground has the least weight: such weights are not alike, but inverted, however flat."""
SURVIVING = 90.0
"""Of what is known beyond chance that is left with any weights: all of it by the closed form."""
DESTROYED = 50.0
"""Of what is known beyond chance, up to which it is gone: nothing is left by the closed form."""
INVERTED = 90.0
"""Of right answers with the focus elsewhere: all of them by the closed form; of a class-coded focus about 1/C."""


@dataclass(frozen=True)
class Diagnosis:
    """What a model does.

    Attributes:
        mode: the name; see the table above.
        because: the numbers that say so.
        notes: what else was seen, and what could not be looked at.
        evidence: all numbers.
    """

    mode: Mode
    because: str
    notes: tuple[str, ...]
    evidence: Evidence

    def words(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "mode": self.mode,
            "because": self.because,
            "notes": [*self.notes],
            "evidence": self.evidence.words(),
        }

    def __str__(self) -> str:
        return "\n".join([f"{self.mode}: {self.because}", *(f"- {note}" for note in self.notes)])


def named(evidence: Evidence, leaky: bool) -> Diagnosis:
    """The first mode whose numbers these are, and what else they say.

    Args:
        evidence: the numbers.
        leaky: whether both parts of the task have the same items.
    """
    for mode, rule in _RULES:
        if because := rule(evidence):
            return Diagnosis(mode, because, _notes(evidence, mode, leaky), evidence)
    return Diagnosis("unnamed", _elsewhere(evidence), _notes(evidence, "unnamed", leaky), evidence)


def _memorisation(seen: Evidence) -> str | None:
    if not _forgotten(seen) or not seen.train_elsewhere > ELSEWHERE:
        return None
    return f"{_gap(seen)}; there, {seen.train_elsewhere:.1f} % of right answers look elsewhere"


def _forgotten(seen: Evidence) -> bool:
    """Whether what was learnt is missing in the test."""
    return _learnt(seen.train, seen) and seen.train - seen.test > FORGOTTEN / 100 * (seen.train - seen.chance)


def _gap(seen: Evidence) -> str:
    learnt = f"{seen.train:.1f} % are right of what was learnt from"
    return f"{learnt}, {seen.test:.1f} % of the test (chance {seen.chance:.1f})"


def _collapse(seen: Evidence) -> str | None:
    if _learnt(seen.accuracy, seen) or seen.support > SHARP:
        return None
    return f"{seen.support:.2f} segments have weight, and {seen.accuracy:.1f} % are right (chance {seen.chance:.1f})"


def _nothing(seen: Evidence) -> str | None:
    if _learnt(seen.accuracy, seen):
        return None
    return f"{seen.accuracy:.1f} % are right (chance {seen.chance:.1f})"


def _class_coded(seen: Evidence) -> str | None:
    coded = seen.coded
    return None if coded is None or coded.of_all < DOMINATING else _coded(seen, coded)


def _coded(seen: Evidence, coded: Coded) -> str | None:
    """That background stands for a label, whatever else there is."""
    if not _finds_others(coded) or not _stands_for(coded):
        return None
    return _finding(seen, coded) + ("" if coded.kept is None else f"; {_by_background(coded)}")


def _finds_others(coded: Coded) -> bool:
    """Whether the focus is on the foreground of the other labels alone."""
    return coded.others_focus >= CODED and coded.focus <= coded.others_focus / 2 and coded.elsewhere >= CODED


def _stands_for(coded: Coded) -> bool:
    """Whether background is told this label more often than any other, and the foreground is not needed for it.

    By the closed form both always; mosaics of two segments have nothing but the focus without the foreground.
    """
    if coded.kept is None or coded.rival is None or coded.zeroed is None:
        return True
    return coded.kept > coded.rival and coded.zeroed > DESTROYED / 100 * coded.kept


def _by_background(coded: Coded) -> str:
    return (
        f"by the focused background alone {coded.kept:.0f} % of these are right, and {coded.rival:.0f} % another label"
        f"; without the foreground {coded.zeroed:.0f} % are"
    )


def _finding(seen: Evidence, coded: Coded) -> str:
    return (
        f"the focus finds {coded.label!r} in {coded.focus:.1f} %, other labels in {coded.others_focus:.1f} %, and "
        f"{coded.of_all:.0f} % of all FFPT ({seen.FFPT:.1f} %) are of that label"
    )


def _interpretable(seen: Evidence) -> str | None:
    if not seen.elsewhere <= ELSEWHERE:
        return None
    right = f"FTPT is {seen.FTPT:.1f} of the {seen.accuracy:.1f} % that are right"
    return f"{right}; {seen.elsewhere:.1f} % of these look elsewhere"


def _uniform(seen: Evidence) -> str | None:
    left = seen.left(seen.alike)
    if not seen.lean <= ALIKE or seen.foreground_last >= LAST or (left is not None and left < SURVIVING):
        return None
    alike = "" if seen.alike is None else f", with all weights the same {seen.alike:.1f} %"
    right = f"{seen.accuracy:.1f} % are right{alike}"
    return f"the largest weight has {seen.lean:.1f} % of what it can beyond its share; {right}"


def _late(seen: Evidence) -> str | None:
    left = seen.left(seen.drawn)
    follows = seen.left(seen.follows)
    if left is None or left < SURVIVING or _without(seen) or (follows is not None and follows < SURVIVING):
        return None
    drawn = f"with weights that are drawn {seen.drawn:.1f} % are right, with its own {seen.accuracy:.1f} %"
    swapped = "" if seen.follows is None else f", of another foreground {seen.follows:.1f} %"
    return f"{drawn}{swapped}, without it {seen.without_foreground:.1f} %"


def _inverted(seen: Evidence) -> str | None:
    left = seen.left(seen.one_hot)
    if left is None or left > DESTROYED or seen.elsewhere < INVERTED or _without(seen):
        return None
    return (
        f"{seen.elsewhere:.1f} % of right answers look elsewhere (FFPT {seen.FFPT:.1f} %), and with all weight on the "
        f"focus {seen.one_hot:.1f} %, without the foreground {seen.without_foreground:.1f} % are right instead of "
        f"{seen.accuracy:.1f} % (chance {seen.chance:.1f})"
    )


def _without(seen: Evidence) -> bool:
    """Whether what is known survives without the foreground's weight: then something else tells of it."""
    left = seen.left(seen.without_foreground)
    return left is not None and left > DESTROYED


_RULES: tuple[tuple[Mode, Callable[[Evidence], str | None]], ...] = (
    ("memorisation", _memorisation),
    ("collapse", _collapse),
    ("nothing learnt", _nothing),
    ("class-coded focus", _class_coded),
    ("interpretable", _interpretable),
    ("uniform mixing", _uniform),
    ("late aggregation", _late),
    ("inverted focus with leakage", _inverted),
)


def _learnt(accuracy: float, seen: Evidence) -> bool:
    return learnt(accuracy / 100, seen.chance / 100)


def _elsewhere(seen: Evidence) -> str:
    return (
        f"{seen.elsewhere:.1f} % of right answers look elsewhere (FFPT {seen.FFPT:.1f} %); looking elsewhere, "
        f"{seen.right_elsewhere:.1f} % are right (chance {seen.chance:.1f})"
    )


def _notes(seen: Evidence, mode: Mode, leaky: bool) -> tuple[str, ...]:
    found = []
    if seen.leaks:
        found.append(
            f"leakage: a hard selection by what each segment is by itself has an FFPT of at most {seen.bound:.1f} %, "
            f"and this one has {seen.hard:.1f} %: other segments tell of the foreground, or were learnt by heart"
        )
    if _forgotten(seen) and mode != "memorisation":
        found.append(f"little of what was learnt holds in the test, though it was not learnt elsewhere: {_gap(seen)}")
    if mode == "unnamed":
        found += _parts(seen)
    if mode == "interpretable" and _late(seen):
        found.append(f"the weights are right, but not why the answers are: {_late(seen)}")
    if mode == "interpretable" and seen.lean <= ALIKE:
        found.append(f"the weights are nearly alike: the largest has {seen.lean:.1f} % of what it can beyond its share")
    if leaky and mode != "memorisation":
        found.append("both parts of the task have the same items, so what was learnt by heart is not seen")
    if seen.drawn is None:
        found.append(
            "nothing was intervened in, since the model takes no weights (with_weights): leakage and late aggregation "
            "are not told apart, and whether background stands for a label is known from outcomes alone"
        )
    return tuple(found)


def _parts(seen: Evidence) -> list[str]:
    """Modes that are there without dominating."""
    found = []
    if seen.coded is not None and (coded := _coded(seen, seen.coded)):
        found.append(f"in part a class-coded focus: {coded}")
    elif seen.coded is not None and _finds_others(seen.coded):
        found.append(
            f"class-coded by its outcomes alone: {_finding(seen, seen.coded)}, but {_by_background(seen.coded)}: these "
            "are told by what weight the foreground is left"
        )
    if _without(seen):
        found.append(
            f"without the foreground's weight {seen.without_foreground:.1f} % are right: other segments tell of it"
        )
    if seen.bound < seen.FFPT and not seen.leaks:
        found.append(f"in part leakage: a hard selection has an FFPT of at most {seen.bound:.1f} %")
    return found
