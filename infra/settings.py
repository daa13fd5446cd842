"""Every setting, read once from the environment (`FRAUDFLOW_...`), a `.env` file, or the running local stack.

Nested names are joined by two underscores: `FRAUDFLOW_KAFKA__BOOTSTRAP_SERVERS=broker:9092`.
What is named here is used in place of a local server; what is left out is filled in from `stack.json`,
which the local stack writes while it is up.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from infra.aws.settings import AwsSettings
from infra.errors import TerminalError

STACK_FILE = "stack.json"
_CLOUD_API = "https://api.prefect.cloud/api"
# Of a model that names none.
_USUAL_THRESHOLD = 0.5


def _kafka(name: str) -> str:
    return f"FRAUDFLOW_KAFKA__{name.upper()}"


class Topics(BaseModel):
    """Names of the Kafka topics."""

    transactions: str = "Transactions"
    predictions: str = "Predictions"
    alerts: str = "FraudAlerts"
    dead_letters: str = "DeadLetters"
    labels: str = "Labels"
    models: str = "Models"
    histories: str = "Histories"


class KafkaSettings(BaseModel):
    """A Kafka cluster and how to log in to it. The names are librdkafka's, with underscores for dots."""

    bootstrap_servers: str | None = Field(default=None, description="host:port,...; left out: the local stack's broker")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = Field(default=None, description="Confluent Cloud: the API key")
    sasl_password: SecretStr | None = Field(default=None, description="Confluent Cloud: the API secret")
    ssl_ca_location: Path | None = None
    ssl_certificate_location: Path | None = Field(default=None, description="the client's certificate, for mTLS")
    ssl_key_location: Path | None = None
    ssl_key_password: SecretStr | None = None
    ssl_truststore_location: Path | None = Field(
        default=None, description="a PEM file as the Hazelcast member sees it; left out: ssl_ca_location"
    )
    topics: Topics = Topics()
    partitions: int = Field(
        default=4, ge=1, description="of each topic when it is created; bounds the scorer processes"
    )
    replication_factor: int = Field(
        default=1, ge=1, description="of each topic when it is created; from 3 on, two replicas must have a record"
    )
    retention_hours: float | None = Field(
        default=None,
        gt=0,
        description="how long a topic, when it is created, keeps records; left out: as the cluster does. "
        "Labels are kept for ever",
    )

    @model_validator(mode="after")
    def _whole_login(self) -> "KafkaSettings":
        """Refuse half a login: Kafka's clients would fall back to Kerberos, or wait without a word."""
        if self.security_protocol.startswith("SASL_"):
            parts = ("sasl_mechanism", "sasl_username", "sasl_password")
            missing = [name for name in parts if getattr(self, name) is None]
            if missing:
                raise ValueError(f"{self.security_protocol} needs {' and '.join(map(_kafka, missing))} too")
        elif self.sasl_mechanism:
            raise ValueError(f"{self.sasl_mechanism} needs {_kafka('security_protocol')}=SASL_SSL or SASL_PLAINTEXT")
        if bool(self.ssl_certificate_location) != bool(self.ssl_key_location):
            names = map(_kafka, ("ssl_certificate_location", "ssl_key_location"))
            raise ValueError(f"a client's certificate needs both {' and '.join(names)}")
        return self


class HazelcastSettings(BaseModel):
    """A Hazelcast cluster."""

    members: list[str] | None = Field(default=None, description='["host:port"]; left out: the local stack')
    cluster_name: str = "dev"
    connect_timeout_seconds: float = Field(default=20, gt=0)
    invocation_timeout_seconds: float = Field(default=15, gt=0)
    kafka_bootstrap_servers: str | None = Field(
        default=None, description="the brokers as the members reach them; left out: as we reach them"
    )


