"""What a model says of mosaics: asked without leaving a trace, and looked at before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from regard.errors import MetricError, NotFiniteError, RegardError
from regard.exams.sdc.outcomes import checked_weights, slack_of
from regard.exams.sdc.task import Examples, Mosaics
from regard.models.passes import is_out_of_memory
from regard.models.taps import untouched

Asked = TypeVar("Asked")
Model = Callable[..., Any]
"""segments (n, m, …), and a mask (n, m) where mosaics are ragged → logits (n, C) and weights (n, m): a tuple of the
two, a mapping with these keys, or an object with these attributes, as `regard.attention.selective.Selected` is."""

_ASKED_ALONE, _WITH_MATES = 4, 16


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model said of n mosaics, and what is true of them. On the CPU.

    Attributes:
        logits: (n, C).
        weights: (n, m), each row on the simplex.
        label: (n,) int64.
        position: (n,) int64, j*.
        classes: (n, m) int64, the class of every segment; −1 where there is none.
        mask: (n, m) bool, None where all mosaics have equally many segments.
    """

    logits: Tensor
    weights: Tensor
    label: Tensor
    position: Tensor
    classes: Tensor
    mask: Tensor | None

    def __len__(self) -> int:
        return len(self.label)

    def first(self, count: int) -> Answers:
        """Those of the first mosaics."""
        return Answers(
            self.logits[:count],
            self.weights[:count],
            self.label[:count],
            self.position[:count],
            self.classes[:count],
            None if self.mask is None else self.mask[:count],
        )


def ask(model: Model, mosaics: Mosaics, labels: int, batch: int, count: int | None = None) -> Answers:
    """What a model says of the first `count` mosaics, in batches.

    An `nn.Module` is asked in eval mode, in the type and on the device of its first parameter, without gradients; its
    training flags, gradients, grad mode and torch's random state are afterwards as before, also on an error. Any other
    callable is asked as it is. On CUDA, float32 is float32: TF32 rounds at 1e-3, another way in each size of a batch.

    Args:
        model: see `Model`.
        mosaics: what is asked about.
        labels: C.
        batch: mosaics asked about at once; fewer where memory runs out.
        count: None for all.

    Raises:
        MetricError: answers of another form, weights that are not on the simplex, or answers about a mosaic that change
            with those asked about beside it.
        NotFiniteError: NaN or infinity in weights, NaN or +∞ in logits, with the example.
    """
    if type(batch) is not int or batch < 1:
        raise MetricError("mosaics are asked about in batches", came=repr(batch), expected="1 or more")
    count = len(mosaics) if count is None else min(count, len(mosaics))
    with asking(model):
        _check_mates(model, mosaics, labels, batch)
        parts = in_batches(count, batch, lambda rows: _asked(model, mosaics[rows], labels))
    logits, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    truth = mosaics.truth(slice(count))  # all mosaics at once would be gigabytes
    mask = None if truth.mask is None else truth.mask.cpu()
    _check_numbers(logits, weights, mask)
    return Answers(logits, weights, truth.label.cpu(), truth.position.cpu(), truth.classes.cpu(), mask)


@contextmanager
def asking(model: Model) -> Iterator[None]:
    """A block in which a model may be asked, and after which it is as it was."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    with untouched(model if isinstance(model, nn.Module) else nn.Module()), torch.no_grad():
        try:
            convolutions.allow_tf32 = products.allow_tf32 = False
            yield
        finally:
            convolutions.allow_tf32, products.allow_tf32 = before


def in_batches(count: int, batch: int, asked: Callable[[slice], Asked]) -> list[Asked]:
    """What is made of so many mosaics, some at once; half as many where memory runs out."""
    parts, start = [], 0
    while start < count:
        try:
            parts.append(asked(slice(start, min(start + batch, count))))
        except RuntimeError as reason:
            if batch == 1 or not is_out_of_memory(reason):
                raise
            batch //= 2
        else:
            start += batch
    return parts


def given(model: Model, values: Tensor) -> Tensor:
    """A copy, which the model may change, in its type and on its device."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    like = next((parameter for parameter in parameters if parameter.is_floating_point()), values)
    return values.to(like.device, like.dtype if values.is_floating_point() else values.dtype, copy=True)


