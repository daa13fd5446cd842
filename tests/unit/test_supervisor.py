"""What several scorers report, added up."""

from scoring.metrics import Counters
from scoring.supervisor import Totals, _add


def test_a_rate_is_of_the_time_from_the_first_batch_taken_to_the_last_committed():
    """Not of the moments at which reports were seen: a short run is over before the second."""
    total = Totals()
    assert total.seconds == 0
    for transactions, span in ((6_000, [3_000_000_000, 3_400_000_000]), (4_000, [2_900_000_000, 3_300_000_000])):
        _add(total, Counters(transactions=transactions).report() | {"span": span})
    _add(total, Counters().report() | {"span": None})
    assert total.transactions == 10_000
    assert total.seconds == 0.5
