"""Towns of the United States with a position, a population and a first ZIP code.

Real places, rounded: latitude and longitude in degrees (WGS 84), population of the 2020 census, and a ZIP
code in use there. Simulated customers live near them, at addresses that do not exist.
"""

from typing import NamedTuple


class Place(NamedTuple):
    """A town. `zips` ZIP codes are used for it, counting up from `zip`."""

    city: str
    state: str
    latitude: float
    longitude: float
    population: int
    zip: int
    zips: int


# The reference data calls a customer rural where the town has fewer people than this.
RURAL_BELOW = 2_500

PLACES: tuple[Place, ...] = (
    Place("New York", "NY", 40.7128, -74.0060, 8_804_190, 10001, 30),
    Place("Los Angeles", "CA", 34.0522, -118.2437, 3_898_747, 90001, 30),
    Place("Chicago", "IL", 41.8781, -87.6298, 2_746_388, 60601, 30),
    Place("Houston", "TX", 29.7604, -95.3698, 2_304_580, 77002, 30),
    Place("Phoenix", "AZ", 33.4484, -112.0740, 1_608_139, 85003, 20),
    Place("Philadelphia", "PA", 39.9526, -75.1652, 1_603_797, 19102, 20),
    Place("San Antonio", "TX", 29.4241, -98.4936, 1_434_625, 78201, 20),
    Place("San Diego", "CA", 32.7157, -117.1611, 1_386_932, 92101, 20),
    Place("Dallas", "TX", 32.7767, -96.7970, 1_304_379, 75201, 20),
    Place("San Jose", "CA", 37.3382, -121.8863, 1_013_240, 95110, 15),
    Place("Austin", "TX", 30.2672, -97.7431, 961_855, 78701, 15),
    Place("Jacksonville", "FL", 30.3322, -81.6557, 949_611, 32202, 15),
    Place("Columbus", "OH", 39.9612, -82.9988, 905_748, 43201, 15),
    Place("Charlotte", "NC", 35.2271, -80.8431, 874_579, 28202, 15),
    Place("Indianapolis", "IN", 39.7684, -86.1581, 887_642, 46201, 15),
    Place("San Francisco", "CA", 37.7749, -122.4194, 873_965, 94102, 15),
    Place("Seattle", "WA", 47.6062, -122.3321, 737_015, 98101, 15),
    Place("Denver", "CO", 39.7392, -104.9903, 715_522, 80202, 15),
    Place("Washington", "DC", 38.9072, -77.0369, 689_545, 20001, 15),
    Place("Nashville", "TN", 36.1627, -86.7816, 689_447, 37201, 12),
    Place("Oklahoma City", "OK", 35.4676, -97.5164, 681_054, 73102, 12),
    Place("Boston", "MA", 42.3601, -71.0589, 675_647, 2108, 12),
    Place("El Paso", "TX", 31.7619, -106.4850, 678_815, 79901, 12),
    Place("Portland", "OR", 45.5152, -122.6784, 652_503, 97201, 12),
    Place("Las Vegas", "NV", 36.1699, -115.1398, 641_903, 89101, 12),
    Place("Detroit", "MI", 42.3314, -83.0458, 639_111, 48201, 12),
    Place("Memphis", "TN", 35.1495, -90.0490, 633_104, 38103, 12),
    Place("Louisville", "KY", 38.2527, -85.7585, 633_045, 40202, 12),
    Place("Baltimore", "MD", 39.2904, -76.6122, 585_708, 21201, 12),
    Place("Milwaukee", "WI", 43.0389, -87.9065, 577_222, 53202, 12),
    Place("Albuquerque", "NM", 35.0844, -106.6504, 564_559, 87102, 10),
    Place("Tucson", "AZ", 32.2226, -110.9747, 542_629, 85701, 10),
    Place("Fresno", "CA", 36.7378, -119.7871, 542_107, 93701, 10),
    Place("Sacramento", "CA", 38.5816, -121.4944, 524_943, 95811, 10),
    Place("Kansas City", "MO", 39.0997, -94.5786, 508_090, 64105, 10),
    Place("Atlanta", "GA", 33.7490, -84.3880, 498_715, 30303, 10),
    Place("Omaha", "NE", 41.2565, -95.9345, 486_051, 68102, 10),
    Place("Colorado Springs", "CO", 38.8339, -104.8214, 478_961, 80903, 10),
    Place("Raleigh", "NC", 35.7796, -78.6382, 467_665, 27601, 10),
    Place("Miami", "FL", 25.7617, -80.1918, 442_241, 33125, 10),
    Place("Minneapolis", "MN", 44.9778, -93.2650, 429_954, 55401, 10),
    Place("Tulsa", "OK", 36.1540, -95.9928, 413_066, 74103, 10),
    Place("Wichita", "KS", 37.6872, -97.3301, 397_532, 67202, 10),
    Place("New Orleans", "LA", 29.9511, -90.0715, 383_997, 70112, 10),
    Place("Cleveland", "OH", 41.4993, -81.6944, 372_624, 44102, 10),
    Place("Honolulu", "HI", 21.3069, -157.8583, 350_964, 96813, 6),
    Place("Pittsburgh", "PA", 40.4406, -79.9959, 302_971, 15201, 10),
    Place("Anchorage", "AK", 61.2181, -149.9003, 291_247, 99501, 6),
    Place("Boise", "ID", 43.6150, -116.2023, 235_684, 83702, 6),
    Place("Spokane", "WA", 47.6588, -117.4260, 228_989, 99201, 6),
    Place("Des Moines", "IA", 41.5868, -93.6250, 214_133, 50309, 6),
    Place("Birmingham", "AL", 33.5186, -86.8104, 200_733, 35203, 6),
    Place("Salt Lake City", "UT", 40.7608, -111.8910, 199_723, 84101, 6),
    Place("Little Rock", "AR", 34.7465, -92.2896, 202_591, 72201, 6),
    Place("Sioux Falls", "SD", 43.5446, -96.7311, 192_517, 57103, 4),
    Place("Chattanooga", "TN", 35.0456, -85.3097, 181_099, 37402, 6),
    Place("Jackson", "MS", 32.2988, -90.1848, 153_701, 39201, 4),
    Place("Charleston", "SC", 32.7765, -79.9311, 150_227, 29401, 4),
    Place("Waco", "TX", 31.5493, -97.1467, 138_486, 76701, 4),
    Place("Fargo", "ND", 46.8772, -96.7898, 125_990, 58102, 3),
    Place("Billings", "MT", 45.7833, -108.5007, 117_116, 59101, 3),
    Place("Manchester", "NH", 42.9956, -71.4548, 115_644, 3101, 3),
    Place("Green Bay", "WI", 44.5133, -88.0133, 107_395, 54301, 3),
    Place("Portland", "ME", 43.6591, -70.2568, 68_408, 4101, 3),
    Place("Cheyenne", "WY", 41.1400, -104.8202, 65_132, 82001, 3),
    Place("Charleston", "WV", 38.3498, -81.6326, 48_864, 25301, 3),
    Place("Burlington", "VT", 44.4759, -73.2121, 44_743, 5401, 2),
    Place("Durango", "CO", 37.2753, -107.8801, 19_071, 81301, 1),
    Place("Dayton", "TN", 35.4940, -85.0125, 7_065, 37321, 1),
    Place("Moab", "UT", 38.5733, -109.5498, 5_366, 84532, 1),
    Place("Red Cloud", "NE", 40.0889, -98.5195, 962, 68970, 1),
    Place("Marfa", "TX", 30.3095, -104.0206, 1_788, 79843, 1),
    Place("Galena", "IL", 42.4167, -90.4290, 3_308, 61036, 1),
    Place("Lone Pine", "CA", 36.6060, -118.0629, 1_484, 93545, 1),
    Place("Stockbridge", "MA", 42.2876, -73.3204, 2_018, 1262, 1),
    Place("Deadwood", "SD", 44.3767, -103.7296, 1_343, 57732, 1),
    Place("Eureka", "KS", 37.8239, -96.2892, 2_332, 67045, 1),
    Place("Thermopolis", "WY", 43.6461, -108.2120, 2_725, 82443, 1),
    Place("Wadley", "GA", 32.8668, -82.4040, 1_643, 30477, 1),
    Place("Carrizozo", "NM", 33.6418, -105.8772, 972, 88301, 1),
    Place("Pagosa Springs", "CO", 37.2695, -107.0098, 1_571, 81147, 1),
    Place("Hill City", "MN", 46.9930, -93.5983, 620, 55748, 1),
    Place("Eutaw", "AL", 32.8407, -87.8875, 2_012, 35462, 1),
    Place("Monson", "ME", 45.2867, -69.5006, 609, 4464, 1),
    Place("Joseph", "OR", 45.3543, -117.2296, 1_154, 97846, 1),
    Place("Thomas", "WV", 39.1490, -79.4981, 623, 26292, 1),
)