class ProjectionSettings(BaseModel):
    """What of `Predictions` is kept in Hazelcast for people to query."""

    max_entries: int = Field(
        default=250_000, ge=1_000, description="newest predictions kept, per member; the dashboard counts as many"
    )
    ttl_seconds: int = Field(default=0, ge=0, description="0: kept until max_entries pushes them out")


class ScoringSettings(BaseModel):
    """The scorer."""

    group_id: str = "fraudflow-scorer"
    processes: int = Field(default=0, ge=0, description="0: one per core")
    model: str | None = Field(
        default=None,
        description="an ONNX classifier, a file or s3://bucket/key; left out: the project's own. A champion in the "
        "topic Models goes before it",
    )
    model_sha256: str | None = Field(default=None, description="of `model`: any other file is refused")
    alert_threshold: float | None = Field(
        default=None, ge=0, le=1, description="left out: the model's own, or 0.5 where its manifest names none"
    )
    explain_alerts: bool = Field(
        default=True, description="with a model's own booster; false where alerts are so many that it costs too much"
    )
    max_batch: int = Field(default=10_000, ge=1, le=100_000)
    transaction_timeout_seconds: int = Field(default=10, ge=2)
    delivery: Literal["exactly-once", "at-least-once"] = Field(
        default="exactly-once",
        description="at-least-once shows predictions some milliseconds earlier, and may repeat some after a failure",
    )
    snapshot_rows: int = Field(
        default=500_000,
        ge=0,
        description="of a partition, after which what its cards did is written to the topic Histories: who takes it "
        "over reads about so many back, or a quarter of the events that the history holds; 0: never",
    )
    # As base64, in JSON, still a message that librdkafka takes: a million bytes (`message.max.bytes`). One that it
    # refuses would be tried again for ever.
    dead_letter_bytes: int = Field(
        default=16_384, ge=0, le=500_000, description="of the offending value kept in a dead letter"
    )
    dead_letter_share: float = Field(
        default=0.5, gt=0, le=1, description="more of the last dead_letter_window transactions stop scoring; 1: never"
    )
    dead_letter_window: int = Field(default=1_000, ge=1)
    health_address: str = Field(default="127.0.0.1", description="the interface that /health and /metrics listen on")
    health_port: int = Field(
        default=0, ge=0, le=65_000, description="of the first scorer, the next ones follow; 0: any free one"
    )
    mask_card_numbers: bool = True
    card_token_key: SecretStr = Field(
        default=SecretStr("fraudflow-demo-key-change-me"), description="keys the HMAC-SHA256 that stands for a card"
    )
    resident_customers: int = Field(
        default=1_000_000,
        ge=0,
        description="so many, and each scorer holds them all; of more, only the parts in which it has seen a card",
    )
    feature_poll_seconds: float = Field(default=2, gt=0, description="how often the feature manifest is looked at")
    model_poll_seconds: float = Field(default=0.5, gt=0, description="how often the topic of the models is looked at")

    def threshold(self, own: float | None = None) -> float:
        """From which score on there is an alert: a setting that somebody made goes before the model's own."""
        return next(at for at in (self.alert_threshold, own, _USUAL_THRESHOLD) if at is not None)


class TrainingSettings(BaseModel):
    """From history to a model, and where models are kept. Periods are of the transactions' own dates."""

    label_delay_days: float = Field(default=7, ge=0, description="until what is said of a transaction counts as known")
    undisputed_is_genuine: bool = Field(
        default=True, description="what nobody has spoken about after that time; false: not learnt from"
    )
    warmup_days: float = Field(
        default=7, ge=0, description="at the start of a history, not learnt from: what cards did before is not in it"
    )
    validation_days: float = Field(default=10, gt=0, description="before the holdout: for choosing model and threshold")
    holdout_days: float = Field(default=14, gt=0, description="the newest labelled ones: for judging, nothing else")
    review_cost: float = Field(default=10, ge=0, description="of looking at one alert, in the currency of the amounts")
    fraud_loss_share: float = Field(default=1, ge=0, description="of a missed fraud's amount, that is lost")
    fraud_loss_fixed: float = Field(default=0, ge=0, description="lost with each missed fraud besides, such as a fee")
    search_seconds: float = Field(default=60, ge=0, description="for the search of hyper-parameters; 0: none")
    threads: int = Field(default=0, ge=0, description="0: one per core")
    tracking_uri: str | None = Field(
        default=None, description="of MLflow's server or database; left out: SQLite in the stack's home"
    )
    artifact_location: str | None = Field(
        default=None, description="where MLflow keeps files, such as s3://bucket/models; left out: the stack's home"
    )
    model_name: str = Field(default="fraudflow", description="in MLflow's registry")


