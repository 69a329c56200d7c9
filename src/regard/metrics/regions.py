"""Where the object is: boxes and masks as shares of pixels, and of the cells of a map.

Boxes and masks of a photo come into its frame as the photo did: `Geometry.boxes_to_frame` and `.mask_to_frame` of the
explanation's own geometry, which knows the crop, and where whole patches end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from regard.errors import MetricError
from regard.metrics.common_grid import on_grid


def region_of_boxes(boxes: Tensor, frame: tuple[int, int]) -> Tensor:
    """The share of each pixel that lies in any of the boxes, by exact area: overlaps count once.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2 in frame pixels, fractions kept; what lies beside the frame is cut off.
        frame: (H, W) of the explanation's geometry.

    Returns:
        (H, W), float64, in [0, 1]; all zero without boxes.

    Raises:
        MetricError: not (n, 4), NaN, or a box that ends before it begins.
    """
    boxes = torch.as_tensor(boxes).detach().double()
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise MetricError("boxes are rows of four numbers", came=f"{tuple(boxes.shape)}", expected="(n, 4)")
    wrong = ~(boxes[:, :2] <= boxes[:, 2:]).all(dim=1)
    if bool(wrong.any()):
        raise MetricError(
            "a box ends before it begins",
            came=f"{boxes[wrong][0].tolist()}",
            expected="x1 ≤ x2 and y1 ≤ y2",
            remedy="boxes given as x, y, width, height become x, y, x + width, y + height",
        )
    rows, down = _strips(boxes[:, 1], boxes[:, 3], frame[0])
    columns, across = _strips(boxes[:, 0], boxes[:, 2], frame[1])
    covered = (rows.T @ columns > 0).double()
    return (down @ covered @ across.T).clamp(max=1)


def _strips(starts: Tensor, ends: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """One axis cut at every pixel's and every box's edge.

    Returns:
        Whether each strip lies in each box, (n, strips), and how much of each pixel it fills, (side, strips).
    """
    pixels = torch.arange(side + 1, dtype=torch.float64, device=starts.device)
    edges = torch.cat([pixels, starts.clamp(0, side), ends.clamp(0, side)]).unique()
    middles = (edges[:-1] + edges[1:]) / 2
    inside = (starts[:, None] <= middles) & (middles < ends[:, None])
    fills = functional.one_hot(middles.long(), side).double() * edges.diff()[:, None]
    return inside.double(), fills.T


def shares_of(regions: Tensor) -> Tensor:
    """A region (..., H, W), boolean or as shares of pixels → shares, float64, in [0, 1].

    Raises:
        MetricError: no region, or values that are no shares.
    """
    if regions.dim() < 2 or 0 in regions.shape[-2:]:
        raise MetricError("a region has height and width", came=f"{tuple(regions.shape)}", expected="(..., H, W)")
    shares = regions.detach().double()
    if not bool(((shares >= 0) & (shares <= 1)).all()):
        raise MetricError(
            "a region is a mask, or the share of each pixel that belongs to it",
            came=f"values from {float(shares.min()):g} to {float(shares.max()):g}",
            expected="boolean, or 0 to 1",
            remedy="of a mask of labels or grey values say which are the object, for example mask == 3 or mask > 127",
        )
    return shares


def on_cells(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """The share of each cell of a map that is region, by exact area, also where cells are no whole pixels.

    Args:
        regions: (..., H, W) over the map's frame: boolean, or shares in [0, 1].
        grid: (h, w) of the map.

    Returns:
        (..., h, w), float64, in [0, 1].

    Raises:
        MetricError: no region, or values that are no shares.
    """
    return on_grid(shares_of(regions), grid).clamp(0, 1)
