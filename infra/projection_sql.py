"""The shape of the projection: what its maps hold, how SQL sees them, and the statement of each job."""

from dataclasses import dataclass

from infra.hazelcast import CARD_ACTIVITY, PREDICTION_VIEW, PREDICTIONS, SUSPECTS

TOPIC_MAPPING = "predictions_topic"

# What existing readers of predictionResult know, and what was added; name and SQL type.
PREDICTION_COLUMNS = {
    "transaction_number": "VARCHAR",
    "transaction_date": "VARCHAR",
    "is_fraud": "INTEGER",
    "amount": "DOUBLE",
    "merchant": "VARCHAR",
    "category": "VARCHAR",
    "merchant_lat": "DOUBLE",
    "merchant_lon": "DOUBLE",
    "credit_card_number": "VARCHAR",
    "card_token": "VARCHAR",
    "card_last4": "VARCHAR",
    "customer_name": "VARCHAR",
    "customer_city": "VARCHAR",
    "customer_age_group": "VARCHAR",
    "customer_gender": "VARCHAR",
    "customer_lat": "DOUBLE",
    "customer_lon": "DOUBLE",
    "distance_from_home": "DOUBLE",
    "transaction_weekday_code": "INTEGER",
    "transaction_hour_code": "INTEGER",
    "transaction_month_code": "INTEGER",
    "fraud_probability": "DOUBLE",
    "fraud_model_prediction": "INTEGER",
    "source_partition": "INTEGER",
    "source_offset": "BIGINT",
    "model_version": "VARCHAR",
    "features_version": "VARCHAR",
    "challenger_version": "VARCHAR",
    "challenger_probability": "DOUBLE",
    "inference_time_ns": "BIGINT",
    "transaction_processing_total_time": "BIGINT",
}

# Card numbers are whole where masking is off: what people write SQL over has none.
VIEW_COLUMNS = {name: kind for name, kind in PREDICTION_COLUMNS.items() if name != "credit_card_number"}

_NOT_COUNTED_BY = {
    "transaction_month_code", "fraud_model_prediction", "features_version", "challenger_version",
    "challenger_probability", "inference_time_ns", "transaction_processing_total_time",
}  # fmt: skip
SUSPECT_COLUMNS = {name: kind for name, kind in VIEW_COLUMNS.items() if name not in _NOT_COUNTED_BY}
"""What questions about suspects are made of. Each costs the projection some microseconds for each suspect."""

LOWEST_SUSPICION = 0.02
"""The lowest score of what is kept among the suspected: a few percent of all, which most questions are about."""

SUSPECT_RECORDS = f"{SUSPECTS}_records"
"""The mapping of the suspects' map that names their whole predictions too, as `record`."""


@dataclass(frozen=True)
class Mapping:
    """How SQL sees a map: as JSON or as columns."""

    of: str
    columns: dict[str, str]
    """Name and SQL type."""
    value_format: str

    def statement(self, name: str) -> str:
        """What makes it, under that name."""
        columns = ", ".join(f'"{column}" {kind}' for column, kind in self.columns.items())
        return (
            f'CREATE OR REPLACE EXTERNAL MAPPING "{name}" EXTERNAL NAME "{self.of}" (__key VARCHAR, {columns}) '
            f"TYPE IMap OPTIONS ('keyFormat'='varchar', {self.value_format})"
        )


def _json(name: str) -> Mapping:
    return Mapping(name, {"this": "JSON"}, "'valueFormat'='json'")


def _flat(name: str, columns: dict[str, str]) -> Mapping:
    return Mapping(name, columns, "'valueFormat'='json-flat'")


def _compact(name: str, columns: dict[str, str]) -> Mapping:
    return Mapping(name, columns, "'valueFormat'='compact', 'valueCompactTypeName'='suspect'")


_PREDICTIONS_RAW = f"{PREDICTIONS}_raw"
MAPPINGS = {
    _PREDICTIONS_RAW: _json(PREDICTIONS),
    PREDICTIONS: _flat(PREDICTIONS, PREDICTION_COLUMNS),
    PREDICTION_VIEW: _flat(PREDICTIONS, VIEW_COLUMNS),
    CARD_ACTIVITY: _json(CARD_ACTIVITY),
    # Most questions are about suspects, and to read a column out of JSON takes the members three times as long.
    SUSPECTS: _compact(SUSPECTS, SUSPECT_COLUMNS),
    SUSPECT_RECORDS: _compact(SUSPECTS, SUSPECT_COLUMNS | {"record": "VARCHAR"}),
}


def _text_of(field: str) -> str:
    """SQL: a field whose value is a string, cut out of the JSON's text; parsed where it is not, or has escapes.

    A quote inside a JSON string has a backslash before it, so no value can pass for the field.
    """
    head = f'"{field}":"'
    at = f"POSITION('{head}' IN this)"
    start = f"CAST({at} + {len(head)} AS INTEGER)"
    length = f"CAST(POSITION('\"' IN this FROM {start}) AS INTEGER) - {start}"
    return (
        f"CASE WHEN {at} > 0 AND POSITION('\\' IN this) = 0 THEN SUBSTRING(this, {start}, CAST({length} AS INTEGER)) "
        f"ELSE {_parsed(field, 'VARCHAR')} END"
    )


def _parsed(field: str, kind: str) -> str:
    return f"JSON_VALUE(CAST(this AS JSON), '$.{field}' RETURNING {kind})"


def _suspicious() -> str:
    """SQL: whether the score is high enough. The text says of nearly all that it is not; the others are parsed."""
    steps = range(round(LOWEST_SUSPICION * 100))
    low = " AND ".join(f"POSITION('\"fraud_probability\":0.{step:02d}' IN this) = 0" for step in steps)
    return f"{low} AND {_parsed('fraud_probability', 'DOUBLE')} >= {LOWEST_SUSPICION}"


def _suspect() -> str:
    """SQL: the columns of a suspect, and its text."""
    columns = (_text_of(name) if kind == "VARCHAR" else _parsed(name, kind) for name, kind in SUSPECT_COLUMNS.items())
    return ", ".join((*columns, "this"))


JOBS = {
    "predictions_to_map": f'SINK INTO "{_PREDICTIONS_RAW}" SELECT __key, CAST(this AS JSON) FROM "{TOPIC_MAPPING}"',
    "predictions_to_card_activity": (
        f'SINK INTO "{CARD_ACTIVITY}" SELECT {_text_of("card_token")}, CAST(this AS JSON) FROM "{TOPIC_MAPPING}"'
    ),
    "predictions_to_suspects": (
        f'SINK INTO "{SUSPECT_RECORDS}" SELECT __key, {_suspect()} FROM "{TOPIC_MAPPING}" WHERE {_suspicious()}'
    ),
}
"""The statement of each job."""
