"""What must be so before anything is made: settings with which a stack would come up and not work, or not be safe."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from infra.aws import own_vpc
from infra.aws.containers import prefect_api_url
from infra.aws.stack import Stack
from infra.aws.storage import bucket_name
from infra.errors import TerminalError
from infra.s3 import is_s3
from infra.settings import Settings

_LOGIN = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")


def check(stack: Stack) -> None:
    """Refuse settings that do not do for ECS, or not for this account and the stack as it is there.

    Raises:
        TerminalError: with every complaint at once.
    """
    complaints = [*_needs(stack), *_dashboard(stack.settings), *_model(stack)]
    if not stack.settings.aws.allow_insecure:
        complaints += _dangers(stack)
    # AWS is asked only about settings that could do.
    complaints = complaints or [*own_vpc.complaints(stack), *own_vpc.moves(stack)]
    if complaints:
        raise TerminalError("the settings do not do for ECS:\n- " + "\n- ".join(complaints))


def _needs(stack: Stack) -> list[str]:
    kafka, complaints = stack.settings.kafka, []
    if not kafka.bootstrap_servers:
        complaints.append("no Kafka: name yours in FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS")
    if any((kafka.ssl_ca_location, kafka.ssl_certificate_location, kafka.ssl_key_location)):
        complaints.append("Kafka's certificates are files of this machine: log in with SASL_SSL on ECS")
    if not prefect_api_url(stack):
        complaints.append("no Prefect that tasks in the VPC can reach: FRAUDFLOW_AWS__PREFECT_API_URL")
    return complaints


def _dangers(stack: Stack) -> list[str]:
    aws, kafka, url, complaints = stack.settings.aws, stack.settings.kafka, prefect_api_url(stack), []
    if kafka.security_protocol not in {"SSL", "SASL_SSL"}:
        complaints.append("Kafka without encryption: FRAUDFLOW_KAFKA__SECURITY_PROTOCOL=SASL_SSL")
    if not (kafka.sasl_username and kafka.sasl_password):
        complaints.append("Kafka without a login: FRAUDFLOW_KAFKA__SASL_USERNAME and ..._SASL_PASSWORD")
    if kafka.replication_factor < 3:
        complaints.append("topics that a broker can take with it: FRAUDFLOW_KAFKA__REPLICATION_FACTOR=3")
    if url and urlsplit(url).scheme != "https":
        complaints.append(f"Prefect without encryption at {url}: use https")
    if not (aws.prefect_auth_string or aws.prefect_api_key):
        complaints.append(
            "whoever reaches Prefect can run code here: FRAUDFLOW_AWS__PREFECT_AUTH_STRING, or ..._API_KEY"
        )
    return complaints


def _dashboard(settings: Settings) -> list[str]:
    """A dashboard that people can reach has a name, a certificate and a login; no setting goes round them."""
    aws, complaints = settings.aws, []
    if not aws.dashboard_cidrs:
        return []
    if not aws.dashboard_url or urlsplit(aws.dashboard_url).scheme != "https":
        complaints.append("the dashboard needs a name of yours: FRAUDFLOW_AWS__DASHBOARD_URL=https://...")
    if not aws.dashboard_certificate_arn:
        complaints.append("the dashboard needs that name's certificate: FRAUDFLOW_AWS__DASHBOARD_CERTIFICATE_ARN")
    if settings.dashboard.secrets is None:
        complaints.append(
            "whoever reaches the dashboard would read it: name a secrets.toml with a section [auth], Streamlit's OIDC "
            "login, in FRAUDFLOW_DASHBOARD__SECRETS"
        )
    elif problem := _login_problem(settings.dashboard.secrets.expanduser(), aws.dashboard_url or ""):
        complaints.append(f"{settings.dashboard.secrets} {problem}")
    return complaints


def _login_problem(path: Path, url: str) -> str | None:
    try:
        login = tomllib.loads(path.read_text()).get("auth")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except tomllib.TOMLDecodeError as error:
        return f"is no TOML: {error}"
    if not isinstance(login, dict):
        return "has no section [auth]"
    missing = [name for name in _LOGIN if not login.get(name)]
    if missing:
        return f"lacks {', '.join(missing)} in [auth]"
    wanted = f"{url.rstrip('/')}/oauth2callback"
    if login["redirect_uri"] != wanted:
        return f"sends people elsewhere after their login: redirect_uri must be {wanted}"
    return None


def _model(stack: Stack) -> list[str]:
    scoring = stack.settings.scoring
    if scoring.model is None:
        return []
    if not is_s3(scoring.model):
        place = f"s3://{bucket_name(stack)}/models/{Path(scoring.model).name}"
        return [
            f"the model {scoring.model} is a file of this machine: copy it with `aws s3 cp {scoring.model} {place}` "
            f"(the bucket is there once the stack is), and set FRAUDFLOW_SCORING__MODEL={place}"
        ]
    if not scoring.model_sha256:
        return ["a model from S3 is loaded only if it is the one you mean: FRAUDFLOW_SCORING__MODEL_SHA256"]
    return []
