"""Predictions made by hand."""

CARD = 4000_0012_3456_7899


def made(number: str, **changes: object) -> dict:
    return {
        "transaction_number": number,
        "transaction_date": "2026-01-05 10:11:12",
        "is_fraud": 0,
        "amount": 9_000.0,
        "merchant": "Made By Hand",
        "category": "travel",
        "merchant_lat": 40.0,
        "merchant_lon": -100.0,
        "credit_card_number": "************7899",
        "card_token": f"token-{number}",
        "card_last4": "7899",
        "customer_name": "Ada Lovelace",
        "customer_city": "Omaha",
        "customer_age_group": "26-35",
        "customer_gender": "F",
        "customer_lat": 41.2,
        "customer_lon": -96.0,
        "distance_from_home": 365.0,
        "transaction_weekday_code": 0,
        "transaction_hour_code": 10,
        "transaction_month_code": 1,
        "fraud_probability": 0.97,
        "fraud_model_prediction": 1,
        "source_partition": 0,
        "source_offset": 1,
        "model_version": "m-1",
        "features_version": "f-1",
        "inference_time_ns": 900,
        "transaction_processing_total_time": 4_000_000,
    } | changes
