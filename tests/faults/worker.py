"""A scorer as `scoring.worker` runs it, with the faults and the mutation that its environment names."""

import os
import sys

from scoring import worker
from tests.faults import mutations, plan

if __name__ == "__main__":
    plan.install()
    mutations.apply(os.environ.get(mutations.VARIABLE, ""))
    sys.exit(worker.main())
