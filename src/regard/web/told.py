"""Everything that a server says, typed. NaN goes out as null."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_number)]
"""A number, or null where there is none or it is NaN or infinite."""
Band = Annotated[list[Number], Field(min_length=2, max_length=2)]
"""The lowest and the highest."""


class ErrorParts(BaseModel):
    """What was wrong, what came, what was expected, what to do."""

    problem: str
    came: str | None = None
    expected: str | None = None
    remedy: str | None = None


class ErrorFacts(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorParts


class Frame(BaseModel):
    """Where what the classifier saw lies on the photo: box [left, top, right, bottom] in photo pixels."""

    box: list[float]
    photo: list[int]
    size: list[int]


class ClassAnswer(BaseModel):
    """One class, answered; `change` against the whole photo, of the probability, or of the score without one."""

    index: int
    label: str
    score: Number
    probability: Number
    change: Number = None


class Classes(BaseModel):
    """Of `classify`: likeliest first."""

    classes: list[ClassAnswer]
    frame: Frame


class ClassesWithout(BaseModel):
    """Of `without`: the classes asked for, then the likeliest ones now that are not among them."""

    classes: list[ClassAnswer]


class TargetFacts(BaseModel):
    """What a map speaks about."""

    name: str
    index: int | None
    score: Number
    probability: Number


class RankFacts(BaseModel):
    """Representatives: maps base64 float32 (K, h, w); shares of the target's score, with the bias they sum to it."""

    maps: str
    valid: list[bool]
    shares: list[Number] | None
    bias: Number
    variation: Number
    scale: list[float]


class Map(BaseModel):
    """Of `explain`. `values` are base64 of float32, little-endian, row by row."""

    method: str
    settings: dict[str, Any]
    classifier: str
    target: TargetFacts
    grid: list[int]
    values: str
    drawn: bool
    signed: bool
    signs: list[str]
    scale: list[float]
    scale_said: str
    frame: Frame
    forwards: int
    backwards: int
    seconds: float
    notes: list[str]
    python: str
    ranks: RankFacts | None
    prefix_mass: Number


class Areas(BaseModel):
    """Areas under curves, on the unit interval; bands are the lowest and highest of the random orders."""

    deletion: Number
    insertion: Number
    random_deletion: Number
    random_insertion: Number
    random_deletion_band: Band
    random_insertion_band: Band


class CurveFacts(BaseModel):
    """Of `curve`, whose points count cells.

    At point k of insertion the `counts[k]` most relevant of `places` cells are shown; of deletion the `removed[k]` most
    relevant ones are removed; of least_first the `removed[k]` least relevant ones. `rank` is base64 of int32 (h, w),
    0 the most relevant cell. Random curves are means over `random_orders` orders, the first of which is `random_rank`;
    bands are the lowest and highest of them at each point.
    """

    counts: list[int]
    removed: list[int]
    places: int
    grid: list[int]
    rank: str
    random_rank: str
    deletion: list[Number]
    insertion: list[Number]
    least_first: list[Number]
    random_deletion: list[Number]
    random_insertion: list[Number]
    random_deletion_band: list[Band]
    random_insertion_band: list[Band]
    random_orders: int
    empty: Number
    clean: Number
    quantity: Literal["probability", "score"]
    target: TargetFacts
    fill_colour: list[int] | None
    area: Areas
    frame: Frame
    python: str


class ConceptFacts(BaseModel):
    """Of `concept`: its id, and the cosine of each example with it."""

    concept: str
    name: str
    dimension: int
    similarity: list[Number]


class DiagnosisFacts(BaseModel):
    """What a model that selects does."""

    mode: str
    sentence: str
    notes: list[str]
    evidence: dict[str, Any]


class MosaicFacts(BaseModel):
    """One mosaic: its points, how much weight each has, which one decides and what came of it."""

    segments: list[list[float]]
    classes: list[str]
    weights: list[Number]
    position: int
    label: str
    predicted: str
    outcome: str


class ExamFacts(BaseModel):
    """Of `mosaic`; shares in per cent. `curves` have a number an epoch, epoch 0 before any training."""

    outcomes: dict[str, Number]
    accuracy: Number
    focus_accuracy: Number
    diagnosis: DiagnosisFacts
    curves: dict[str, list[Number]]
    mosaics: list[MosaicFacts]
    labels: list[str]
    python: str


class JobFacts(BaseModel):
    """A job. place: how many are done before it, itself counted, while it waits."""

    id: str
    kind: str
    state: Literal["waiting", "running", "done", "failed", "cancelled", "dropped"]
    place: int | None
    passes_done: int
    passes_expected: int | None
    seconds_expected: Number
    seconds: Number
    error: ErrorParts | None
    result: Classes | Map | CurveFacts | ClassesWithout | ConceptFacts | ExamFacts | None


class Estimate(BaseModel):
    """What a job costs, null where it is not known before; too_long: more seconds than `most_seconds`, which end it."""

    passes: int | None
    seconds: Number
    too_long: bool
    most_seconds: float


class PhotoFacts(BaseModel):
    """A photo that can be named in jobs."""

    id: str
    name: str
    alt: str
    credit: str
    width: int
    height: int


class MethodFacts(BaseModel):
    """A method, and what it can be asked of one classifier; passes: forwards of one map, at its usual settings."""

    name: str
    summary: str
    signed: bool
    signs: list[str]
    per_target: bool
    answers: list[str]
    passes: int
    seconds: Number
    settings: dict[str, Any]
    best: bool
    ranked: bool


class ClassifierFacts(BaseModel):
    """A classifier. side: (H, W) of its frame; concepts: whether it can be shown some."""

    name: str
    classes: int | None
    outputs: str
    transformer: bool
    can_drop_tokens: bool
    side: list[int]
    concepts: bool
    ranked: bool
    pass_seconds: float
    methods: list[MethodFacts]


class ColourFacts(BaseModel):
    """Colours of maps, [red, green, blue] from 0 to 255: from the lowest value to the highest; of ranks one each."""

    signed: list[list[int]]
    unsigned: list[list[int]]
    ranks: list[list[int]]


class ExamKind(BaseModel):
    """A task with planted truth that a model can be examined with."""

    name: str
    title: str
    summary: str
    classes: int
    segments: int


class About(BaseModel):
    """What this server is and has."""

    version: str
    api: Literal["1"]
    classifiers: list[ClassifierFacts]
    samples: list[PhotoFacts]
    colours: ColourFacts
    exams: list[ExamKind]
    limits: dict[str, int | float]


class ClassFacts(BaseModel):
    """A class by its index."""

    index: int
    label: str
