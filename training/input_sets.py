"""What a model can be given to look at."""

from scoring.features import MODEL_INPUTS
from training.dataset import INPUT_NAMES

# Codes that number things arbitrarily, and the month, of which no history here has all twelve. A model that splits on
# them learns one population by heart, and is wrong for every other.
IDENTITIES = ("cc_num", "merchant", "zip", "job", "transaction_month")
INPUT_SETS = {
    "online": tuple(name for name in INPUT_NAMES if name not in IDENTITIES),
    "static": MODEL_INPUTS,
    "general": tuple(name for name in MODEL_INPUTS if name not in IDENTITIES),
}
TITLES = {
    "online": f"LightGBM, static and online inputs ({len(INPUT_SETS['online'])})",
    "static": f"LightGBM, the {len(INPUT_SETS['static'])} static inputs",
    "general": f"LightGBM, the {len(INPUT_SETS['general'])} static inputs that number nothing",
}
