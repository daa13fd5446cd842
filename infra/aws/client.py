"""boto3 clients, and what their errors mean: worth another try, or for a person to mend."""

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)

from infra.errors import FraudflowError, TerminalError, TransientError

T = TypeVar("T")
# boto3 itself tries five times within seconds; Prefect's task, which comes after, waits longer.
_CONFIG = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=30)

_THROTTLED = {
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
}
# Something else is still there, or not there yet; it goes, or comes, by itself.
_NOT_YET = {
    "ClientException.Retry",
    "ClusterContainsServicesException",
    "ClusterContainsTasksException",
    "ConcurrentModificationException",
    "DeleteConflict",
    "DependencyViolation",
    "InvalidIPAddress.InUse",
    "OperationAbortedException",
    "PlatformTaskDefinitionIncompatibilityException",
    "QueueDeletedRecently",
    "ResourceInUse",
    "ResourceInUseException",
    "ServiceUnavailable",
    "UpdateInProgressException",
    "AWS.SimpleQueueService.QueueDeletedRecently",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_LOGIN = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_NO_LOGIN = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
# What AWS's own words leave open.
_HINTS = {
    "InvalidSubnet.Conflict": "A subnet that is not this stack's has these addresses in its VPC: remove that one, or "
    "tear the stack down and choose other addresses in FRAUDFLOW_AWS__VPC_CIDR",
}


@cache
def session(region: str) -> boto3.Session:
    """The one session of this process for a region.

    Raises:
        TerminalError: there is no such region, or AWS_PROFILE names no profile.
    """
    with explaining("begin with AWS"):
        made = boto3.Session(region_name=region)
    known = [
        name
        for partition in made.get_available_partitions()
        for name in made.get_available_regions("ecs", partition_name=partition)
    ]
    if region not in known:
        near = difflib.get_close_matches(region, known, 2)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise TerminalError(f"AWS has no region {region!r} that this boto3 knows (FRAUDFLOW_AWS__REGION){meant}")
    return made


@cache
def api(service: str, region: str) -> Any:
    """The client of a service. It finds credentials and `AWS_ENDPOINT_URL` as boto3 always does."""
    return session(region).client(service, config=_CONFIG)


@contextmanager
def explaining(action: str) -> Iterator[None]:
    """Turn AWS's errors into ours: what was being done, what AWS said, what to do next.

    Raises:
        TransientError: throttled, out of reach, or something is not there, or not gone, yet.
        TerminalError: everything else.
    """
    try:
        yield
    except ClientError as error:
        raise _explained(error, action) from error
    except _NO_LOGIN as error:
        raise TerminalError(
            f"cannot {action}: no AWS credentials ({error}). Log in (`aws sso login`), or set AWS_PROFILE"
        ) from error
    except (NoConnectionError, HTTPClientError) as error:
        raise TransientError(f"cannot {action}: AWS is out of reach: {error}") from error
    except (IncompleteReadError, FlexibleChecksumError) as error:
        raise TransientError(f"cannot {action}: what came is not what was sent: {error}") from error
    except BotoCoreError as error:
        raise TerminalError(f"cannot {action}: {error}") from error


def code(error: ClientError) -> str:
    """AWS's name for what went wrong."""
    return error.response.get("Error", {}).get("Code", "")


def unless_missing(ask: Callable[[], T], *missing: str) -> T | None:
    """What AWS answers; None where it says with one of these codes that there is no such thing."""
    try:
        return ask()
    except ClientError as error:
        if code(error) in missing:
            return None
        raise


def _explained(error: ClientError, action: str) -> FraudflowError:
    name, message = code(error), error.response.get("Error", {}).get("Message", "")
    told = f"cannot {action}: {name}: {message}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if name in _THROTTLED or name in _NOT_YET or status >= 500 or _role_not_there_yet(name, message):
        return TransientError(told)
    if name in _DENIED:
        return TerminalError(f"{told}. Whoever runs this needs the permission for {error.operation_name}")
    if name in _LOGIN:
        return TerminalError(
            f"{told}. Log in to AWS again; a region that is not enabled (FRAUDFLOW_AWS__REGION) says this too"
        )
    if name in _HINTS:
        return TerminalError(f"{told}. {_HINTS[name]}")
    if "LimitExceeded" in name or "QuotaExceeded" in name or name == "LimitExceededException":
        return TerminalError(
            f"{told}. A quota of the account is used up: delete what is not needed, or ask for more in Service Quotas"
        )
    return TerminalError(told)


def _role_not_there_yet(name: str, message: str) -> bool:
    """Whether a service says that it cannot use a role: for some seconds after its creation nobody can."""
    return name in {"InvalidParameterException", "InvalidParameterValue", "ClientException"} and (
        "assume" in message.lower() or "role is valid" in message.lower()
    )
