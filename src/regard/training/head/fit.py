"""One's own classes on a frozen backbone, in minutes on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from regard.errors import ClassifierError
from regard.images import Photo
from regard.labels import Outputs
from regard.models.brnpa import BRNPAClassifier
from regard.models.classifier import Classifier
from regard.models.head import HeadForm, Kind, backbone_of, with_head
from regard.models.saved import save_classifier
from regard.training.embeddings import Embedded, Tracked, embedded
from regard.training.figures import HeldOut, examined
from regard.training.given import digest_of_values
from regard.training.head.fitting import Examples, fit
from regard.training.head.kept import check_run, write_run
from regard.training.head.scaling import Scaling, folded
from regard.training.labelled import Label
from regard.training.readable import name_of
from regard.training.split import check_share, held_out_marks
from regard.training.targets import Answers, answers_of, check_learnable

INNER_SHARE = 0.2
"""Share of the photos trained on by which the penalty, or the length of the training, is chosen."""


@dataclass(frozen=True)
class TrainedHead:
    """A head, and what it is worth.

    Attributes:
        classifier: backbone, head and labels; the backbone's weights are those of the classifier that was given.
        held_out: figures of the photos that were kept from training.
        training: how it was trained: backbone and its hash, settings, what was chosen, numbers of photos.
        held_out_photos: which photos the figures are of.
        unreadable: photo → why it could not be read; such photos were left out.
    """

    classifier: Classifier
    held_out: HeldOut
    training: Mapping[str, Any]
    held_out_photos: tuple[Photo, ...]
    unreadable: Mapping[str, str]

    def save(self, path: str | Path) -> None:
        """Write one file of backbone and head that `regard.load(path)` reads."""
        save_classifier(
            self.classifier,
            path,
            {"summary": self.summary, "training": self.training, "held_out": asdict(self.held_out)},
        )

    @property
    def summary(self) -> str:
        """One line on what it is worth."""
        figures = [self.held_out.overall] if self.held_out.overall else self.held_out.each
        worth = ", ".join(f"{each.name} {each.value:.3g} (by chance {each.chance:.3g})" for each in figures)
        return f"{self.classifier.name}; {self.held_out.measure} of {self.held_out.photos} held-out photos: {worth}"


def fit_head(
    classifier: Classifier,
    photos: Sequence[Photo],
    labels: Sequence[Label],
    *,
    outputs: Outputs = "softmax",
    kind: Kind = "linear",
    hidden: int = 256,
    held_out: float | Sequence[bool] = 0.2,
    seed: int = 0,
    cache: str | Path | None = None,
    run: str | Path | None = None,
    force: bool = False,
    tracked: Tracked = iter,
) -> TrainedHead:
    """Train a head on the embeddings of a classifier, which stays as it is.

    "linear": logistic regression with an L2 penalty, of measurements ridge regression; "mlp": Linear, GELU, Linear by
    AdamW. Embeddings are scaled to mean 0 and deviation 1 for the fit, and the scaling is folded into the head. The
    penalty, or the number of epochs, is chosen on a fifth of the photos trained on; no choice sees those held out.

    Args:
        classifier: whose embeddings are read; its own head, if it has one, plays no part.
        photos: paths, PIL images or uint8 arrays; those that cannot be read are left out, with a warning.
        labels: one per photo. "softmax": the name of its class; "sigmoid": the names of its classes, maybe none;
            "scalar": measurements by name.
        outputs: what the head answers: exclusive classes, independent ones, or measurements.
        kind: a linear head is enough for most backbones, and CDAM explains it in closed form either way. On a
            `BRNPAClassifier` the only kind: what comes out is one, too.
        hidden: units of an "mlp".
        held_out: share of the photos that is kept for the figures, of each class; or which ones, one mark a photo.
        seed: of the split, of an "mlp" and of the bootstrap. Which photos are held out depends on their content and
            not on their order.
        cache: a folder that keeps the embeddings for the next training; default none.
        run: a folder for the run: what was asked, the figures, and the answer to every photo held out. Written once all
            is done; default none.
        force: replace a run that stands there.
        tracked: goes through the batches to be embedded; a place for progress.

    Cost: one forward a photo, then seconds: for N photos 7 fits on an N × D matrix in float64.

    Raises:
        ClassifierError: labels, marks or settings that do not fit, or too few photos of a class to learn it.
        PhotoError: no photo can be read.
        RunError: the run's folder holds a finished run, which force alone replaces, or something else.
    """
    _check_settings(kind, hidden, held_out, len(photos), len(labels))
    _check_goes_on(kind, classifier)
    if run is not None:
        check_run(Path(run), force)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        asked, backbone = answers_of(labels, outputs), backbone_of(classifier)
        found = embedded(backbone, photos, None if cache is None else Path(cache), tracked)
        answers = asked.of(found.places)
        apart = _held_out(held_out, found, answers, seed)
        learnt, examples = answers.of(_places(~apart)), found.values[~apart]
        check_learnable(learnt, outputs)
        prints = [found.fingerprints[place] for place in _places(~apart)]
        inner = torch.tensor(held_out_marks(prints, learnt.strata, INNER_SHARE, "inner"))
        form = HeadForm(kind, examples.shape[1], len(answers.names), hidden if kind == "mlp" else None)
        head, chosen = _fitted(form, outputs, examples, learnt.values, inner, seed)
        said = head(found.values[apart]).detach()
        name = f"{len(answers.names)} {'measurements' if outputs == 'scalar' else 'classes'} on {classifier.name}"
        figures = examined(outputs, said, answers.values[apart], learnt.values, answers.names, seed)
        unreadable = {name_of(photos[place]): reason for place, reason in found.unreadable.items()}
        shown = [(photos[found.places[place]], found.fingerprints[place]) for place in _places(apart)]
        _warn(unreadable, figures, {*prints}.intersection(found.fingerprints[place] for place in _places(apart)))
        trained = TrainedHead(
            classifier=_finished(
                classifier, backbone, head.to(backbone.device), labels=list(answers.names), outputs=outputs, name=name
            ),
            held_out=figures,
            training={
                "backbone": classifier.name,
                "backbone_hash": backbone.hash,
                "outputs": outputs,
                **asdict(form),
                **chosen,
                "seed": seed,
                "held_out": held_out if isinstance(held_out, float) else "given",
                "photos_trained_on": len(examples),
                "photos_held_out": figures.photos,
                "photos_unreadable": len(unreadable),
            },
            held_out_photos=tuple(photo for photo, _ in shown),
            unreadable=unreadable,
        )
    if run is not None:
        given = [labels[place] for place in found.places]
        configuration = {
            "classifier": classifier.name,
            "classifier_hash": backbone.hash,
            "outputs": outputs,
            **asdict(form),
            "seed": seed,
            "photos_digest": digest_of_values(found.fingerprints, given),
            "held_out": _asked(held_out, found),
        }
        facts = {**trained.training, "held_out_figures": asdict(figures), "unreadable": unreadable}
        write_run(Path(run), configuration, shown, (outputs, answers.values[apart], said, answers.names), facts)
    return trained


def _finished(classifier: Classifier, backbone: Classifier, head: nn.Module, **said: Any) -> Classifier:
    """The backbone with the head; where representatives are what is embedded, a classifier that decides by them."""
    if isinstance(classifier, BRNPAClassifier) and isinstance(head, nn.Linear):
        return classifier.with_head(head, **said)
    return with_head(backbone, head, **said)


def _asked(held_out: float | Sequence[bool], found: Embedded) -> float | str:
    """The share, or a digest of the marks, as a JSON value."""
    if isinstance(held_out, (int, float)):
        return held_out
    return digest_of_values(found.fingerprints, [held_out[place] for place in found.places])


def _fitted(
    form: HeadForm, outputs: Outputs, embeddings: Tensor, learnt: Tensor, inner: Tensor, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """The head of plain embeddings, float32, and what was chosen for it."""
    inputs, measured = Scaling.of(embeddings), None
    if outputs == "scalar":
        measured = Scaling(learnt.mean(dim=0), learnt.std(dim=0, correction=0))
    targets = learnt if measured is None else measured(learnt)
    head, chosen = fit(form, Examples(inputs(embeddings), targets, outputs), inner, seed)
    return folded(head, inputs, measured).eval(), chosen


def _held_out(held_out: float | Sequence[bool], found: Embedded, answers: Answers, seed: int) -> Tensor:
    """Which of the photos that can be read are held out (n,)."""
    if isinstance(held_out, (int, float)):
        return torch.tensor(held_out_marks(found.fingerprints, answers.strata, held_out, f"held out {seed}"))
    marks = torch.tensor([bool(held_out[place]) for place in found.places])
    if bool(marks.all()) or not bool(marks.any()):
        raise ClassifierError(
            "some photos must be trained on and some held out",
            came=f"{int(marks.sum())} of {len(marks)} held out",
            remedy="mark some of each kind (train, val), or give no marks to have a fifth held out",
        )
    return marks


def _places(marks: Tensor) -> list[int]:
    places: list[int] = marks.nonzero()[:, 0].tolist()
    return places


def _check_settings(kind: str, hidden: int, held_out: float | Sequence[bool], photos: int, labels: int) -> None:
    """Refuse before slow work what would fail after it."""
    if photos != labels:
        raise ClassifierError("every photo has its label", came=f"{photos} photos, {labels} labels")
    if kind not in get_args(Kind):
        raise ClassifierError("no such head", came=repr(kind), expected=", ".join(get_args(Kind)))
    if hidden < 1:
        raise ClassifierError("an mlp has hidden units", came=f"{hidden}", expected="1 or more")
    if isinstance(held_out, (int, float)):
        check_share(held_out)
    elif len(held_out) != photos:
        raise ClassifierError("every photo is held out or not", came=f"{photos} photos, {len(held_out)} marks")


def _check_goes_on(kind: str, classifier: Classifier) -> None:
    """Refuse a head by which nobody could say what a representative adds, and which no file could hold."""
    if kind != "linear" and isinstance(classifier, BRNPAClassifier):
        raise ClassifierError(
            f"{classifier.name} decides by representatives, what each adds to a linear layer",
            came=f"a head of the kind {kind!r}",
            remedy="take a linear head, or the backbone by itself: classifier.backbone",
        )


def _warn(unreadable: Mapping[str, str], figures: HeldOut, both: Set[str]) -> None:
    """Say what the figures do not: photos left out, classes that no held-out photo shows, photos in both parts."""
    if unreadable:
        listed = "; ".join(f"{photo}: {reason}" for photo, reason in list(unreadable.items())[:10])
        warnings.warn(f"{len(unreadable)} photos cannot be read and are left out: {listed}", stacklevel=3)
    if figures.unexamined:
        listed = ", ".join(figures.unexamined[:10])
        warnings.warn(f"no held-out photo shows {len(figures.unexamined)} classes: {listed}", stacklevel=3)
    if both:
        warnings.warn(f"{len(both)} held-out photos are trained on too, byte for byte", stacklevel=3)
