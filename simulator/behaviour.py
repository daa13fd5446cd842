"""How people spend: when, on what, how much. Judgement, not measurement; plausible is the aim.

Axes of the tables: group (see `groups`), weekday (0 = Monday), hour (0-23), month (0 = January), category.
"""

from dataclasses import dataclass

import numpy as np

from simulator.vocabulary import AGE_GROUPS, SETTINGS


@dataclass(frozen=True)
class Spending:
    """One category of shops.

    Attributes:
        weight: share of purchases, relative to the other categories.
        median: of the amount, US dollars.
        sigma: of the amount's logarithm.
        peak: hour at which it is busiest; `width`: hours around it, wide for shops that open all day.
        by_age: multiplies the weight, in the order 26-35, 36-45, 46-55, Under 25, Over 55.
        by_season: month (1-12) to multiplier of the weight.
    """

    weight: float
    median: float
    sigma: float
    peak: float
    width: float
    by_age: tuple[float, float, float, float, float] = (1, 1, 1, 1, 1)
    by_season: tuple[tuple[int, float], ...] = ()


_GIFTS = ((11, 1.4), (12, 1.9), (1, 0.8))
_SUMMER = ((6, 1.4), (7, 1.7), (8, 1.6))

SPENDING: dict[str, Spending] = {
    "entertainment": Spending(7, 38, 0.9, 20, 4, (1.3, 1.0, 0.9, 1.7, 0.7), _SUMMER),
    "food_dining": Spending(10, 26, 0.7, 18, 5, (1.3, 1.1, 1.0, 1.3, 0.8)),
    "gas_transport": Spending(12, 48, 0.4, 14, 7, (1.0, 1.1, 1.1, 0.9, 0.9)),
    "grocery_net": Spending(4, 52, 0.6, 19, 5, (1.3, 1.2, 1.0, 0.8, 0.6)),
    "grocery_pos": Spending(13, 62, 0.7, 16, 5, (0.9, 1.1, 1.1, 0.6, 1.2)),
    "health_fitness": Spending(5, 44, 0.8, 12, 5, (1.0, 0.9, 1.0, 0.7, 1.4), ((1, 1.5),)),
    "home": Spending(7, 58, 0.9, 14, 5, (0.9, 1.2, 1.2, 0.4, 1.1), ((4, 1.3), (5, 1.3))),
    "kids_pets": Spending(7, 41, 0.8, 15, 5, (1.2, 1.6, 1.1, 0.4, 0.7), _GIFTS),
    "misc_net": Spending(4, 32, 1.2, 21, 6, (1.2, 1.0, 0.9, 1.5, 0.7)),
    "misc_pos": Spending(5, 27, 1.1, 15, 6),
    "personal_care": Spending(6, 31, 0.8, 13, 5, (1.1, 1.0, 1.0, 1.1, 0.9)),
    "pharmacy": Spending(5, 22, 0.8, 13, 5, (0.7, 0.8, 1.0, 0.5, 1.6)),
    "shopping_net": Spending(7, 46, 1.2, 21, 5, (1.3, 1.1, 0.9, 1.5, 0.7), _GIFTS),
    "shopping_pos": Spending(8, 51, 1.1, 15, 4, (1.0, 1.0, 1.0, 1.2, 0.9), _GIFTS),
    "travel": Spending(3, 94, 1.3, 12, 7, (1.2, 1.0, 1.1, 0.9, 1.0), _SUMMER),
    "utilities": Spending(4, 85, 0.6, 10, 6, (0.9, 1.1, 1.1, 0.4, 1.1), ((1, 1.3), (2, 1.2))),
}
OTHER = Spending(4, 40, 1.0, 15, 6)
"""For a category that somebody else's merchants have and this table lacks."""

# Purchases per person, relative; and of the amounts.
ACTIVITY_BY_AGE = dict(zip(AGE_GROUPS, (1.2, 1.15, 1.05, 0.9, 0.8), strict=True))
AMOUNT_BY_AGE = dict(zip(AGE_GROUPS, (1.0, 1.15, 1.15, 0.7, 0.95), strict=True))
# The hour around which people of an age are out, and how far their day spreads from it, in hours.
_DAY_BY_AGE = {
    "26-35": (17.0, 4.6),
    "36-45": (16.0, 4.6),
    "46-55": (15.5, 4.6),
    "Under 25": (18.5, 4.8),
    "Over 55": (13.5, 4.2),
}
_WEEKDAY = np.array([0.92, 0.90, 0.95, 1.00, 1.15, 1.22, 1.02])
# Weekends start later, by hours.
_WEEKEND_SHIFT = np.array([0, 0, 0, 0, 0.5, 1.0, 0.5])
_NIGHT_FLOOR = 0.03
MONTH_ACTIVITY = np.array([0.90, 0.90, 0.97, 0.98, 1.00, 1.03, 1.05, 1.04, 0.98, 1.00, 1.08, 1.30])

# Kilometres from home to a shop in the own region: a gamma distribution's shape and scale, and its cut.
HOME_RADIUS_SHAPE = 1.3
HOME_RADIUS_SCALE_KM = {"urban": 14.0, "rural": 32.0}
HOME_RADIUS_MAX_KM = 120.0
# Share of purchases made on a journey, in another town: by category, else the default.
AWAY_SHARE = {"travel": 0.15, "gas_transport": 0.02, "food_dining": 0.02, "entertainment": 0.02}
AWAY_SHARE_DEFAULT = 0.004
# Share of purchases at one of the customer's usual shops, and how many of those there are in a category.
USUAL_SHARE, USUAL_SHOPS = 0.65, 3


def groups() -> list[tuple[str, str]]:
    """(age group, setting) of each profile group, in the order of the tables' axis."""
    return [(age, setting) for age in AGE_GROUPS for setting in SETTINGS]


def _around(hours: np.ndarray, peak: float | np.ndarray, width: float) -> np.ndarray:
    """A bell over the clock's circle: 1 at the peak."""
    apart = np.abs(hours - peak) % 24
    apart = np.minimum(apart, 24 - apart)
    return np.exp(-0.5 * (apart / width) ** 2)


def hour_weights() -> np.ndarray:
    """How active a group is in an hour, float64 [group, weekday, hour]; a group's week sums to 168."""
    hours = np.arange(24)
    week = np.empty((len(groups()), 7, 24))
    for at, (age, setting) in enumerate(groups()):
        peak, width = _DAY_BY_AGE[age]
        if setting == "rural":
            peak -= 1.0
        for day in range(7):
            week[at, day] = (_around(hours, peak + _WEEKEND_SHIFT[day], width) + _NIGHT_FLOOR) * _WEEKDAY[day]
        week[at] *= 168 / week[at].sum()
    return week


def category_weights(categories: list[str]) -> np.ndarray:
    """Chance of a category, float64 [month, group, hour, category], summing to 1 over the last axis."""
    hours = np.arange(24)
    ages = list(AGE_GROUPS)
    result = np.empty((12, len(groups()), 24, len(categories)))
    for at, name in enumerate(categories):
        spending = SPENDING.get(name, OTHER)
        clock = 0.15 + _around(hours, spending.peak, spending.width)
        season = np.array([dict(spending.by_season).get(month, 1.0) for month in range(1, 13)])
        by_age = dict(zip(ages, spending.by_age, strict=True))
        group = np.array(
            [
                by_age[age] * (1.4 if setting == "rural" and name == "gas_transport" else 1.0)
                for age, setting in groups()
            ]
        )
        result[..., at] = spending.weight * season[:, None, None] * group[None, :, None] * clock[None, None, :]
    return result / result.sum(axis=-1, keepdims=True)
