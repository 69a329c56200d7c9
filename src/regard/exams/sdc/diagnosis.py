"""The diagnosis of a model: what it says by itself and after interventions, and the mode of error which that is."""

from __future__ import annotations

from typing import Literal

from regard.errors import UnsupportedError
from regard.exams.sdc.answers import Answers, Model, ask
from regard.exams.sdc.error_modes import Diagnosis, named
from regard.exams.sdc.evidence import evidence_of
from regard.exams.sdc.interventions import WithWeights, intervene, with_weights_of
from regard.exams.sdc.outcomes import Ties, in_per_cent, outcomes
from regard.exams.sdc.task import Mosaics, SelectiveTask
from regard.seeds import check_seed

SAMPLE = 2000
"""Mosaics that a diagnosis looks at, the first ones: shares are then known to about one per cent."""


def diagnose(
    model: Model,
    task: SelectiveTask,
    *,
    split: Literal["train", "test"] = "test",
    ties: Ties = "fractional",
    batch: int = 256,
    with_weights: WithWeights | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Name what a model does, by what it says of the first 2,000 mosaics of both parts of a task.

    Interventions need a model that takes weights. A `SelectiveModel` does; for any other, `with_weights` says what it
    would answer. Without, only what can be seen from outside is named: class-coded focus by its outcomes, uniform
    mixing, memorisation, collapse; the notes say so. Most often it is one line of the model's own forward:

        diagnose(model, task, with_weights=lambda segments, weights: model.head((weights[..., None] * segments).sum(1)))

    Cost: a forward of both parts, and five of the one that is examined.

    Args:
        model: see `regard.exams.sdc.answers`; nothing is left in it.
        task: what it is examined with.
        split: which part.
        ties: see `regard.exams.sdc.outcomes`.
        batch: mosaics asked about at once.
        with_weights: (segments, weights[, mask]) → logits.
        seed: of what is drawn.

    Raises:
        MetricError: answers that cannot be judged; see `ask` and `intervene`.
        NotFiniteError: NaN or infinity among them.
        UnsupportedError: no task, another part, or a seed that is none.
    """
    check_seed(seed)
    own = ask(model, part_of(task, split), len(task.labels), batch, SAMPLE)
    return diagnosed(model, task, split, own, ties, batch, with_weights, seed)


def diagnosed(
    model: Model,
    task: SelectiveTask,
    split: str,
    own: Answers,
    ties: Ties,
    batch: int,
    with_weights: WithWeights | None,
    seed: int,
) -> Diagnosis:
    """The diagnosis of answers that are there already; arguments and errors as of `diagnose`."""
    other = "train" if split == "test" else "test"
    own = own.first(SAMPLE)
    parts = {
        split: _means(own, ties, seed),
        other: _means(ask(model, part_of(task, other), len(task.labels), batch, SAMPLE), ties, seed),
    }
    weighing = with_weights_of(model) if with_weights is None else with_weights
    changed = None
    if weighing is not None:
        changed = intervene(model, weighing, part_of(task, split), own, batch, ties, seed)
    return named(evidence_of(own, changed, parts["train"], parts["test"], task.labels, ties, seed), task.leaky)


def part_of(task: SelectiveTask, split: str) -> Mosaics:
    """One part of a task by name."""
    if not isinstance(task, SelectiveTask):
        raise UnsupportedError(
            "a model is examined with a task",
            came=repr(task)[:100],
            expected="a SelectiveTask",
            remedy="task_called(…)",
        )
    if split not in ("train", "test"):
        raise UnsupportedError("a task has no such part", came=repr(split), expected="train or test")
    return task.train if split == "train" else task.test


def _means(own: Answers, ties: Ties, seed: int) -> dict[str, float]:
    return in_per_cent(outcomes(own.weights, own.logits, own.label, own.position, own.mask, ties, seed))
