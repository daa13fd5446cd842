"""What keeps something: log groups, the bucket, the image repository, secrets."""

import json
import secrets
from typing import Any

from infra.aws.client import unless_missing
from infra.aws.resource import Kind, Resource, Spec, tag_map
from infra.aws.stack import Stack
from infra.errors import TerminalError


class LogGroup(Kind):
    """The log of a role's tasks. Spec: days, for which it is kept."""

    name = "log group"
    arn_types = ("logs:log-group",)

    def find(self, stack: Stack) -> list[Resource]:
        groups = stack.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=stack.path)
        return [
            self._resource(stack, name.removeprefix(stack.path), name, self._tags(stack, name))
            for name in (group["logGroupName"] for group in groups)
        ]

    def _tags(self, stack: Stack, group: str) -> dict[str, str]:
        arn = stack.arn("logs", f"log-group:{group}")
        return stack.api("logs").list_tags_for_resource(resourceArn=arn)["tags"]

    def exists(self, stack: Stack, ref: str) -> bool:
        return self._one(stack, ref) is not None

    def _one(self, stack: Stack, ref: str) -> Any:
        groups = stack.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=ref)
        return next((group for group in groups if group["logGroupName"] == ref), None)

    def id_of(self, arn: str) -> str:
        return arn.split(":log-group:")[1].removesuffix(":*")

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        group = f"{stack.path}{name}"
        stack.api("logs").create_log_group(logGroupName=group, tags=stack.tags(name))
        return group

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        if self._one(stack, ref).get("retentionInDays") == spec["days"]:
            return False
        stack.api("logs").put_retention_policy(logGroupName=ref, retentionInDays=spec["days"])
        return True

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("logs").delete_log_group(logGroupName=resource.id)


_PRIVATE = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


class Bucket(Kind):
    """Features and models as files; private, and over TLS only. AWS encrypts every bucket since 2023."""

    name = "bucket"
    arn_types = ("s3:",)

    def find(self, stack: Stack) -> list[Resource]:
        names = [bucket["Name"] for bucket in stack.api("s3").list_buckets()["Buckets"]]
        mine = [name for name in names if name == bucket_name(stack)]
        return [self._resource(stack, "files", name, self._tags(stack, name)) for name in mine]

    def _tags(self, stack: Stack, bucket: str) -> dict[str, str]:
        ask = stack.api("s3").get_bucket_tagging
        return tag_map(unless_missing(lambda: ask(Bucket=bucket)["TagSet"], "NoSuchTagSet") or [])

    def exists(self, stack: Stack, ref: str) -> bool:
        ask, missing = stack.api("s3").head_bucket, ("404", "NoSuchBucket")
        return unless_missing(lambda: ask(Bucket=ref, ExpectedBucketOwner=stack.account), *missing) is not None

    def id_of(self, arn: str) -> str:
        return arn.rpartition(":")[2]

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        bucket = bucket_name(stack)
        # us-east-1 is the one region that must not be named.
        place = {} if stack.region == "us-east-1" else {"LocationConstraint": stack.region}
        stack.api("s3").create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": place} if place else {}))
        return bucket

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        s3 = stack.api("s3")
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [f"arn:{stack.partition}:s3:::{ref}", f"arn:{stack.partition}:s3:::{ref}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
        steps = (
            # The tag first: S3 takes none at creation, and without it the bucket is ours by the ledger alone.
            (lambda: self._tags(stack, ref).get("fraudflow:stack"), stack.name, self._put_tags),
            (lambda: self._public(stack, ref), _PRIVATE, self._put_private),
            (
                lambda: self._policy(stack, ref),
                policy,
                lambda s, b, n: s3.put_bucket_policy(Bucket=b, Policy=json.dumps(policy)),
            ),
        )
        changed = False
        for present, wanted, put in steps:
            if present() != wanted:
                put(stack, ref, name)
                changed = True
        return changed

    @staticmethod
    def _put_tags(stack: Stack, bucket: str, name: str) -> None:
        stack.api("s3").put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": stack.tag_list(name)})

    @staticmethod
    def _put_private(stack: Stack, bucket: str, _: str) -> None:
        stack.api("s3").put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=_PRIVATE)

    @staticmethod
    def _public(stack: Stack, bucket: str) -> Any:
        ask, missing = stack.api("s3").get_public_access_block, "NoSuchPublicAccessBlockConfiguration"
        return unless_missing(lambda: ask(Bucket=bucket)["PublicAccessBlockConfiguration"], missing)

    @staticmethod
    def _policy(stack: Stack, bucket: str) -> Any:
        ask = stack.api("s3").get_bucket_policy
        return unless_missing(lambda: json.loads(ask(Bucket=bucket)["Policy"]), "NoSuchBucketPolicy")

    def delete(self, stack: Stack, resource: Resource) -> None:
        s3, bucket = stack.api("s3"), resource.id
        if not self.exists(stack, bucket):
            return
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            objects = [
                {"Key": version["Key"], "VersionId": version["VersionId"]}
                for listing in ("Versions", "DeleteMarkers")
                for version in page.get(listing, [])
            ]
            if objects:
                refused = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors")
                if refused:
                    raise TerminalError(f"cannot empty {resource}: {refused[0]['Key']}: {refused[0]['Message']}")
        s3.delete_bucket(Bucket=bucket)


