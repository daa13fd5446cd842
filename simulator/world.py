"""A population as arrays, ready to draw purchases from."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from simulator import behaviour
from simulator.draws import Tables, alias_tables, hashed_uniform
from simulator.places import PLACES
from simulator.population import Population

KM_PER_DEGREE = 6371.0087714 * np.pi / 180  # of latitude, on the sphere that scoring measures distances on


@dataclass(frozen=True)
class World:
    """What a draw needs, by customer number (row of the customers), merchant number and category number.

    Attributes:
        cards: int64 [customers]; merchant_names: String [merchants].
        latitude, longitude: float64 [customers], degrees, of home.
        radius: float64 [customers], km, scale of how far from home people shop.
        spending: float64 [customers], multiplies amounts.
        groups: alias tables of the profile groups; `members` turns their entries into customers.
        everybody: alias table over all customers, by activity.
        group_activity: float64 [group], purchases of a group relative to the others.
        categories: names; shops: alias tables per category; `shelf` turns their entries into merchants.
        amount_median, amount_sigma, away_share: float64 [category].
        hours: float64 [group, weekday, hour]; kinds: float64 [month, group, hour, category], cumulative.
    """

    cards: np.ndarray
    merchant_names: pl.Series
    latitude: np.ndarray
    longitude: np.ndarray
    radius: np.ndarray
    spending: np.ndarray
    groups: Tables
    members: np.ndarray
    everybody: Tables
    group_activity: np.ndarray
    categories: list[str]
    shops: Tables
    shelf: np.ndarray
    amount_median: np.ndarray
    amount_sigma: np.ndarray
    away_share: np.ndarray
    hours: np.ndarray
    kinds: np.ndarray

    def merchants(self, category: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """A merchant of each row's category, int64 [n], the popular ones more often."""
        return self.shelf[self.shops.draw(category, uniform)]

    def usual_merchants(self, customer: np.ndarray, category: np.ndarray, nth: np.ndarray) -> np.ndarray:
        """The merchant that is a customer's `nth` usual one in a category: the same at every purchase."""
        return self.merchants(category, hashed_uniform(customer, category, nth))

    def beside(
        self, latitude: np.ndarray, longitude: np.ndarray, km: np.ndarray, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The points `km` away in a `direction` (radians); degrees rounded as in the reference data."""
        north = km * np.cos(direction) / KM_PER_DEGREE
        east = km * np.sin(direction) / (KM_PER_DEGREE * np.cos(np.radians(latitude)))
        return np.round(latitude + north, 6), np.round(longitude + east, 6)


TOWN_LATITUDE = np.array([place.latitude for place in PLACES])
TOWN_LONGITUDE = np.array([place.longitude for place in PLACES])


def world_of(population: Population, seed: int) -> World:
    """The arrays of a population; `seed` fixes who is active and which shops are popular."""
    rng = np.random.default_rng([seed, 3])
    people = population.customers
    age = people["age_group"].to_list()
    setting = people["setting"].to_list()
    activity = rng.gamma(2.0, 0.5, people.height) + 0.05
    activity *= np.array([behaviour.ACTIVITY_BY_AGE.get(a, 1.0) for a in age])
    spending = np.exp(0.25 * rng.standard_normal(people.height))
    spending *= np.array([behaviour.AMOUNT_BY_AGE.get(a, 1.0) for a in age])

    number = {pair: at for at, pair in enumerate(behaviour.groups())}
    group = np.array([number.get(pair, 0) for pair in zip(age, setting, strict=True)])
    by_group = [np.flatnonzero(group == at) for at in range(len(number))]

    # The same name may stand under two categories in other people's data: its first one counts.
    shops = population.merchants.unique("merchant_name", keep="first", maintain_order=True)
    categories = sorted(shops["category"].unique().to_list())
    kind = shops["category"].to_numpy()
    by_category = [np.flatnonzero(kind == name) for name in categories]
    popularity = [rng.permutation(1.0 / (np.arange(len(rows)) + 3.0)) for rows in by_category]
    spends = [behaviour.SPENDING.get(name, behaviour.OTHER) for name in categories]
    return World(
        cards=people["cc_num"].to_numpy(),
        merchant_names=shops["merchant_name"],
        latitude=people["latitude"].to_numpy(),
        longitude=people["longitude"].to_numpy(),
        radius=np.array(
            [behaviour.HOME_RADIUS_SCALE_KM.get(s, behaviour.HOME_RADIUS_SCALE_KM["urban"]) for s in setting]
        ),
        spending=spending,
        groups=alias_tables([activity[rows] for rows in by_group]),
        members=np.concatenate(by_group),
        everybody=alias_tables([activity]),
        group_activity=np.array([activity[rows].sum() for rows in by_group]),
        categories=categories,
        shops=alias_tables(popularity),
        shelf=np.concatenate(by_category),
        amount_median=np.array([s.median for s in spends]),
        amount_sigma=np.array([s.sigma for s in spends]),
        away_share=np.array([behaviour.AWAY_SHARE.get(name, behaviour.AWAY_SHARE_DEFAULT) for name in categories]),
        hours=behaviour.hour_weights(),
        kinds=np.cumsum(behaviour.category_weights(categories), axis=-1),
    )
