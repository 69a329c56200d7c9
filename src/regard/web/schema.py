"""Everything that a server may be asked, typed: bounded, and with nothing unknown in it. What it says is `told.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CELLS = 64 * 64
LARGEST_SETTING = 2000
"""Of a method's setting: more samples than anybody needs, fewer than fill a memory."""


Name = Annotated[str, Field(min_length=1, max_length=200)]
Index = Annotated[int, Field(ge=0, le=10_000_000)]
Side = Annotated[int, Field(ge=1, le=64)]
Removal = Literal["black", "mean", "blur", "tokens"]
"""What stands where something is removed: a colour, the photo's mean colour, the photo blurred; or nothing, tokens are
left out."""
Setting = (
    bool
    | Annotated[int, Field(ge=-LARGEST_SETTING, le=LARGEST_SETTING)]
    | Annotated[float, Field(ge=-LARGEST_SETTING, le=LARGEST_SETTING, allow_inf_nan=False)]
    | Annotated[str, Field(max_length=60, pattern=r"^[A-Za-z0-9._ -]+$")]
)
SettingName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class Asked(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ClassTarget(Asked):
    """The score of one class."""

    kind: Literal["class"]
    index: Index


class PredictedTarget(Asked):
    """The score of the class that ranks so, 1 the likeliest."""

    kind: Literal["predicted"]
    rank: Annotated[int, Field(ge=1, le=1000)] = 1


class DifferenceTarget(Asked):
    """What speaks for one class rather than another."""

    kind: Literal["difference"]
    first: Index
    second: Index


class ProbabilityTarget(Asked):
    """The probability of one class."""

    kind: Literal["probability"]
    index: Index


class ConceptTarget(Asked):
    """Likeness to a concept that was shown."""

    kind: Literal["concept"]
    concept: Name


class ConceptDifferenceTarget(Asked):
    """What is like one concept rather than another."""

    kind: Literal["concept difference"]
    first: Name
    second: Name


Target = Annotated[
    ClassTarget | PredictedTarget | DifferenceTarget | ProbabilityTarget | ConceptTarget | ConceptDifferenceTarget,
    Field(discriminator="kind"),
]


class Classify(Asked):
    """The likeliest classes of a photo."""

    kind: Literal["classify"]
    classifier: Name
    photo: Name
    count: Annotated[int, Field(ge=1, le=50)] = 5


class AboutMap(Asked):
    """What says which map."""

    classifier: Name
    photo: Name
    method: Name
    settings: Annotated[dict[SettingName, Setting], Field(max_length=8)] = {}
    target: Target = PredictedTarget(kind="predicted")


class Explain(AboutMap):
    """A map: which parts of a photo speak for a target."""

    kind: Literal["explain"]


class Curve(AboutMap):
    """What becomes of the target while what a map says is relevant is removed, and while cells are at random."""

    kind: Literal["curve"]
    removal: Removal = "black"
    steps: Annotated[int, Field(ge=1, le=32)] = 16


class Without(Asked):
    """The classes of a photo without some cells of a grid."""

    kind: Literal["without"]
    classifier: Name
    photo: Name
    grid: Annotated[list[Side], Field(min_length=2, max_length=2)]
    removed: Annotated[list[Annotated[int, Field(ge=0, lt=MOST_CELLS)]], Field(max_length=MOST_CELLS)]
    removal: Removal = "black"
    indices: Annotated[list[Index], Field(max_length=50)] = []


class ShowConcept(Asked):
    """Something shown by examples, to be looked for in other photos."""

    kind: Literal["concept"]
    classifier: Name
    name: Annotated[str, Field(min_length=1, max_length=60)]
    photos: Annotated[list[Name], Field(min_length=1, max_length=12)]
    against: Annotated[list[Name], Field(max_length=12)] = []


class Mosaic(Asked):
    """A small model that selects, trained in seconds and examined."""

    kind: Literal["mosaic"]
    exam: Literal["d1", "boxes-1", "boxes-2", "boxes-4"]
    paradigm: Literal["soft", "hard", "sampled", "marginal", "posterior", "supervised"] = "soft"
    weights: Literal["softmax", "sparsemax", "entmax", "spherical"] = "softmax"
    seed: Annotated[int, Field(ge=0, le=9999)] = 0


AnyJob = Annotated[Classify | Explain | Curve | Without | ShowConcept | Mosaic, Field(discriminator="kind")]
