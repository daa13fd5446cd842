"""How Prefect's worker hears of dead tasks: ECS's events, by a rule, into a queue. And the budget alarm."""

import json
from typing import Any

from infra.aws.client import unless_missing
from infra.aws.resource import Kind, Resource, Spec, tag_map
from infra.aws.stack import STACK_TAG, Stack

_NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


class Queue(Kind):
    """A queue that one event rule may send to. Spec: rule (its ARN)."""

    name = "queue"
    arn_types = ("sqs:",)

    def find(self, stack: Stack) -> list[Resource]:
        sqs = stack.api("sqs")
        urls = stack.pages("sqs", "list_queues", "QueueUrls", QueueNamePrefix=f"{stack.prefix}-")
        names = {url.rpartition("/")[2]: url for url in urls}
        return [
            self._resource(
                stack, name.removeprefix(f"{stack.prefix}-"), name, sqs.list_queue_tags(QueueUrl=url).get("Tags", {})
            )
            for name, url in names.items()
        ]

    def _url(self, stack: Stack, ref: str) -> str | None:
        return unless_missing(lambda: stack.api("sqs").get_queue_url(QueueName=ref)["QueueUrl"], *_NO_QUEUE)

    def exists(self, stack: Stack, ref: str) -> bool:
        return self._url(stack, ref) is not None

    def id_of(self, arn: str) -> str:
        return arn.rpartition(":")[2]

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        queue = queue_name(stack)
        stack.api("sqs").create_queue(QueueName=queue, Attributes=self._attributes(stack, spec), tags=stack.tags(name))
        return queue

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        sqs, url, wanted = stack.api("sqs"), self._url(stack, ref), self._attributes(stack, spec)
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(wanted)).get("Attributes", {})
        same = {key: _loaded(found.get(key)) for key in wanted} == {key: _loaded(v) for key, v in wanted.items()}
        if not same:
            sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
        return not same

    @staticmethod
    def _attributes(stack: Stack, spec: Spec) -> dict[str, str]:
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": queue_arn(stack),
                    "Condition": {"ArnEquals": {"aws:SourceArn": spec["rule"]}},
                }
            ],
        }
        # An hour: older news of a task is of no use to the worker.
        return {"MessageRetentionPeriod": "3600", "SqsManagedSseEnabled": "true", "Policy": json.dumps(policy)}

    def delete(self, stack: Stack, resource: Resource) -> None:
        url = self._url(stack, resource.id)
        if url:
            stack.api("sqs").delete_queue(QueueUrl=url)


def queue_name(stack: Stack) -> str:
    """The queue's name."""
    return f"{stack.prefix}-task-events"


def queue_arn(stack: Stack) -> str:
    """The queue's ARN, known before it is there."""
    return stack.arn("sqs", queue_name(stack))


class EventRule(Kind):
    """What of ECS's events goes into the queue. Spec: cluster (its ARN), queue (its ARN)."""

    name = "event rule"
    arn_types = ("events:rule",)

    def find(self, stack: Stack) -> list[Resource]:
        events = stack.api("events")
        rules = stack.pages("events", "list_rules", "Rules", NamePrefix=f"{stack.prefix}-")
        return [
            self._resource(
                stack,
                rule["Name"].removeprefix(f"{stack.prefix}-"),
                rule["Name"],
                tag_map(events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]),
            )
            for rule in rules
        ]

    def exists(self, stack: Stack, ref: str) -> bool:
        ask = stack.api("events").describe_rule
        return unless_missing(lambda: ask(Name=ref), "ResourceNotFoundException") is not None

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        pattern = {
            "source": ["aws.ecs"],
            "detail-type": ["ECS Task State Change"],
            "detail": {"clusterArn": [spec["cluster"]]},
        }
        stack.api("events").put_rule(
            Name=rule_name(stack), EventPattern=json.dumps(pattern), State="ENABLED", Tags=stack.tag_list(name)
        )
        return rule_name(stack)

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        events = stack.api("events")
        if any(target["Arn"] == spec["queue"] for target in events.list_targets_by_rule(Rule=ref)["Targets"]):
            return False
        events.put_targets(Rule=ref, Targets=[{"Id": "queue", "Arn": spec["queue"]}])
        return True

    def delete(self, stack: Stack, resource: Resource) -> None:
        events = stack.api("events")
        if not self.exists(stack, resource.id):
            return
        targets = [target["Id"] for target in events.list_targets_by_rule(Rule=resource.id)["Targets"]]
        if targets:
            events.remove_targets(Rule=resource.id, Ids=targets)
        events.delete_rule(Name=resource.id)


def rule_name(stack: Stack) -> str:
    """The rule's name."""
    return f"{stack.prefix}-task-events"


class Budget(Kind):
    """Mails when the stack's month gets dear. Spec: usd, email.

    It counts what carries the stack's tag, which AWS does once the tag is activated in the billing console.
    """

    name = "budget"
    arn_types = ("budgets:budget",)

    def find(self, stack: Stack) -> list[Resource]:
        ask, name = stack.api("budgets").describe_budget, budget_name(stack)
        budget = unless_missing(lambda: ask(AccountId=stack.account, BudgetName=name)["Budget"], "NotFoundException")
        if budget is None:
            return []
        # The name is the stack's alone, and asking for a budget's tags is a permission that few have.
        return [Resource(self.name, "cost", budget["BudgetName"])]

    def exists(self, stack: Stack, ref: str) -> bool:
        return any(resource.id == ref for resource in self.find(stack))

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        stack.api("budgets").create_budget(
            AccountId=stack.account,
            Budget={
                "BudgetName": budget_name(stack),
                "BudgetType": "COST",
                "TimeUnit": "MONTHLY",
                "BudgetLimit": {"Amount": str(spec["usd"]), "Unit": "USD"},
                "CostFilters": {"TagKeyValue": [f"user:{STACK_TAG}${stack.name}"], "Region": [stack.region]},
            },
            NotificationsWithSubscribers=[
                {
                    "Notification": {
                        "NotificationType": kind,
                        "ComparisonOperator": "GREATER_THAN",
                        "Threshold": threshold,
                        "ThresholdType": "PERCENTAGE",
                    },
                    "Subscribers": [{"SubscriptionType": "EMAIL", "Address": spec["email"]}],
                }
                for kind, threshold in (("ACTUAL", 80.0), ("FORECASTED", 100.0))
            ],
            ResourceTags=stack.tag_list(name),
        )
        return budget_name(stack)

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        budgets = stack.api("budgets")
        found = budgets.describe_budget(AccountId=stack.account, BudgetName=ref)["Budget"]
        if float(found["BudgetLimit"]["Amount"]) == spec["usd"] and self._told(stack, ref) == {spec["email"]}:
            return False
        budgets.delete_budget(AccountId=stack.account, BudgetName=ref)
        self.create(stack, name, spec)
        return True

    @staticmethod
    def _told(stack: Stack, ref: str) -> set[str]:
        """Whom the budget's alarms go to."""
        budgets, of = stack.api("budgets"), {"AccountId": stack.account, "BudgetName": ref}
        return {
            one["Address"]
            for alarm in budgets.describe_notifications_for_budget(**of).get("Notifications", [])
            for one in budgets.describe_subscribers_for_notification(Notification=alarm, **of).get("Subscribers", [])
        }

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("budgets").delete_budget(AccountId=stack.account, BudgetName=resource.id)


def budget_name(stack: Stack) -> str:
    """The budget's name; budgets are global in an account, so the region is a part of it."""
    return f"{stack.prefix}-{stack.region}"


def _loaded(text: str | None) -> Any:
    return json.loads(text) if text and text.startswith("{") else text
