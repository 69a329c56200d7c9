"""The exam of any model that gives weights to segments: where it looks, whether it is right, what it does instead."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from regard.exams.sdc.answers import Answers, Model, ask
from regard.exams.sdc.diagnosis import diagnosed, part_of
from regard.exams.sdc.error_modes import Diagnosis
from regard.exams.sdc.evidence import json_values
from regard.exams.sdc.interventions import WithWeights
from regard.exams.sdc.outcomes import OUTCOMES, Ties, background_to_class, by_class, focus_shares, outcomes
from regard.exams.sdc.task import Mosaics, SelectiveTask
from regard.exams.sdc.weight_figures import figures
from regard.notebook import html_figure
from regard.seeds import check_seed
from regard.statistics import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Examination:
    """What a model did in an exam.

    Attributes:
        task: its name.
        split: which part of it.
        ties: how ties were treated, see `regard.exams.sdc.outcomes`.
        seed: of what was drawn.
        labels: names of the C labels.
        kinds: names of all K classes of segments, background too.
        mosaics: the n that it was asked about; only their indices are kept.
        answers: what the model said of each of them, and what is true of them.
        outcomes: (n, 4) float64, how far each is of each of `OUTCOMES`.
        figures: by name, see `regard.exams.sdc.weight_figures.figures`.
        by_label: (C, 4) float64, the outcomes in per cent for each label; NaN for one that does not occur.
        background_to_label: (K, C) float64, how many mosaics focus on background of a class and are given a label.
        diagnosis: what the model does.
    """

    task: str
    split: str
    ties: Ties
    seed: int
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    mosaics: Mosaics
    answers: Answers
    outcomes: Tensor
    figures: Mapping[str, float]
    by_label: Tensor
    background_to_label: Tensor
    diagnosis: Diagnosis

    @functools.cached_property
    def intervals(self) -> Mapping[str, tuple[float, float] | None]:
        """Where 95 % of the bootstrap over mosaics has the outcomes and both accuracies, in per cent.

        None where all mosaics are alike, of which a bootstrap would say nothing. Worked out when first asked for.
        """
        each = self.outcomes * 100
        columns = dict(zip(OUTCOMES, each.unbind(dim=1), strict=True))
        columns |= {"accuracy": each[:, 0] + each[:, 1], "focus-accuracy": each[:, 0] + each[:, 2]}
        return {name: bootstrap_interval(column, self.seed) for name, column in columns.items()}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each mosaic, in their order.

        label and predicted (names; of equal logits the first); position and focus (numbers of segments; of equal
        weights the first, None where `ties` is "strict"), focused (the class of that segment); FTPT, FFPT, FTPF and
        FFPF (shares); max-weight, margin (α_j* less the largest other weight) and entropy (bits).
        """
        said, ways = self.answers, self.outcomes.tolist()
        shares = focus_shares(said.weights, said.mask, self.ties, self.seed)
        focus = shares.argmax(dim=1)
        weights, place = said.weights.double(), said.position[:, None]
        columns = {
            "label": [self.labels[number] for number in said.label.tolist()],
            "predicted": [self.labels[number] for number in said.logits.argmax(dim=1).tolist()],
            "position": said.position.tolist(),
            "focus": focus.tolist(),
            "focused": [self.kinds[kind] for kind in said.classes.gather(1, focus[:, None])[:, 0].tolist()],
            **{name: [way[number] for way in ways] for number, name in enumerate(OUTCOMES)},
            "max-weight": weights.amax(dim=1).tolist(),
            "margin": (weights.gather(1, place)[:, 0] - weights.scatter(1, place, 0).amax(dim=1)).tolist(),
            "entropy": (
                -torch.special.xlogy(weights, weights).sum(dim=1) / torch.log(weights.new_tensor(2.0))
            ).tolist(),
        }
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for row in (~shares.any(dim=1)).nonzero()[:, 0].tolist():
            rows[row] |= {"focus": None, "focused": None}
        return rows

    def words(self) -> dict[str, Any]:
        """JSON values: everything but the rows; NaN is None."""
        found: dict[str, Any] = json_values(
            {
                "task": self.task,
                "split": self.split,
                "examples": len(self.answers),
                "ties": self.ties,
                "seed": self.seed,
                "figures": dict(self.figures),
                "intervals": dict(self.intervals),
                "by_label": {
                    name: dict(zip(OUTCOMES, row, strict=True))
                    for name, row in zip(self.labels, self.by_label.tolist(), strict=True)
                },
                "background_to_label": {
                    kind: dict(zip(self.labels, row, strict=True))
                    for kind, row in zip(self.kinds, self.background_to_label.tolist(), strict=True)
                    if kind not in self.labels
                },
                "diagnosis": self.diagnosis.words(),
            }
        )
        return found

    def figure(self) -> Figure:
        """What was found in one picture: how many of each outcome, the diagnosis, how sharp the focus is, and examples.

        Of each outcome that occurs the first mosaic is drawn, with its attention; then further ones, four in all.
        """
        from regard.exams.sdc.figures import examination_figure

        return examination_figure(self)

    def _repr_html_(self) -> str:
        """The figure, as a notebook shows it."""
        return html_figure(self.figure(), str(self))

    def __str__(self) -> str:
        """A few lines for a person."""
        figures = ", ".join(f"{name} {self.figures[name]:.1f}" for name in (*OUTCOMES, "accuracy"))
        return f"{self.task}, {self.split}, {len(self.answers)} mosaics: {figures} %\n{self.diagnosis}"