def bucket_name(stack: Stack) -> str:
    """The bucket's name; it must be the only one in the world."""
    return f"{stack.prefix}-{stack.account}-{stack.region}"


class Repository(Kind):
    """The images. A tag, once pushed, stays what it is."""

    name = "image repository"
    arn_types = ("ecr:repository",)

    def find(self, stack: Stack) -> list[Resource]:
        repositories = stack.pages("ecr", "describe_repositories", "repositories")
        mine = [r for r in repositories if r["repositoryName"] == stack.prefix]
        ecr = stack.api("ecr")
        return [
            self._resource(
                stack,
                "images",
                r["repositoryName"],
                tag_map(ecr.list_tags_for_resource(resourceArn=r["repositoryArn"])["tags"]),
            )
            for r in mine
        ]

    def exists(self, stack: Stack, ref: str) -> bool:
        ask = stack.api("ecr").describe_repositories
        return unless_missing(lambda: ask(repositoryNames=[ref]), "RepositoryNotFoundException") is not None

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        stack.api("ecr").create_repository(
            repositoryName=stack.prefix,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            tags=stack.tag_list(name),
        )
        return stack.prefix

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("ecr").delete_repository(repositoryName=resource.id, force=True)


class Secret(Kind):
    """A secret as a JSON object. Spec: value (a mapping), or made_up (the name of a value that nobody chose).

    It is never logged, and no parameter of a flow.
    """

    name = "secret"
    arn_types = ("secretsmanager:secret",)

    def find(self, stack: Stack) -> list[Resource]:
        prefix = f"fraudflow/{stack.name}/"
        # With those that are being deleted: until then they hold their name.
        found = stack.pages(
            "secretsmanager",
            "list_secrets",
            "SecretList",
            IncludePlannedDeletion=True,
            Filters=[{"Key": "name", "Values": [prefix]}],
        )
        return [
            self._resource(stack, secret["Name"].removeprefix(prefix), secret["ARN"], tag_map(secret.get("Tags", [])))
            for secret in found
        ]

    def exists(self, stack: Stack, ref: str) -> bool:
        ask = stack.api("secretsmanager").describe_secret
        return unless_missing(lambda: ask(SecretId=ref), "ResourceNotFoundException") is not None

    def id_of(self, arn: str) -> str:
        return arn

    def create(self, stack: Stack, name: str, spec: Spec) -> str:
        return stack.api("secretsmanager").create_secret(
            Name=f"fraudflow/{stack.name}/{name}",
            SecretString=json.dumps(spec.get("value") or {spec["made_up"]: secrets.token_urlsafe(32)}),
            Tags=stack.tag_list(name),
        )["ARN"]

    def settle(self, stack: Stack, name: str, ref: str, spec: Spec) -> bool:
        manager = stack.api("secretsmanager")
        # Somebody deleted it in the console, which waits for a week or more and keeps its name until then.
        restored = "DeletedDate" in manager.describe_secret(SecretId=ref)
        if restored:
            manager.restore_secret(SecretId=ref)
        if "made_up" in spec:
            return restored
        if json.loads(manager.get_secret_value(SecretId=ref)["SecretString"]) == spec["value"]:
            return restored
        manager.put_secret_value(SecretId=ref, SecretString=json.dumps(spec["value"]))
        return True

    def delete(self, stack: Stack, resource: Resource) -> None:
        if self.exists(stack, resource.id):
            stack.api("secretsmanager").delete_secret(SecretId=resource.id, ForceDeleteWithoutRecovery=True)
