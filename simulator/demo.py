"""The population that everything uses when nobody names a data directory."""

import os
import shutil
import tempfile
from pathlib import Path

from simulator.population import simulate_population, write_population

DEMO_CUSTOMERS, DEMO_MERCHANTS, DEMO_SEED = 10_000, 800, 1


def ensure_demo_data(
    directory: Path,
    customers: int = DEMO_CUSTOMERS,
    merchants: int = DEMO_MERCHANTS,
    seed: int = DEMO_SEED,
) -> Path:
    """Write a population to `directory` unless it is there already.

    It is written beside its place and moved there whole, so that two callers at once, or one that is killed,
    never leave half of it: whoever finds the directory finds all of it.

    Returns:
        The directory.
    """
    directory = Path(directory)
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        write_population(simulate_population(customers, merchants, seed), building)
        building.chmod(0o755)  # mkdtemp's 0700 would hide it from a server that runs as somebody else
        try:
            os.rename(building, directory)
        except OSError:
            # Somebody else was faster; theirs is the same, since the seed is.
            if not directory.is_dir():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return directory
