"""TAME's trainable attention (arXiv 2301.07407, 2403.04523): feature maps of a few layers → a map of every class."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from regard.attention.places import fine
from regard.errors import LayerError, TargetError, UnsupportedError

Variant = Literal["tame", "no-skip", "no-skip-no-norm", "sigmoid", "l-cam", "tied"]

LARGEST_SIDE = 56
"""Neither side of the maps' grid is longer (TAME)."""


class FusionAttention(nn.Module):
    """Class maps from the feature maps F_i of several layers.

        c = Σ_i resize( W_i · a_i ) + b,    a_i = relu( norm( conv F_i ) + F_i )

    with 1×1 convolutions, batch norm, and W_i the part of a last 1×1 convolution's rows (C, ΣK_i) that reads layer i.
    As published the a_i are resized and joined first; a 1×1 convolution and bilinear resizing commute, since the
    weights of the latter sum to 1, so every layer is fused at its own grid, for the classes that are asked alone.

    Args:
        channels: K_i of each feature map, in the order in which they will be given: one, two, three, … layers.
        classes: C.
        variant: "tame". Published ablations: "no-skip", a_i = relu(norm(conv F_i)) with a convolution K_i → C, whose
            width changes too; "no-skip-no-norm", a_i = relu(conv F_i); "sigmoid" in place of the ReLU. "l-cam": the
            last convolution alone, on the last feature map alone. "tied": as "tame", but the row of class c is
            h_c · P and its bias h_c · p + b, where h_c is the classifier's own weight vector of that class and P
            (D, ΣK_i), p (D,) and b are learnt: so every picture teaches every class.
        head: (C, D), the classifier's last weight matrix, for "tied" alone; not part of the state dict.
        smoothing: s, above 0 each a_i is averaged over the cells around, r_i = round(s · side_i / coarsest side) each
            way and axis, at most side_i − 1, edges mirrored: 2s + 1 cells of the coarsest grid, and the same part of
            the picture on finer ones. A mask with a short outline hides what is around an object without cutting it
            up. Default 0: published variants do not.

    Draws its first weights as torch's layers do, from torch's generator; of "tied" P and p such that a row has the
    scale that a convolution's row begins with.

    Cost for a picture, in multiplications: Σ_i K_i² h_i w_i in the branches, T Σ_i K_i h_i w_i for T classes; "tied"
    T · D · ΣK_i more. Smoothing adds T Σ_i (2 r_i + 1)² h_i w_i: averaging and fusing commute, too, so the maps asked
    for are averaged, each layer's at its own grid; of all classes the features, with K_i in T's place.

    Raises:
        UnsupportedError: no such variant, no positive number of channels or classes, a head that does not fit, or a
            smoothing that is no whole number from 0 on.
    """

    head: Tensor | None

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        variant: Variant = "tame",
        *,
        head: Tensor | None = None,
        smoothing: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.classes, self.variant, self.smoothing = tuple(channels), classes, variant, smoothing
        self._check_arguments(head)
        if variant == "l-cam":
            branches: list[nn.Module] = [nn.Identity()]
            self.widths = self.channels[-1:]
        else:
            self.widths = (classes,) * len(self.channels) if variant == "no-skip" else self.channels
            branches = [_branch(*sizes, variant) for sizes in zip(self.channels, self.widths, strict=True)]
        self.branches = nn.ModuleList(branches)
        self.fuser = nn.Linear(sum(self.widths), classes if head is None else head.shape[1])
        self.register_buffer("head", None if head is None else head.detach().float().clone(), persistent=False)
        self.bias = None if head is None else nn.Parameter(torch.zeros(()))
        if self.head is not None:
            bound = (self.fuser.in_features * self.head.square().sum(dim=1).mean()).rsqrt().item()
            nn.init.uniform_(self.fuser.weight, -bound, bound)
            nn.init.uniform_(self.fuser.bias, -bound, bound)

    def forward(self, features: Sequence[Tensor], classes: Tensor | None = None) -> Tensor:
        """Class maps before any sigmoid, float32 also under autocast.

        Args:
            features: (B, K_i, h_i, w_i) of each layer, in the order of `channels`.
            classes: (B, T) int64, the maps wanted of each picture; (T,), of every picture, which gathers each row once;
                None for all.

        Returns:
            (B, T, h, w), or (B, C, h, w), on `map_grid` of the features' grids.

        Raises:
            LayerError: other feature maps than `channels` says.
            TargetError: classes of another shape or type, or that there are not.
        """
        self._check_features(features)
        self._check_classes(classes, features[0].shape[0])
        weight, bias = self._rows(classes)
        read = features[-len(self.branches) :]
        grids = [(feature.shape[2], feature.shape[3]) for feature in read]
        grid, radii = map_grid(grids), smoothing_radii(grids, self.smoothing)
        parts = zip(weight.split(self.widths, dim=-1), self.branches, read, radii, strict=True)
        maps = [_resized(_fused(rows, branch(feature), radius), grid) for rows, branch, feature, radius in parts]
        return sum(maps, start=bias[..., None, None])

    @torch.no_grad()
    def start_from_head(self, head: Tensor) -> None:
        """Set the weights such that c is the classifier's class activation map, c = head · relu(F) of the last layer F.

        Smoothing smooths it. The rows' last part becomes the head's, the other parts and all biases zero; the last
        branch hands relu(F) on, by a batch norm that begins at zero: its convolution keeps the weights it drew, so
        that it can learn.

        Args:
            head: (C, K), the classifier's weights for the K channels of the last feature map; of "tied" its own head.

        Raises:
            UnsupportedError: the last layer has other channels than the head has columns, or the variant cannot hand
                features on.
        """
        self._check_start(head)
        width = self.widths[-1]
        rows = head if self.head is None else torch.eye(width)
        self.fuser.weight.zero_()
        self.fuser.weight[:, -width:] = rows.to(self.fuser.weight)
        self.fuser.bias.zero_()
        if self.bias is not None:
            self.bias.zero_()
        if isinstance(self.branches[-1], Branch):
            self.branches[-1].start_as_identity()

    @torch.no_grad()
    def raise_by(self, amount: float) -> None:
        """Add a number to the maps of all classes, by their biases."""
        (self.fuser.bias if self.bias is None else self.bias).add_(amount)

    @torch.no_grad()
    def folded(self) -> FusionAttention:
        """A copy for inference that gives what this module gives in eval mode, with less to do.

        Batch norm and skip are folded into the branches' convolutions, tied rows written out. Not to be trained:
        its batch statistics are fixed, and its parameters require no gradients.
        """
        folded = copy.deepcopy(self)
        folded.branches = nn.ModuleList(
            branch.folded() if isinstance(branch, Branch) else branch for branch in folded.branches
        )
        if self.head is not None:
            weight, bias = self._rows(None)
            folded.fuser = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
            folded.fuser.weight, folded.fuser.bias = nn.Parameter(weight), nn.Parameter(bias)
            folded.head = folded.bias = None
        return folded.eval().requires_grad_(False)

    def extra_repr(self) -> str:
        smoothing = f", smoothing={self.smoothing}" if self.smoothing else ""
        return f"channels={self.channels}, classes={self.classes}, variant={self.variant!r}{smoothing}"

    def _rows(self, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights and biases of the classes asked for: (B, T, ΣK) and (B, T), or (T, ΣK) and (T,) of every picture."""
        weight, bias = self.fuser.weight, self.fuser.bias
        if self.head is not None:
            assert self.bias is not None
            head = self.head if classes is None else functional.embedding(classes, self.head)
            return head @ weight, head @ bias + self.bias
        return (weight, bias) if classes is None else (functional.embedding(classes, weight), bias[classes])

    def _check_arguments(self, head: Tensor | None) -> None:
        if self.variant not in get_args(Variant):
            raise UnsupportedError("no such variant", came=repr(self.variant), expected=", ".join(get_args(Variant)))
        if not self.channels or min(*self.channels, self.classes) < 1:
            raise UnsupportedError(
                "a fusion needs layers, channels and classes", came=f"channels {self.channels}, {self.classes} classes"
            )
        if type(self.smoothing) is not int or self.smoothing < 0:
            raise UnsupportedError(
                "smoothing is a number of cells", came=repr(self.smoothing), expected="0, for none, 1, 2, …"
            )
        if (head is None) == (self.variant == "tied"):
            raise UnsupportedError(
                "the variant 'tied' alone is given the classifier's head",
                came=f"{self.variant!r} {'without' if head is None else 'with'} a head",
                remedy='head=… of the classifier\'s last weights (C, D) for variant="tied", none for the others',
            )
        if head is not None and (head.dim() != 2 or len(head) != self.classes):
            raise UnsupportedError(
                "the head does not fit", came=f"{tuple(head.shape)}", expected=f"({self.classes}, D): a row a class"
            )
        if head is not None and not (head.isfinite().all() and head.any()):
            raise UnsupportedError("rows cannot be tied to this head", came="NaN or infinity in it, or zeros alone")

    def _check_features(self, features: Sequence[Tensor]) -> None:
        came = [tuple(feature.shape) for feature in features]
        fits = len(came) == len(self.channels) and all(
            len(shape) == 4 and shape[:2] == (came[0][0], width)
            for shape, width in zip(came, self.channels, strict=True)
        )
        if not fits:
            raise LayerError(
                "these are not the feature maps that this attention reads",
                came=", ".join(map(str, came)) or "none",
                expected=", ".join(f"(B, {width}, h, w)" for width in self.channels),
            )

    def _check_classes(self, classes: Tensor | None, pictures: int) -> None:
        if classes is None:
            return
        fits = classes.dim() == 1 or (classes.dim() == 2 and classes.shape[0] == pictures)
        if not fits or classes.dtype is not torch.int64 or not classes.shape[-1]:
            raise TargetError(
                "the classes wanted are whole numbers, a row a picture or one for all, at least one",
                came=f"{classes.dtype} {tuple(classes.shape)} for {pictures} pictures",
                expected="int64 (B, T) or (T,), or None for all classes",
            )
        if not torch.compiler.is_exporting():  # a program that is traced knows no values yet
            self._check_range(classes)

    def _check_range(self, classes: Tensor) -> None:
        """Before any row is taken: on a GPU one that there is not would end the whole process' use of it."""
        if ((classes < 0) | (classes >= self.classes)).any():
            raise TargetError(
                "there is no such class",
                came=f"class indices from {int(classes.min())} to {int(classes.max())}",
                expected=f"0 to {self.classes - 1}",
            )

    def _check_start(self, head: Tensor) -> None:
        came = f"a head {tuple(head.shape)} and a last feature map of {self.channels[-1]} channels"
        if self.variant in ("no-skip", "sigmoid"):
            raise UnsupportedError(
                f"the branches of {self.variant!r} cannot hand features on, so it cannot start from the head",
                remedy="tame, tied, no-skip-no-norm and l-cam can",
            )
        if tuple(head.shape) != (self.classes, self.channels[-1]):
            raise UnsupportedError(
                "the last layer is not what the head reads, so there is no class activation map to start from",
                came=came,
                expected=f"a head ({self.classes}, {self.channels[-1]}); or a last layer of the head's columns",
                remedy="read the layer that the head pools last, or start from random weights",
            )
        if self.head is not None and not self.head.equal(head.to(self.head)):
            raise UnsupportedError("tied rows start from the head they are tied to", came="another head")


class Branch(nn.Module):
    """What is done to one layer's features before fusion, at their own grid: act( norm( conv F ) + F ).

    Args:
        channels: of the features.
        width: of the 1×1 convolution; with a skip the same.
        norm: whether batch norm follows it.
        skip: whether the features are added.
        activation: the last step.
    """

    def __init__(self, channels: int, width: int, *, norm: bool, skip: bool, activation: nn.Module) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.skip = skip
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """(B, K, h, w) → (B, width, h, w)."""
        mixed = self.norm(self.convolution(features))
        activated: Tensor = self.activation(mixed + features if self.skip else mixed)
        return activated

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Make this act(F): by a norm of zero, through which the convolution still learns, else by the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            nn.init.zeros_(self.norm.weight)
            nn.init.zeros_(self.norm.bias)
            return
        nn.init.dirac_(self.convolution.weight)
        nn.init.zeros_(_bias_of(self.convolution))

    @torch.no_grad()
    def folded(self) -> Branch:
        """One convolution that does the work of all three: W' = diag(γ / √(σ² + ε)) · W + I, b' likewise."""
        folded = copy.deepcopy(self)
        weight, bias = self.convolution.weight, _bias_of(self.convolution)
        if isinstance(self.norm, nn.BatchNorm2d):
            assert self.norm.running_var is not None
            assert self.norm.running_mean is not None
            scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
            weight = scale[:, None, None, None] * weight
            bias = scale * (bias - self.norm.running_mean) + self.norm.bias
        if self.skip:
            weight = weight + torch.eye(len(weight)).to(weight)[:, :, None, None]
        folded.convolution.weight.copy_(weight)
        _bias_of(folded.convolution).copy_(bias)
        folded.norm, folded.skip = nn.Identity(), False
        return folded


def map_grid(grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(h, w) of the maps: the largest of the layers' grids, made smaller in its ratio until no side is above 56."""
    height, width = max(grids, key=lambda grid: (grid[0] * grid[1], grid))
    share = min(1, LARGEST_SIDE / height, LARGEST_SIDE / width)
    return max(1, round(height * share)), max(1, round(width * share))


def smoothing_radii(grids: Sequence[tuple[int, int]], smoothing: int) -> list[tuple[int, int]]:
    """For each grid the cells (vertical, horizontal) each way that are averaged: as many as its sides are larger."""
    height, width = (min(sides) for sides in zip(*grids, strict=True))
    return [(_radius(smoothing, own[0], height), _radius(smoothing, own[1], width)) for own in grids]


def _radius(smoothing: int, side: int, coarsest: int) -> int:
    """A mirror shows at most side − 1 cells."""
    return min(round(smoothing * side / coarsest), side - 1)


def _branch(channels: int, width: int, variant: Variant) -> Branch:
    return Branch(
        channels,
        width,
        norm=variant != "no-skip-no-norm",
        skip=variant not in ("no-skip", "no-skip-no-norm"),
        activation=nn.Sigmoid() if variant == "sigmoid" else nn.ReLU(),
    )


def _bias_of(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _fused(rows: Tensor, features: Tensor, radius: tuple[int, int]) -> Tensor:
    """Maps of rows (T, K) or (B, T, K) over features (B, K, h, w), in float32 at least: what is added up later.

    Averages are taken of the maps or, where these are more, of the features.
    """
    if rows.dim() == 3:
        return _averaged(fine(torch.einsum("btk,bkhw->bthw", rows, features)), radius)
    if rows.shape[0] < rows.shape[1]:
        return _averaged(fine(functional.conv2d(features, rows[:, :, None, None])), radius)
    return fine(functional.conv2d(_averaged(features, radius), rows[:, :, None, None]))


def _averaged(maps: Tensor, radius: tuple[int, int]) -> Tensor:
    """Every cell the mean of those around, which beyond an edge are those before it."""
    if radius == (0, 0):
        return maps
    down, across = radius
    mirrored = functional.pad(maps, (across, across, down, down), mode="reflect")
    return functional.avg_pool2d(mirrored, (2 * down + 1, 2 * across + 1), stride=1)


def _resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == grid:
        return maps
    return functional.interpolate(maps, grid, mode="bilinear", align_corners=False)
