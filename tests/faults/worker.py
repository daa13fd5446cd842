"""A scorer as `scoring.worker` runs it, with the faults and the mutation that its environment names."""

import faulthandler
import os
import signal
import sys

from scoring import worker
from tests.faults import mutations, plan

if __name__ == "__main__":
    # One that is stuck says where: kill -USR1.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    plan.install()
    mutations.apply(os.environ.get(mutations.VARIABLE, ""))
    sys.exit(worker.main())
