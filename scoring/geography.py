"""Distances on earth."""

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0087714  # mean radius of the WGS 84 ellipsoid, as in the reference pipeline


def distance_km(
    from_latitude: NDArray[np.float64],
    from_longitude: NDArray[np.float64],
    to_latitude: NDArray[np.float64],
    to_longitude: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Haversine distance between points given in degrees."""
    phi, to_phi = np.radians(from_latitude), np.radians(to_latitude)
    return haversine_km(phi, np.radians(from_longitude), np.cos(phi), to_phi, np.radians(to_longitude))


def haversine_km(
    phi: NDArray[np.float64],
    lambda_: NDArray[np.float64],
    cosine: NDArray[np.float64],
    to_phi: NDArray[np.float64],
    to_lambda: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The same in radians; `cosine` is that of `phi`, for callers that know it."""
    a = np.sin((to_phi - phi) / 2) ** 2 + cosine * np.cos(to_phi) * np.sin((to_lambda - lambda_) / 2) ** 2
    # Rounding can carry the sine's square past 1 for points on opposite sides of the earth.
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(a, 1)))
