"""A small model that selects, trained within seconds and examined: does it look at what decides?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor

from regard.attention.selective import SelectiveModel
from regard.attention.selective_networks import classifier_called, focus_called
from regard.attention.selective_weights import weights_called
from regard.exams.sdc import OUTCOMES, Examination, SelectiveTask, examine, outcomes, task_called
from regard.training.selective.fit import TrainedSeed, fit_selective
from regard.training.selective.recipe import Phase, SelectiveRecipe
from regard.web import schema, told
from regard.web.jobs import Result, Told, Work
from regard.web.python_lines import lines_of_exam

MOSAICS = 1000
"""To learn from, and to be examined with."""
DRAWN = 24
"""Mosaics that are shown."""


@dataclass(frozen=True)
class Exam:
    """A task that a model is trained for within seconds, and by what networks.

    Attributes:
        title, summary: for people.
        classes, segments: of a mosaic.
        network: of focus and classifier; see `regard.attention.selective_networks`.
        epochs: of training.
    """

    title: str
    summary: str
    classes: int
    segments: int
    network: str
    epochs: int


EXAMS = {
    "boxes-1": Exam(
        "Boxes, background beside", "A line can tell the background from what decides.", 3, 2, "linear", 40
    ),
    "boxes-2": Exam(
        "Boxes, background between", "No line can: the background comes to mean a label.", 3, 2, "linear", 40
    ),
    "boxes-4": Exam("Six boxes in a column", "Six labels beside a background, nine segments.", 6, 9, "mlp-50", 30),
    "d1": Exam("D1, surrounded clouds", "Background lies around what decides, nine segments.", 3, 9, "mlp-50", 60),
}
RATE, BATCH = 0.01, 100


def mosaic(asked: schema.Mosaic) -> Work:
    """The work of a request; its progress is counted in epochs."""
    exam = EXAMS[asked.exam]

    def run(stepped: Told) -> Result:
        task = task_called(asked.exam, train=MOSAICS, test=MOSAICS, seed=asked.seed)
        trained = _trained(asked, exam, task, stepped)
        found = examine(trained.model, task, seed=asked.seed)
        return Result(_facts(asked, exam, task, trained, found), bytes=MOSAICS * task.segments * 50)

    seconds = exam.epochs * exam.segments * 0.02
    return Work("mosaic", run, exam.epochs, seconds, quick=False, alike=("mosaic", asked.exam, asked.paradigm))


def _trained(asked: schema.Mosaic, exam: Exam, task: SelectiveTask, stepped: Callable[[int], None]) -> TrainedSeed:
    def build(seed: int) -> SelectiveModel:
        return SelectiveModel(
            focus_called(exam.network, task.shape, seed),
            classifier_called(exam.network, task.shape, len(task.labels), seed),
            weights=weights_called(asked.weights, seed),
        )

    def judged(
        weights: Tensor, logits: Tensor, label: Tensor, position: Tensor, mask: Tensor | None
    ) -> dict[str, Tensor]:
        each = outcomes(weights, logits, label, position, mask, "fractional", asked.seed)
        return dict(zip(OUTCOMES, each.unbind(dim=1), strict=True))

    recipe = SelectiveRecipe(phases=(Phase(exam.epochs, asked.paradigm),), rate=RATE, batch=BATCH, stop=None)
    (trained,) = fit_selective(
        build, task.train, task.test, [asked.seed], recipe, judged=judged, heard=lambda *_: stepped(1)
    )
    return trained


def _facts(
    asked: schema.Mosaic, exam: Exam, task: SelectiveTask, trained: TrainedSeed, found: Examination
) -> told.ExamFacts:
    diagnosis = found.diagnosis
    evidence = asdict(diagnosis.evidence)
    names = [name for name in trained.epochs[0] if name.startswith("test ")]
    return told.ExamFacts(
        outcomes={name: found.figures[name] for name in OUTCOMES},
        accuracy=found.figures["accuracy"],
        focus_accuracy=found.figures["focus-accuracy"],
        diagnosis=told.DiagnosisFacts(
            mode=diagnosis.mode,
            sentence=diagnosis.because,
            notes=list(diagnosis.notes),
            evidence={name: value for name, value in evidence.items() if isinstance(value, int | float | None)},
        ),
        curves={
            name.removeprefix("test "): [
                epoch[name] * (1 if "loss" in name or "support" in name else 100) for epoch in trained.epochs
            ]
            for name in names
        },
        mosaics=_drawn(task, found),
        labels=list(task.labels),
        python="\n".join(lines_of_exam(asked, exam.network, exam.epochs, RATE, BATCH, MOSAICS)),
    )


def _drawn(task: SelectiveTask, found: Examination) -> list[told.MosaicFacts]:
    """The first mosaics, with what the model made of them."""
    shown = range(min(DRAWN, len(found.answers)))
    rows, segments = found.rows()[: len(shown)], task.test[shown.start : shown.stop].segments
    return [
        told.MosaicFacts(
            segments=segments[number].tolist(),
            classes=[found.kinds[kind] for kind in found.answers.classes[number].tolist()],
            weights=found.answers.weights[number].double().tolist(),
            position=row["position"],
            label=row["label"],
            predicted=row["predicted"],
            outcome=max(OUTCOMES, key=row.__getitem__),
        )
        for number, row in zip(shown, rows, strict=True)
    ]
