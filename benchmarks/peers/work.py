"""What every peer does with a transaction: look up, compute, ask the model, answer. Plain Python, as a team writes it.

The same files, the same model and the same fields in the answer as the scorer's, and none of its code.
"""

import csv
import hashlib
import hmac
import json
import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

BROKERS = os.environ["PEER_BROKERS"]
INPUT, OUTPUT = os.environ["PEER_INPUT"], os.environ["PEER_OUTPUT"]
GROUP = os.environ["PEER_GROUP"]

_EARTH_KM = 6371.0087714
_TOKEN_KEY = b"fraudflow-demo-key-change-me"


class FraudModel:
    """The features and the model, in memory."""

    def __init__(self) -> None:
        data = Path(os.environ["PEER_DATA"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
        self._weekdays, self._months, self._hours = (
            _codes(data, f"transaction_{name}") for name in ("weekday", "month", "hour")
        )
        self._merchants = _merchants(data)
        self._customers = _customers(data)

    def score(self, transaction: dict[str, Any]) -> dict[str, Any]:
        """The prediction for one transaction."""
        inputs, answer = self._prepare(transaction)
        label, probability = self._session.run(None, {"input": np.array([inputs], np.float32)})
        answer["fraud_probability"] = float(probability[0, 1])
        answer["fraud_model_prediction"] = int(label[0])
        return answer

    def score_batch(self, transactions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The predictions for a batch, with one call of the model."""
        prepared = [self._prepare(transaction) for transaction in transactions]
        labels, probabilities = self._session.run(None, {"input": np.array([i for i, _ in prepared], np.float32)})
        answers = [answer for _, answer in prepared]
        for answer, label, probability in zip(answers, labels.tolist(), probabilities[:, 1].tolist(), strict=True):
            answer["fraud_probability"] = probability
            answer["fraud_model_prediction"] = label
        return answers

    def _prepare(self, transaction: dict[str, Any]) -> tuple[list[float], dict[str, Any]]:
        card, customer, home = self._customers[transaction["cc_num"]]
        category, category_code, merchant_code = self._merchants[transaction["merchant"]]
        when = datetime.fromisoformat(transaction["transaction_date"])
        weekday = self._weekdays[str(when.weekday())]
        month = self._months[str(when.month)]
        hour = self._hours[f"{when.hour:02d}"]
        latitude, longitude = transaction["merch_lat"], transaction["merch_long"]
        distance = _distance_km(*home, latitude, longitude)
        inputs = [
            card["cc_num"], category_code, transaction["amt"], merchant_code, weekday, month, hour, card["gender"],
            card["zip"], card["city_pop"], card["job"], card["age"], card["setting"], card["age_group"], distance,
        ]  # fmt: skip
        answer = {
            "transaction_number": transaction["trans_num"],
            "transaction_date": transaction["transaction_date"],
            "is_fraud": transaction.get("is_fraud"),
            "amount": transaction["amt"],
            "merchant": transaction["merchant"],
            "category": category,
            "merchant_lat": latitude,
            "merchant_lon": longitude,
            **customer,
            "distance_from_home": distance,
            "transaction_weekday_code": weekday,
            "transaction_hour_code": hour,
            "transaction_month_code": month,
        }
        return inputs, answer


def _codes(data: Path, name: str) -> dict[str, int]:
    return json.loads((data / name / f"{name.replace('-', '_')}_dict.json").read_text())


def _merchants(data: Path) -> dict[str, tuple[str, int, int]]:
    categories, codes = _codes(data, "category"), _codes(data, "merchant")
    with (data / "merchant_data.csv").open(newline="") as file:
        return {
            row["merchant_name"]: (row["category"], categories[row["category"]], codes[row["merchant_name"]])
            for row in csv.DictReader(file)
        }


def _customers(data: Path) -> dict[int, tuple[dict[str, int], dict[str, Any], tuple[float, float]]]:
    names = ("cc_num", "gender", "zip", "job", "setting", "age-group")
    codes = {name.replace("-", "_"): _codes(data, name) for name in names}
    customers = {}
    with (data / "customer_data.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            number = row["cc_num"]
            inputs = {name: values[row[name]] for name, values in codes.items()}
            inputs |= {"city_pop": int(row["city_pop"]), "age": int(row["age"])}
            latitude, longitude = float(row["latitude"]), float(row["longitude"])
            shown = {
                "credit_card_number": "*" * (len(number) - 4) + number[-4:],
                "card_token": hmac.new(_TOKEN_KEY, number.encode(), hashlib.sha256).hexdigest()[:32],
                "card_last4": number[-4:],
                "customer_name": f"{row['first']} {row['last']}",
                "customer_city": row["city"],
                "customer_age_group": row["age_group"],
                "customer_gender": row["gender"],
                "customer_lat": latitude,
                "customer_lon": longitude,
            }
            customers[int(number)] = (inputs, shown, (latitude, longitude))
    return customers


def _distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_phi = (other_phi - phi) / 2
    half_lambda = math.radians(other_longitude - longitude) / 2
    a = math.sin(half_phi) ** 2 + math.cos(phi) * math.cos(other_phi) * math.sin(half_lambda) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(a, 1)))
