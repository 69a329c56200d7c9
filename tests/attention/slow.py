"""TAME's attention as published, in plain loops: every branch resized to the maps' grid, joined, then fused."""

import math

import numpy as np


def lit(features, row, column, height, width):
    """Bilinear value of a (h, w) array at a cell of a finer or coarser grid, half-pixel centres, edges repeated."""

    def sides(cell, into, size):
        place = min(max((cell + 0.5) * size / into - 0.5, 0), size - 1)
        low = math.floor(place)
        return low, min(low + 1, size - 1), place - low

    top, bottom, down = sides(row, height, features.shape[0])
    left, right, across = sides(column, width, features.shape[1])
    above = features[top, left] * (1 - across) + features[top, right] * across
    below = features[bottom, left] * (1 - across) + features[bottom, right] * across
    return above * (1 - down) + below * down


def resized(features, grid):
    """(B, K, h, w) → (B, K, *grid)."""
    images, channels = features.shape[:2]
    out = np.zeros((images, channels, *grid))
    for image in range(images):
        for channel in range(channels):
            for row in range(grid[0]):
                for column in range(grid[1]):
                    out[image, channel, row, column] = lit(features[image, channel], row, column, *grid)
    return out


def convolved(features, weight, bias):
    """1×1: (B, K, h, w), (L, K), (L,) → (B, L, h, w)."""
    out = np.zeros((features.shape[0], len(weight), *features.shape[2:]))
    for image in range(features.shape[0]):
        for row in range(features.shape[2]):
            for column in range(features.shape[3]):
                for unit in range(len(weight)):
                    products = [weight[unit, k] * features[image, k, row, column] for k in range(features.shape[1])]
                    out[image, unit, row, column] = sum(products) + bias[unit]
    return out


def normed(features, norm, training):
    """Batch norm with the statistics of the batch, or with those it keeps."""
    out = np.zeros_like(features)
    for channel in range(features.shape[1]):
        values = features[:, channel]
        mean, variance = norm["mean"][channel], norm["variance"][channel]
        if training:
            mean = sum(values.ravel()) / values.size
            variance = sum((values.ravel() - mean) ** 2) / values.size
        out[:, channel] = (values - mean) / math.sqrt(variance + 1e-5) * norm["weight"][channel] + norm["bias"][channel]
    return out


def branch(features, weights, variant, training):
    """One layer's features before they are resized."""
    if variant == "l-cam":
        return features
    mixed = convolved(features, weights["weight"], weights["bias"])
    if variant != "no-skip-no-norm":
        mixed = normed(mixed, weights["norm"], training)
    if variant in ("tame", "sigmoid", "tied"):
        mixed = mixed + features
    return 1 / (1 + np.exp(-mixed)) if variant == "sigmoid" else np.maximum(mixed, 0)


def mirrored(cell, size):
    """The cell that a mirror in the middle of the first or the last cell shows."""
    if cell < 0:
        return -cell
    return 2 * (size - 1) - cell if cell >= size else cell


def averaged(features, down, across):
    """Mean of so many cells each way, edges mirrored: (B, K, h, w) → the same shape."""
    out = np.zeros_like(features)
    height, width = features.shape[2:]
    for row in range(height):
        for column in range(width):
            around = [
                features[:, :, mirrored(row + i, height), mirrored(column + j, width)]
                for i in range(-down, down + 1)
                for j in range(-across, across + 1)
            ]
            out[:, :, row, column] = sum(around) / len(around)
    return out


def smoothed(parts, smoothing):
    """Each branch averaged over as many cells as its sides are longer than the shortest, at most all but one."""
    shortest = [min(part.shape[axis] for part in parts) for axis in (2, 3)]
    out = []
    for part in parts:
        radii = [smoothing * part.shape[axis] / short for axis, short in zip((2, 3), shortest, strict=True)]
        down, across = (min(round(radius), part.shape[axis] - 1) for axis, radius in zip((2, 3), radii, strict=True))
        out.append(averaged(part, down, across))
    return out


def class_maps(features, branches, rows, biases, grid, variant, training, smoothing=0):
    """Smooth, resize, then fuse, all classes: (B, C, *grid)."""
    if variant == "l-cam":
        features = features[-1:]
    parts = [branch(one, weights, variant, training) for one, weights in zip(features, branches, strict=True)]
    parts = [resized(part, grid) for part in smoothed(parts, smoothing)]
    return convolved(np.concatenate(parts, axis=1), rows, biases)
