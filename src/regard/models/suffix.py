"""What of a network follows a tensor inside it, run for other values of that tensor, without what comes before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from regard.models import passes
from regard.models.networks import scale_of, trial_pictures
from regard.models.reader import resumed
from regard.models.taps import Place, read, replaced, skipped
from regard.targets import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regard.models.classifier import Classifier

SAME, NEARLY = 1e-3, 5e-2
"""Largest difference that leaving layers out may make, as a share: rounding in float32, and in half precision."""


@dataclass(frozen=True)
class Held:
    """What a pass of B pictures leaves for passes of a suffix.

    Attributes:
        pixels: (B, 3, H, W).
        tensor: at the place where the suffix begins, (B, …).
        entering: at `tokens.entry`, (B, N, D), where the part that begins there is run again.
    """

    pixels: Tensor
    tensor: Tensor
    entering: Tensor | None


@dataclass(frozen=True)
class Suffix:
    """How a network goes on from a place.

    Attributes:
        place: the tensor.
        begins: "there": nothing before it runs, and the network takes the tensor in a picture's stead; "reader": of
            a transformer, the last block or the pool runs, which reads the tensor beside its residual; "picture": the
            whole network runs, with the tensor exchanged.
        left_out: the layers that a pass from there on leaves out.
    """

    place: Place
    begins: Literal["there", "reader", "picture"]
    left_out: tuple[str, ...] = ()

    def hold(self, classifier: Classifier, pixels: Tensor) -> tuple[Held, Output]:
        """One pass of the whole network: what its suffix needs, and the answer."""
        tokens = classifier.tokens
        places = [self.place]
        if self.begins == "reader" and tokens is not None:
            places.append(tokens.entry)
        found, output = read(classifier.module, places, lambda: classifier.respond(pixels))
        assert output is not None
        return Held(pixels, found[0], found[1] if len(found) > 1 else None), output

    def run(
        self,
        classifier: Classifier,
        held: Held,
        images: Tensor,
        given: Callable[[Tensor], Tensor],
        values: Callable[[Output, Tensor], Tensor],
    ) -> Tensor:
        """Values of the answers to J jobs, (J, …), chunk by chunk; each counts as a forward.

        Args:
            classifier: the classifier.
            held: what `hold` gave.
            images: image of each job, (J,).
            given: job numbers (n,) → the tensors at `place`, (n, …), made only when their chunk comes.
            values: answers to n jobs and their numbers (n,) → (n, …).
        """
        like = held.tensor[:1] if self.begins == "there" else held.pixels[:1]

        def evaluate(numbers: Tensor) -> Tensor:
            with passes.uncounted():
                answer = self._answer(classifier, held, images[numbers], given(numbers))
            passes.count(forwards=len(numbers))
            return values(answer, numbers)

        with skipped(classifier.module, self.left_out):
            return passes.in_chunks(classifier, len(images), like, evaluate)

    def agrees(self, classifier: Classifier, held: Held, own: Output, given: Tensor) -> bool:
        """Whether B pictures are answered as by the whole network where the tensor is `given` (B, …), up to rounding.

        Args:
            classifier: the classifier.
            held: what `hold` gave of `trial_pictures`: differences are measured by those of their answers.
            own: what `hold` gave beside it.
            given: tensors at `place`.
        """
        images = torch.arange(len(held.pixels), device=held.pixels.device)
        again, answer = self.run(classifier, held, images, given.__getitem__, joined), joined(own)
        whole = held.tensor.dtype.itemsize >= 4 and classifier.precision == "float32"
        tolerance = (SAME if whole else NEARLY) * scale_of(answer[:1].nan_to_num(), answer[1:].nan_to_num())
        return again.shape == answer.shape and torch.allclose(again, answer, rtol=0, atol=tolerance, equal_nan=True)

    def _answer(self, classifier: Classifier, held: Held, images: Tensor, tensor: Tensor) -> Output:
        if self.begins == "there":
            return classifier.respond(tensor)
        with replaced(classifier.module, self.place, lambda own: tensor.to(own.dtype)):
            if self.begins == "picture":
                return classifier.respond(held.pixels[images])
            assert classifier.tokens is not None
            assert held.entering is not None
            with resumed(classifier, classifier.tokens, held.entering[images]):
                return classifier.respond(held.pixels[:1])


def find_suffix(classifier: Classifier, place: Place) -> Suffix:
    """The shortest way to go on from a place that gives the network's own answers to the trial pictures.

    Leaving layers out is tried: they hand on what they are given, so a network that combines their output with others
    fails or answers otherwise, and then more of it is run.
    """
    whole = Suffix(place, "picture")
    ways = [Suffix(place, "there", _done_before(classifier, place))]
    if classifier.tokens is not None and place == classifier.tokens.attention_input:
        ways.append(Suffix(place, "reader"))
    return next((way for way in ways if _holds(classifier, way)), whole)


def _holds(classifier: Classifier, suffix: Suffix) -> bool:
    """Whether a suffix gives the network's own answers to the trial pictures."""
    with classifier.untouched(), passes.uncounted(), torch.inference_mode(False), torch.no_grad():
        held, own = suffix.hold(classifier, trial_pictures(classifier))
        try:
            return suffix.agrees(classifier, held, own, held.tensor)
        except Exception as reason:  # a network that is called with what it was not made for may fail in any way
            if isinstance(reason, RuntimeError) and passes.is_out_of_memory(reason):
                raise
            return False


def joined(output: Output, _: Tensor | None = None) -> Tensor:
    """Logits and embedding side by side."""
    return torch.cat([part for part in (output.logits, output.embedding) if part is not None], dim=1)


def _done_before(classifier: Classifier, place: Place) -> tuple[str, ...]:
    """The outermost layers that are done when the tensor at a place is there, in their order."""
    done: list[str] = []

    def note(layer: str) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], ___: object) -> None:
            done.append(layer)

        return hook

    with _hooks(classifier.module, note), classifier.untouched(), passes.uncounted(), torch.no_grad():
        read(classifier.module, [place], lambda: classifier.forward(classifier.picture()), stop=True)
    return tuple(layer for layer in dict.fromkeys(done) if not any(outer in done for outer in _around(layer)))


def _around(layer: str) -> list[str]:
    """The layers that hold a layer, by their dotted paths."""
    parts = layer.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


@contextmanager
def _hooks(network: nn.Module, note: Callable[[str], Any]) -> Iterator[None]:
    """Hooks on all layers but the network itself, for one block."""
    handles = [module.register_forward_hook(note(path)) for path, module in network.named_modules() if path]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
