"""Simulated AWS, a process of its own that prints its address and ends with its standard input."""

import json
import os
import sys

from moto.budgets.responses import BudgetsResponse
from moto.server import ThreadedMotoServer


def subscribers(self: BudgetsResponse) -> str:
    """DescribeSubscribersForNotification, which moto keeps but does not answer."""
    account, name = self._get_param("AccountId"), self._get_param("BudgetName")
    asked = self._get_param("Notification")
    budget = self.backend.budgets[account][name]
    found = [
        one.subscribers for one in budget.notifications if one.details["NotificationType"] == asked["NotificationType"]
    ]
    return json.dumps({"Subscribers": found[0]})


def main() -> None:
    BudgetsResponse.describe_subscribers_for_notification = subscribers  # type: ignore[attr-defined]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads are of no more use, and stopping them takes seconds


if __name__ == "__main__":
    main()
