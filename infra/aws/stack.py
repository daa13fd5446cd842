"""One stack: its names, its tags, its ledger. Everything on AWS is found again by one of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

from infra.aws import client
from infra.aws.ledger import Ledger
from infra.aws.settings import STACK_NAME
from infra.errors import TerminalError
from infra.settings import Settings

STACK_TAG, NAME_TAG, EXPIRES_TAG = "fraudflow:stack", "fraudflow:name", "fraudflow:expires"


@dataclass(frozen=True)
class Stack:
    """The stack of the settings. `expires` goes onto what is created from now on."""

    settings: Settings
    expires: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, settings: Settings) -> "Stack":
        """The stack of these settings, to expire as they say, counted from now."""
        return cls(settings, datetime.now(UTC) + timedelta(hours=settings.aws.expires_after_hours))

    def named(self, name: str) -> "Stack":
        """Another stack of the same account and region.

        Raises:
            TerminalError: no stack can have that name.
        """
        if not re.fullmatch(STACK_NAME, name):
            raise TerminalError(f"no stack is called {name!r}: names are of at most 16 small letters and digits")
        aws = self.settings.aws.model_copy(update={"stack": name})
        return Stack(self.settings.model_copy(update={"aws": aws}), self.expires)

    @property
    def name(self) -> str:
        """Its short name, the value of its tag."""
        return self.settings.aws.stack

    @property
    def prefix(self) -> str:
        """What its names begin with, where AWS wants dashes; a stack's name has none, so no other begins so."""
        return f"fraudflow-{self.name}"

    @property
    def path(self) -> str:
        """What its names begin with, where AWS wants slashes."""
        return f"/fraudflow/{self.name}/"

    @property
    def region(self) -> str:
        """The region that it is in."""
        return self.settings.aws.region

    @cached_property
    def ledger(self) -> Ledger:
        """What it created. Stacks of one name in two regions, or accounts, are two."""
        file = f"{self.account}-{self.region}-{self.name}.jsonl"
        return Ledger(self.settings.local.home.expanduser() / "aws" / file)

    @cached_property
    def account(self) -> str:
        """The account that the credentials belong to.

        Raises:
            TerminalError: it is not the one that the settings name.
        """
        account = _account(self.region)
        wanted = self.settings.aws.account_id
        if wanted and account != wanted:
            raise TerminalError(f"these credentials are for account {account}, and the settings name {wanted}")
        return account

    def api(self, service: str) -> Any:
        """The boto3 client of a service."""
        return client.api(service, self.region)

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """The ARN of something in this account."""
        return f"arn:{self.partition}:{service}:{self.region if regional else ''}:{self.account}:{resource}"

    @property
    def partition(self) -> str:
        """`aws`, or another where the region is in China or for a government."""
        return client.session(self.region).get_partition_for_region(self.region)

    def tags(self, name: str) -> dict[str, str]:
        """The tags of a resource, by key; `name` is its name within the stack."""
        return {
            STACK_TAG: self.name,
            NAME_TAG: name,
            EXPIRES_TAG: self.expires.isoformat(timespec="seconds"),
            "Name": f"{self.prefix}-{name}",
        }

    def tag_list(self, name: str, key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
        """The tags as a list of pairs; the services spell the words differently."""
        return [{key: k, value: v} for k, v in self.tags(name).items()]

    def pages(self, service: str, operation: str, listing: str, **arguments: Any) -> Iterator[Any]:
        """Every item of a paginated answer."""
        for page in self.api(service).get_paginator(operation).paginate(**arguments):
            yield from page.get(listing, [])


@cache
def _account(region: str) -> str:
    with client.explaining("ask AWS who we are"):
        return client.api("sts", region).get_caller_identity()["Account"]