class MonitorSettings(BaseModel):
    """What is watched, and from where on it is an incident."""

    window_days: float = Field(
        default=7, gt=0, description="of transactions that are compared; whole weeks, or weekdays would drift"
    )
    max_rows: int = Field(
        default=100_000,
        ge=1_000,
        description="that are looked at, evenly spread over two windows and the labels' delay",
    )
    min_rows: int = Field(default=2_000, ge=1, description="fewer say nothing about drift")
    min_labels: int = Field(
        default=20,
        ge=1,
        description="known frauds, or alerts seen and promised together; fewer say nothing about precision, recall and "
        "the number of alerts",
    )
    psi: float = Field(default=0.25, gt=0, description="population stability index from which on an input has drifted")
    alert_factor: float = Field(
        default=2, gt=1, description="so many times more or fewer alerts than the model promised have drifted"
    )
    quality_drop: float = Field(
        default=0.25, gt=0, le=1, description="share of the promised precision or recall that may be lost"
    )
    max_lag: int = Field(default=100_000, ge=0, description="transactions that wait to be scored")
    dead_letter_share: float = Field(default=0.01, ge=0, le=1, description="of the window's transactions")
    feature_age_hours: float = Field(
        default=36,
        gt=0,
        description="since the last load; load-features runs nightly on this machine, on ECS when somebody starts it",
    )
    retrain: bool = Field(default=False, description="start `train` on drift or a drop in quality")
    retrain_deployment: str = Field(
        default="train/local", description="what is started then; it must be where training is installed"
    )
    retrain_cooldown_hours: float = Field(default=24, ge=0, description="between two such starts")


class DashboardSettings(BaseModel):
    """What people look at."""

    address: str = Field(default="127.0.0.1", description="the interface to listen on")
    secrets: Path | None = Field(
        default=None, description="Streamlit's secrets.toml with a section [auth]: everyone then logs in through OIDC"
    )
    time_zone: str = Field(default="UTC", description="IANA name of the zone that times of the system are shown in")
    currency: str = Field(default="$", description="stands before amounts")
    query_seconds: float = Field(default=20, gt=0, description="a query that takes longer is given up")
    playground: bool = Field(default=True, description="whether people may write SQL of their own")
    playground_rows: int = Field(default=1_000, ge=1, le=100_000, description="of an answer to SQL of their own")
    claim_minutes: float = Field(
        default=15, gt=0, description="a case goes back to the queue after that long without a verdict"
    )
    link_key: SecretStr = Field(
        default=SecretStr("fraudflow-demo-link-key-change-me"), description="signs the links that customers answer by"
    )
    link_hours: float = Field(default=48, gt=0, description="how long a customer's link can be used")
    metrics_port: int | None = Field(default=None, description="serve Prometheus metrics here, on the same address")
    give_way: bool = Field(
        default=True,
        description="use what others leave over of this machine's cores, so that scoring is as fast as without "
        "people who look; where others compute without a pause, pages stand still meanwhile",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name} is no time zone of the IANA's: Europe/Berlin is one") from error
        return name


