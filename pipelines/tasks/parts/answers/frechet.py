"""How far two sets of features lie apart, each taken as one normal distribution. Pure numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def moments(features: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Mean (dim,) and covariance (dim, dim) of features (rows, dim), row i counted weights[i] times.

    The covariance is the one that numpy.cov gives of rows repeated so often: divided by their number less one.
    """
    total = weights.sum()
    mean = weights @ features / total
    halves = features * np.sqrt(weights)[:, None]  # of one array by itself BLAS computes half the products
    scatter = halves.T @ halves - total * np.outer(mean, mean)
    return mean, scatter / max(total - 1, np.finfo(np.float64).tiny)


def frechet_distance(one: tuple[Floats, Floats], two: tuple[Floats, Floats]) -> float:
    """The squared Wasserstein-2 distance of two normal distributions, each a mean and a covariance; 0 is equal.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1^1/2 C2 C1^1/2)^1/2). Source: Dowson & Landau 1982, "The Frechet distance
    between multivariate normal distributions"; of pictures' features: Heusel et al. 2017. Checked against scipy's sqrtm
    in the tests.
    """
    (mean, covariance), (other_mean, other) = one, two
    root = _root(covariance)
    inner = np.linalg.eigvalsh(root @ other @ root)
    shared = np.sqrt(np.maximum(inner, 0)).sum()
    apart = float(np.square(mean - other_mean).sum())
    return max(0.0, apart + float(np.trace(covariance) + np.trace(other) - 2 * shared))


def _root(matrix: Floats) -> Floats:
    """The symmetric root of a covariance; what rounding made negative counts as 0."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
