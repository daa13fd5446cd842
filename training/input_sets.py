"""What a model can be given to look at."""

from scoring.features import MODEL_INPUTS
from scoring.inputs import INPUT_NAMES

# Codes that number things arbitrarily, and the month, of which no history here has all twelve. A model that splits on
# them learns one population by heart, and is wrong for every other.
IDENTITIES = ("cc_num", "merchant", "zip", "job", "transaction_month")
# How busy a shop is depends on how many shops there are, and a partition sees only its share of that: a model that
# splits on it is wrong where there are other shops or partitions.
LOCAL = ("merchant_rate",)
INPUT_SETS = {
    "online": tuple(name for name in INPUT_NAMES if name not in (*IDENTITIES, *LOCAL)),
    "everything": INPUT_NAMES,
    "static": MODEL_INPUTS,
    "general": tuple(name for name in MODEL_INPUTS if name not in IDENTITIES),
}
TITLES = {
    "online": f"LightGBM, static and online inputs ({len(INPUT_SETS['online'])})",
    "everything": f"LightGBM, every input ({len(INPUT_SETS['everything'])})",
    "static": f"LightGBM, the {len(INPUT_SETS['static'])} static inputs",
    "general": f"LightGBM, the {len(INPUT_SETS['general'])} static inputs that number nothing",
}
COMPARED = ("static", "general")
"""Beside which a model is judged: what it is worth to know what a card did before."""
