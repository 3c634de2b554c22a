"""What theory expects of locality-sensitive hashing: the exponent of n in the time of a query.

A family of hash functions that lets points at distance r collide with probability p1 and points at distance c r with p2
answers a query in about n ** rho, rho = ln p1 / ln p2 (Indyk and Motwani 1998), given as many tables as that takes.
"""

import math

_SPHERE = 2.0  # diameter of the unit sphere: no two points are farther apart


def cross_polytope_exponent(near: float, far: float) -> float:
    """Rho of cross-polytope hashing on the unit sphere, for many dimensions.

    With r = ``near`` and c r = ``far``, rho = (1 / c^2) (4 - c^2 r^2) / (4 - r^2).

    Args:
        near: Euclidean distance of points that should collide, between unit vectors.
        far: Euclidean distance of points that should not; above ``near``.

    Returns:
        Rho in (0, 1); NaN unless 0 < near < far < 2.

    Source:
        Andoni, Indyk, Laarhoven, Razenshteyn and Schmidt 2015, Practical and Optimal LSH for Angular Distance,
        arXiv:1509.02897, corollary 1, from ln(1 / p) = r^2 / (4 - r^2) ln d + O(ln ln d). Differs: the lower order
        term, which is not small in hundreds of dimensions, is left out.
    """
    if not 0 < near < far < _SPHERE:
        return math.nan
    return (near / far) ** 2 * (4 - far**2) / (4 - near**2)


def hyperplane_exponent(near: float, far: float) -> float:
    """Rho of random hyperplanes: ln p1 / ln p2 with p = 1 - angle / pi, the angle of unit vectors 2 asin(distance / 2).

    Args:
        near: As for `cross_polytope_exponent`.
        far: The same.

    Returns:
        Rho in (0, 1); NaN unless 0 < near < far < 2.

    Source:
        Charikar 2002, Similarity Estimation Techniques from Rounding Algorithms, STOC, for p. Differs: none.
    """
    if not 0 < near < far < _SPHERE:
        return math.nan
    collides = (1 - 2 * math.asin(distance / 2) / math.pi for distance in (near, far))
    first, second = (math.log(p) for p in collides)
    return first / second