def called(what: str, function: Callable[..., Any], *arguments: Tensor | None) -> Any:
    """What a function of the user's answers; the mask is left out where there is none.

    Raises:
        MetricError: it fails.
    """
    present = [argument for argument in arguments if argument is not None]
    try:
        return function(*present)
    except RegardError:
        raise
    except Exception as reason:
        if isinstance(reason, RuntimeError) and is_out_of_memory(reason):
            raise
        ragged = arguments[-1] is not None
        raise MetricError(
            f"{what} cannot be asked about these segments",
            came=f"{type(reason).__name__}: {reason}".splitlines()[0][:300],
            expected=f"to take {' and '.join(str(tuple(each.shape)) for each in present)}",
            remedy="mosaics are ragged: the last argument is a mask, True where a segment is" if ragged else None,
        ) from reason


def check_logits(what: str, logits: object, count: int, labels: int) -> Tensor:
    """Logits as they must be, on the CPU.

    Raises:
        MetricError: anything else.
    """
    return _numbers(f"{what} gives a number for each label", logits, (count, labels))


def _asked(model: Model, found: Examples, labels: int) -> tuple[Tensor, Tensor]:
    mask = None if found.mask is None else given(model, found.mask)
    answer = called("the model", model, given(model, found.segments), mask)
    logits, weights = _parted(answer)
    shape = tuple(found.classes.shape)
    return (
        check_logits("the model", logits, shape[0], labels),
        _numbers("the model gives a weight for each segment", weights, shape),
    )


def _parted(answer: Any) -> tuple[Any, Any]:
    if isinstance(answer, Mapping) and {"logits", "weights"} <= answer.keys():
        return answer["logits"], answer["weights"]
    if hasattr(answer, "logits") and hasattr(answer, "weights"):
        return answer.logits, answer.weights
    if isinstance(answer, tuple | list) and len(answer) == 2:
        return answer[0], answer[1]
    keys = f" with {', '.join(map(str, answer))}" if isinstance(answer, Mapping) else ""
    size = f" of {len(answer)}" if isinstance(answer, tuple | list) else ""
    raise MetricError(
        "the model does not say logits and weights",
        came=f"{type(answer).__name__}{size}{keys}"[:300],
        expected="(logits, weights), a mapping with these keys, or an object with these attributes",
    )


def _numbers(problem: str, values: object, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(values, Tensor) or not values.is_floating_point() or tuple(values.shape) != shape:
        kind = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise MetricError(
            problem,
            came=kind,
            expected=f"floats {shape}",
            remedy="a tuple is (logits, weights); weights of one query are squeezed, of several heads averaged",
        )
    return values.detach().cpu()


def _check_numbers(logits: Tensor, weights: Tensor, mask: Tensor | None) -> None:
    for name, values, wrong in (
        ("weight", weights, ~weights.isfinite()),
        ("logit", logits, logits.isnan() | (logits == torch.inf)),
    ):
        if bool(wrong.any()):
            row, column = wrong.nonzero()[0].tolist()
            raise NotFiniteError(
                f"the model gives a {name} that is no number",
                came=f"{values[row].tolist()} in example {row}, place {column}"[:300],
            )
    checked_weights(weights, mask)


def _check_mates(model: Model, mosaics: Mosaics, labels: int, batch: int) -> None:
    """Ask about a few mosaics together and alone.

    Raises:
        MetricError: answers differ by more than rounding.
    """
    together = _asked(model, mosaics[: min(_WITH_MATES, max(2, batch))], labels)
    for number in range(min(_ASKED_ALONE, len(together[0]))):
        alone = _asked(model, mosaics[number : number + 1], labels)
        for name, many, one in zip(("logits", "weights"), together, alone, strict=True):
            known = one[0].isfinite() & many[number].isfinite()  # what is not, is refused with its place later
            largest = float(many[many.isfinite()].abs().max()) if bool(many.isfinite().any()) else 0.0
            difference = (one[0] - many[number])[known].abs()
            if bool((difference > slack_of(many) * largest).any()):
                raise MetricError(
                    f"the model's {name} for a mosaic depend on the others beside it, or on chance",
                    came=f"example {number}: {one[0].tolist()} alone, {many[number].tolist()} among others"[:400],
                    remedy="batch norm and dropout in eval mode; no statistics of a batch",
                )
