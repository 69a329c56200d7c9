"""Weights by other algorithms: plain loops, and scipy."""

import math

import pytest


def power(base, exponent):
    return base**exponent if base > 0 else 0.0


def of_threshold(scores, alpha, threshold):
    return [power((alpha - 1) * score - threshold, 1 / (alpha - 1)) for score in scores]


def by_bisection(scores, alpha):
    """α-entmax of a list: the threshold is halved until floats can tell no more."""
    high = (alpha - 1) * max(scores)
    low = high - 1
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if math.fsum(of_threshold(scores, alpha, middle)) > 1 else (low, middle)
    return of_threshold(scores, alpha, low)


def by_brent(scores, alpha):
    """α-entmax of a list: scipy finds the threshold."""
    optimize = pytest.importorskip("scipy.optimize")
    top = (alpha - 1) * max(scores)
    threshold = optimize.brentq(
        lambda threshold: math.fsum(of_threshold(scores, alpha, threshold)) - 1, top - 1, top, xtol=1e-15, rtol=1e-15
    )
    return of_threshold(scores, alpha, threshold)


def by_quadratic_program(scores):
    """Sparsemax of a list: scipy minimises Σ (a − s)² over a ≥ 0, Σ a = 1."""
    optimize = pytest.importorskip("scipy.optimize")
    solved = optimize.minimize(
        lambda weights: sum((weight - score) ** 2 for weight, score in zip(weights, scores, strict=True)),
        [1 / len(scores)] * len(scores),
        method="SLSQP",
        bounds=[(0, 1)] * len(scores),
        constraints={"type": "eq", "fun": lambda weights: sum(weights) - 1},
        options={"ftol": 1e-14, "maxiter": 200},
    )
    return solved.x.tolist()


def exponentials(scores, temperature=1.0):
    top = max(scores)
    values = [math.exp((score - top) / temperature) for score in scores]
    return [value / math.fsum(values) for value in values]


def squares(scores, epsilon):
    values = [score**2 + epsilon for score in scores]
    return [value / math.fsum(values) for value in values]


def of_largest(scores, k):
    """Softmax of the k largest, the first of equals: one after another is taken."""
    kept = []
    for _ in range(min(k, len(scores))):
        rest = [place for place in range(len(scores)) if place not in kept]
        kept.append(max(rest, key=lambda place: (scores[place], -place)))
    weights = iter(exponentials([scores[place] for place in sorted(kept)]))
    return [next(weights) if place in kept else 0.0 for place in range(len(scores))]
