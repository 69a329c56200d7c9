"""Token dropping: patches are taken away physically, after their positions were added; no fill stands in for them.

Where positions are given to every block beside the tokens (rotary ones), their rows are taken away with the patches.
Whether a network can do without some of its tokens is tried out, by an exchange of places that must change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard.errors import PixelsError, UnsupportedError
from regard.models import passes
from regard.models.taps import Place, find_layer, read, replaced
from regard.targets import Output

if TYPE_CHECKING:
    from regard.models.classifier import Classifier
    from regard.models.transformer import Tokens

SAME, NEARLY = 1e-3, 5e-2
"""Largest relative difference that a change of places may make: rounding in float32, and in half precision."""


def dropped(classifier: Classifier, pixels: Tensor, images: Tensor, kept: Sequence[Tensor]) -> Tensor:
    """Logits (or embeddings, without a head) of `dropped_answers`, (J, C)."""
    answer = dropped_answers(classifier, pixels, images, kept)
    known = answer.embedding if answer.logits is None else answer.logits
    assert known is not None
    return known


def dropped_answers(classifier: Classifier, pixels: Tensor, images: Tensor, kept: Sequence[Tensor]) -> Output:
    """Answers with patch tokens physically removed after the position embedding: logits and embeddings of J jobs.

    Class and register tokens always stay, and every token keeps its own position. Jobs with equal
    numbers of tokens share passes, so the cost falls with the tokens: a quarter of the tokens is
    about a quarter of a forward.

    Args:
        classifier: of a transformer.
        pixels: (B, 3, H, W).
        images: image number of each job, (J,).
        kept: per job, the indices of the patch tokens that stay, row-major, in any order.

    Raises:
        UnsupportedError: the network cannot drop tokens, with the reason.
        PixelsError: a job names an image or a patch that is not there.
    """
    tokens = classifier.tokens
    if tokens is None:
        raise UnsupportedError(
            "only a transformer can drop tokens; this network has none", remedy="mask pixels with a fill instead"
        )
    if tokens.cannot_drop is not None:
        raise UnsupportedError("this transformer cannot drop tokens", came=tokens.cannot_drop)
    passes.check_images(images, len(pixels))
    if len(kept) != len(images):
        raise PixelsError("every job has its image", came=f"{len(kept)} jobs, {len(images)} images")
    for number, indices in enumerate(kept):
        _check_patches(indices, tokens.patches(pixels), number, tokens.rows is not None)
    place = Place(tokens.blocks[0], "input")
    embedded = _embedded(classifier, pixels, place)
    if embedded.dim() != 3 or embedded.shape[1] != tokens.prefix + tokens.patches(pixels):
        raise UnsupportedError(
            "this transformer cannot drop tokens", came=f"its blocks read a tensor {tuple(embedded.shape)}"
        )
    lengths = torch.tensor([len(indices) for indices in kept])
    groups: list[tuple[Tensor, Output]] = []
    for length in lengths.unique(sorted=True).tolist():
        group = (lengths == length).nonzero()[:, 0]
        stay = with_prefix(tokens, torch.stack([kept[job] for job in group.tolist()])).to(pixels.device)
        owner = images.to(pixels.device)[group.to(pixels.device)]
        answers = _of_one_length(classifier, tokens, pixels[:1], embedded, owner, stay)
        groups += zip(group.split([_rows(answer) for answer in answers]), answers, strict=True)
    if not groups:
        raise PixelsError("there are no jobs")
    order = torch.cat([jobs for jobs, _ in groups]).argsort()
    return Output(
        *(_in_order([getattr(answer, part) for _, answer in groups], order) for part in ("logits", "embedding"))
    )


def _of_one_length(
    classifier: Classifier, tokens: Tokens, picture: Tensor, embedded: Tensor, owner: Tensor, stay: Tensor
) -> list[Output]:
    """Answers of jobs with equally many tokens: of images `owner` (n,), tokens `stay` (n, P + k), chunk by chunk."""

    def chunk(numbers: Tensor) -> Output:
        kept = stay[numbers]
        return from_tokens(classifier, tokens, picture, embedded[owner[numbers][:, None], kept], kept)

    return passes.in_parts(classifier, len(stay), picture, chunk)


def refusal_to_drop(
    classifier: Classifier, tokens: Tokens, picture: Tensor, answer: Tensor, scale: float
) -> str | None:
    """Why a network cannot do without patches; None if it can.

    Tokens carry their positions with them where all of them in another order give the same answer, and a network
    takes fewer of them where it runs without one.

    Args:
        classifier: the classifier, in eval mode.
        tokens: its anatomy.
        picture: (1, 3, H, W).
        answer: of the network to it, (1, C) or (1, D).
        scale: what differences from it are measured by.
    """
    patches = tokens.patches(picture)
    order = torch.randperm(patches, generator=torch.Generator().manual_seed(0))
    (embedded,), _ = read(
        classifier.module, [Place(tokens.blocks[0], "input")], lambda: classifier.forward(picture), stop=True
    )
    try:
        for kept in (order[: max(1, patches - 1)], order):
            stay = with_prefix(tokens, kept[None]).to(picture.device)
            again = from_tokens(classifier, tokens, picture, embedded[:, stay[0]], stay)
    except UnsupportedError as reason:
        return reason.came
    given = again.logits if again.logits is not None else again.embedding
    assert given is not None
    tolerance = SAME if embedded.dtype.itemsize >= 4 and classifier.precision == "float32" else NEARLY
    if float((given - answer).abs().max()) <= tolerance * scale:
        return None
    return "its tokens do not carry their positions with them"


def with_prefix(tokens: Tokens, kept: Tensor) -> Tensor:
    """Indices of patches (J, k) → of tokens, prefix first (J, P + k)."""
    prefix = torch.arange(tokens.prefix, device=kept.device).expand(len(kept), -1)
    return torch.cat([prefix, kept + tokens.prefix], dim=1)


def _rows(answer: Output) -> int:
    known = answer.embedding if answer.logits is None else answer.logits
    assert known is not None
    return len(known)


def _in_order(parts: list[Tensor | None], order: Tensor) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known)[order.to(known[0].device)] if known else None


def _embedded(classifier: Classifier, pixels: Tensor, place: Place) -> Tensor:
    """Tokens (B, N, D) as they enter the first block, positions added."""

    def chunk(numbers: Tensor) -> Tensor:
        (tokens,), _ = read(classifier.module, [place], lambda: classifier.forward(pixels[numbers]), stop=True)
        return tokens

    return passes.in_chunks(classifier, len(pixels), pixels[:1], chunk)


def from_tokens(classifier: Classifier, tokens: Tokens, picture: Tensor, chosen: Tensor, stay: Tensor) -> Output:
    """Run the blocks on some tokens: one picture's pixels pay for the embedding that is thrown away.

    Args:
        classifier: of a transformer.
        tokens: its anatomy.
        picture: any picture (1, 3, H, W) of the frame.
        chosen: the tokens that stay, as they enter the first block, (n, P + k, D).
        stay: which they are, (n, P + k).
    """
    place = Place(tokens.blocks[0], "input")
    patches = stay[:, tokens.prefix :] - tokens.prefix
    with (
        replaced(classifier.module, place, lambda embedded: chosen.to(embedded.dtype)),
        _positions_kept(classifier.module, tokens.blocks, patches, tokens.patches(picture)),
    ):
        try:
            answer = classifier.respond(picture)
        except RuntimeError as reason:
            if passes.is_out_of_memory(reason):
                raise
            raise UnsupportedError("this transformer cannot drop tokens", came=str(reason)) from reason
    passes.count(forwards=len(chosen) - 1)
    return answer


@contextmanager
def _positions_kept(network: nn.Module, blocks: Sequence[str], kept: Tensor, patches: int) -> Iterator[None]:
    """While the block runs, blocks that are given positions of all patches beside their tokens get those of `kept`."""

    def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        beside = [_of_patches(value, kept, patches) for value in arguments[1:]]
        first = None if arguments else next(iter(named))
        by_name = {name: value if name == first else _of_patches(value, kept, patches) for name, value in named.items()}
        return (*arguments[:1], *beside), by_name

    with ExitStack() as stack:
        for block in blocks:
            handle = find_layer(network, block).register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _of_patches(value: Any, kept: Tensor, patches: int) -> Any:
    """Rows of positions (…, patches, d), of one picture, → of the kept ones, (n, heads or 1, k, d)."""
    if isinstance(value, (tuple, list)):
        return type(value)(_of_patches(part, kept, patches) for part in value)
    if not isinstance(value, Tensor) or value.dim() not in (2, 3, 4) or value.shape[-2] != patches:
        return value
    by_head = value.reshape(-1, *value.shape[-2:])
    return by_head[:, kept].transpose(0, 1)


def _check_patches(indices: Tensor, patches: int, job: int, without: bool) -> None:
    """Refuse what are not indices of different patches, or none of them where the network pools over them."""
    whole = indices.dim() == 1 and indices.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)
    there = whole and all(0 <= index < patches for index in indices.tolist())
    if not there or len(indices.unique()) != len(indices) or not (len(indices) or without):
        raise PixelsError(
            "the kept patches are different patches of the image",
            came=f"job {job}: {indices.tolist()!r:.80}",
            expected=f"whole numbers from 0 to {patches - 1}" + ("" if without else ", one at least"),
        )