class LocalSettings(BaseModel):
    """The stack on this machine. A port of 0 means any free one."""

    home: Path = Field(default=Path(".fraudflow"), description="state, logs and pids")
    cache: Path = Field(default=Path("~/.cache/fraudflow"), description="downloaded jars, and copies from S3")
    kafka_port: int = Field(default=9092, ge=0, le=65_535)
    hazelcast_port: int = Field(default=5701, ge=0, le=65_530, description="of the first member; the others follow")
    prefect_port: int = Field(default=4200, ge=0, le=65_535)
    dashboard_port: int = Field(default=8501, ge=0, le=65_535)
    members: int = Field(default=1, ge=1, le=5)
    kafka_heap: str = "512m"
    hazelcast_heap: str = "2g"
    hazelcast_niceness: int = Field(
        default=5,
        ge=0,
        le=19,
        description="how far members come behind what scores: one that counts for somebody who looks takes all cores "
        "for a moment. Beside other work they starve; 0 gives them the same share",
    )
    java_options: str = Field(default="", description="more of them for Kafka and Hazelcast, as on a command line")
    maven_repository: str = "https://repo1.maven.org/maven2"


class Settings(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix="FRAUDFLOW_", env_nested_delimiter="__", env_file=".env", extra="ignore"
    )

    kafka: KafkaSettings = KafkaSettings()
    hazelcast: HazelcastSettings = HazelcastSettings()
    projection: ProjectionSettings = ProjectionSettings()
    scoring: ScoringSettings = ScoringSettings()
    local: LocalSettings = LocalSettings()
    training: TrainingSettings = TrainingSettings()
    monitor: MonitorSettings = MonitorSettings()
    dashboard: DashboardSettings = DashboardSettings()
    aws: AwsSettings = AwsSettings()
    prefect_api_url: str | None = Field(
        default=None, description="a Prefect server of your own; left out: the local one"
    )
    prefect_ui_url: str | None = Field(
        default=None, description="where people see its runs; left out, what the address of its API says"
    )
    dashboard_url: str | None = Field(default=None, description="where people reach it; customers' links begin with it")

    @property
    def prefect_pages(self) -> str:
        """Where people see Prefect's runs. Prefect Cloud's pages are on another host than its API, in other words."""
        if self.prefect_ui_url:
            return self.prefect_ui_url.rstrip("/")
        api = str(self.prefect_api_url)
        if api.startswith(_CLOUD_API):
            api = api.replace(_CLOUD_API, "https://app.prefect.cloud")
            return api.replace("/accounts/", "/account/").replace("/workspaces/", "/workspace/").rstrip("/")
        return api.rstrip("/").removesuffix("/api")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the running stack last, so that whatever a person names wins over it."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            file_secret_settings,
            _StackSource(settings_cls),
        )


class _StackSource(PydanticBaseSettingsSource):
    """Addresses of the local stack, from its `stack.json`."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        local = self.current_state.get("local") or {}
        # Only the home: whether the rest is valid is found out, and told by name, when all sources are together.
        home = local.home if isinstance(local, LocalSettings) else Path(local.get("home") or LocalSettings().home)
        return read_stack_file(home.expanduser()).get("settings", {})


def read_stack_file(home: Path) -> dict[str, Any]:
    """What the local stack in `home` wrote about itself.

    A file that is not JSON, as a power cut can leave it, says as much as none: the stack finds its processes
    without it, and writes it anew at the next `up`.
    """
    try:
        return json.loads((home / STACK_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}


@cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        TerminalError: a variable has a value that it cannot have. The message names it and not its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise TerminalError("; ".join(_told(problem) for problem in error.errors(include_input=False))) from None
    except SettingsError as error:
        raise TerminalError(str(error)) from None


def _told(problem: Any) -> str:
    variable = "FRAUDFLOW_" + "__".join(str(part) for part in problem["loc"]).upper()
    hint = """, written as JSON: '["host:5701"]'""" if problem["type"] == "list_type" else ""
    return f"{variable}: {problem['msg']}{hint}"