def examine(
    model: Model,
    task: SelectiveTask,
    *,
    split: Literal["train", "test"] = "test",
    ties: Ties = "fractional",
    batch: int = 256,
    with_weights: WithWeights | None = None,
    seed: int = 0,
) -> Examination:
    """Examine a model: does it look at the segment that decides, and what does it do where it does not?

    The model is called with segments (n, m, …), and with a mask (n, m) if mosaics are ragged; it answers with logits
    (n, C) and weights (n, m): as a tuple, a mapping or an object with these names. It need not be of regard. It is
    asked in eval mode and nothing is left in it.

        examination = regard.exams.sdc.examine(model, task_called("d1"))
        print(examination)
        examination.figures["FFPT"], examination.intervals["FFPT"], examination.diagnosis.mode

    Args:
        model: see `regard.exams.sdc.answers.ask`.
        task: what it is examined with.
        split: "test", the default; or "train", which says what it has learnt, not what it can.
        ties: see `regard.exams.sdc.outcomes`; with "fractional", weights all alike find the foreground with 1/m.
        batch: mosaics asked about at once.
        with_weights: what the model would say with given weights, for the diagnosis; see
            `regard.exams.sdc.diagnosis.diagnose`. A `SelectiveModel` needs none.
        seed: of lots among ties, of interventions and of the bootstrap.

    Raises:
        MetricError: answers of another form, weights that are not on the simplex, answers that depend on batch mates,
            or a `with_weights` that is not of this model.
        NotFiniteError: NaN or infinity in the answers, with the example.
        UnsupportedError: no task, another part of it, or a seed that is none.
    """
    check_seed(seed)
    mosaics = part_of(task, split)
    own = ask(model, mosaics, len(task.labels), batch)
    each = outcomes(own.weights, own.logits, own.label, own.position, own.mask, ties, seed)
    everywhere = own.logits[:, None].expand(-1, own.weights.shape[1], -1)
    kinds = mosaics.items.names
    return Examination(
        task=task.name,
        split=split,
        ties=ties,
        seed=seed,
        labels=task.labels,
        kinds=kinds,
        mosaics=mosaics,
        answers=own,
        outcomes=each,
        figures=figures(own.weights, own.logits, own.label, own.position, own.mask, ties, seed),
        by_label=by_class(each, own.label, len(task.labels)),
        background_to_label=background_to_class(
            own.weights, everywhere, own.classes, own.position, own.mask, ties, seed, len(kinds)
        ),
        diagnosis=diagnosed(model, task, split, own, ties, batch, with_weights, seed),
    )
