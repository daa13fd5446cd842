"""The published vocabularies: what the values of the columns are and which code a model sees for each.

The small dictionaries are fixed, because models that exist were trained on these codes; they are those of the
reference data set. The large ones (card, ZIP code, job, merchant) number whatever values occur.
"""

GENDERS: dict[str, int] = {"F": 0, "M": 1}
SETTINGS: dict[str, int] = {"urban": 0, "rural": 1}
AGE_GROUPS: dict[str, int] = {"26-35": 0, "36-45": 1, "46-55": 2, "Under 25": 3, "Over 55": 4}
CATEGORIES: dict[str, int] = {
    "entertainment": 0,
    "food_dining": 1,
    "gas_transport": 2,
    "grocery_net": 3,
    "grocery_pos": 4,
    "health_fitness": 5,
    "home": 6,
    "kids_pets": 7,
    "misc_net": 8,
    "misc_pos": 9,
    "personal_care": 10,
    "shopping_net": 11,
    "shopping_pos": 12,
    "travel": 13,
}
HOURS: dict[str, int] = {f"{hour:02d}": hour for hour in range(24)}
# Months are numbered in the order of their names' text: "1", "10", "11", "12", "2", ...
MONTHS: dict[str, int] = {name: code for code, name in enumerate(sorted(str(m) for m in range(1, 13)))}
WEEKDAYS: dict[str, int] = {str(day): day for day in range(7)}  # "0" is Monday

CUSTOMER_COLUMNS: tuple[str, ...] = (
    "ssn", "cc_num", "first", "last", "gender", "street", "city", "state", "zip", "latitude", "longitude",
    "city_pop", "job", "dob", "acct_num", "profile", "age", "setting", "age_group",
)  # fmt: skip
MERCHANT_COLUMNS: tuple[str, ...] = ("category", "merchant_name")
TRANSACTION_COLUMNS: tuple[str, ...] = (
    "cc_num", "trans_num", "amt", "merchant", "transaction_date", "merch_lat", "merch_long", "is_fraud",
)  # fmt: skip

DICTIONARY_FILES: dict[str, str] = {
    "age-group": "age_group_dict.json",
    "category": "category_dict.json",
    "cc_num": "cc_num_dict.json",
    "gender": "gender_dict.json",
    "job": "job_dict.json",
    "merchant": "merchant_dict.json",
    "setting": "setting_dict.json",
    "transaction_hour": "transaction_hour_dict.json",
    "transaction_month": "transaction_month_dict.json",
    "transaction_weekday": "transaction_weekday_dict.json",
    "zip": "zip_dict.json",
}
"""Folder name to file name, as the reference data set lays them out."""
