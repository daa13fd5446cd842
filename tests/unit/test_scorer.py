"""A batch in, predictions and dead letters out: what every input becomes, and that neighbours do not matter."""

import base64
import json
import re
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.feature_tables import FeatureTables
from infra.settings import ScoringSettings
from scoring.cards import mask_text, masked, token
from scoring.features import MODEL_INPUTS, Features, _parse_dates
from scoring.model import PROJECT_MODEL, Model, load_model
from scoring.scorer import Scorer, Source, dead_letter
from scoring.transaction import Reason, Rejected

# Of librdkafka's `message.max.bytes`: the record's key and its own fields.
MESSAGE_OVERHEAD = 1_000
STATIC_MODEL = PROJECT_MODEL.with_name("static.onnx")
CARD = 4000000000000002
GOOD = {
    "cc_num": CARD,
    "trans_num": "t1",
    "amt": 12.5,
    "merchant": "Kilback LLC",
    "transaction_date": "2025-03-04 05:06:07",
    "merch_lat": 41.0,
    "merch_long": -87.0,
    "is_fraud": 0,
}


@pytest.fixture(scope="module")
def features() -> Features:
    customers = pl.DataFrame(
        {
            "card": [str(CARD), "4000000000000010"],
            "customer_name": ["Ada Lovelace", "Bob Noyce"],
            "customer_city": ["Chicago", 'Quote"Town'],
            "customer_age_group": ["26-35", "Over 55"],
            "customer_gender": ["F", "M"],
            "customer_lat": [41.9, 35.0],
            "customer_lon": [-87.6, -85.2],
            "cc_num_code": [5, None],
            "gender_code": [0, 1],
            "zip_code": [3, 4],
            "job_code": [7, 8],
            "setting_code": [0, 1],
            "age_group_code": [0, 4],
            "city_pop": [2_700_000, 1_000],
            "age": [30, 70],
        },
        schema_overrides=dict.fromkeys(("cc_num_code", "gender_code", "zip_code", "job_code", "age"), pl.Int32),
    )
    merchants = pl.DataFrame(
        {"merchant": ["Kilback LLC"], "category": ["home"], "merchant_code": [11], "category_code": [6]}
    )
    dictionaries = {
        "transactionWeekDays": {str(i): i for i in range(7)},
        "transactionMonths": {str(i): i + 100 for i in range(1, 13) if i != 12},
        "transactionHours": {f"{i:02d}": i for i in range(24)},
    }
    return Features(FeatureTables("v1", customers, merchants, dictionaries, sha256={}, source=""))


@pytest.fixture(scope="module")
def scorer(features: Features) -> Scorer:
    return Scorer(load_model(STATIC_MODEL), features, ScoringSettings(alert_threshold=0.0))


def run(scorer: Scorer, messages: list[bytes | None]):
    source = Source("Transactions", [3] * len(messages), list(range(100, 100 + len(messages))))
    return scorer.score(messages, source, 0)


def good(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


def test_a_prediction_has_the_names_that_readers_know(scorer: Scorer):
    scored = run(scorer, [good()])
    prediction = json.loads(scored.values[0])
    assert scored.keys == [b"t1"]
    assert scored.alerts == [0]
    assert prediction | {"inference_time_ns": 0, "transaction_processing_total_time": 0} == {
        "transaction_number": "t1",
        "transaction_date": "2025-03-04 05:06:07",
        "is_fraud": 0,
        "amount": 12.5,
        "merchant": "Kilback LLC",
        "category": "home",
        "merchant_lat": 41.0,
        "merchant_lon": -87.0,
        "credit_card_number": "************0002",
        "card_token": token(str(CARD), b"fraudflow-demo-key-change-me"),
        "card_last4": "0002",
        "customer_name": "Ada Lovelace",
        "customer_city": "Chicago",
        "customer_age_group": "26-35",
        "customer_gender": "F",
        "customer_lat": 41.9,
        "customer_lon": -87.6,
        "distance_from_home": pytest.approx(111.7, abs=0.5),
        "transaction_weekday_code": 1,
        "transaction_hour_code": 5,
        "transaction_month_code": 103,
        "fraud_probability": pytest.approx(prediction["fraud_probability"]),
        "fraud_model_prediction": 0,
        "source_partition": 3,
        "source_offset": 100,
        "model_version": load_model(STATIC_MODEL).version,
        "features_version": "v1",
        "inference_time_ns": 0,
        "transaction_processing_total_time": 0,
    }


def test_the_model_sees_the_codes_in_its_own_order(features: Features):
    from scoring.decode import decode_batch

    rows, positions, _ = decode_batch([good()])
    batch, _ = features.build(rows, positions)
    seen = dict(zip(MODEL_INPUTS, batch.inputs[0].tolist(), strict=True))
    assert seen.pop("distance_from_home") == pytest.approx(111.7, abs=0.5)
    assert seen == {
        "cc_num": 5,
        "category": 6,
        "amt": 12.5,
        "merchant": 11,
        "transaction_weekday": 1,
        "transaction_month": 103,
        "transaction_hour": 5,
        "gender": 0,
        "zip": 3,
        "city_pop": 2_700_000,
        "job": 7,
        "age": 30,
        "setting": 0,
        "age_group": 0,
    }


def test_a_card_number_may_be_a_number_or_a_string(scorer: Scorer):
    number, text = (json.loads(v) for v in run(scorer, [good(), good(cc_num=str(CARD))]).values)
    assert number["card_token"] == text["card_token"]


def test_unmasked_cards_are_numbers_as_they_were(features: Features):
    scorer = Scorer(load_model(STATIC_MODEL), features, ScoringSettings(mask_card_numbers=False))
    assert json.loads(run(scorer, [good()]).values[0])["credit_card_number"] == CARD


POISON = {
    "tombstone": (None, Reason.EMPTY),
    "empty": (b"", Reason.EMPTY),
    "brace": (b"{", Reason.MALFORMED),
    "null": (b"null", Reason.MALFORMED),
    "array": (b"[]", Reason.MALFORMED),
    "number": (b"1", Reason.MALFORMED),
    "deep": (b"[" * 100_000, Reason.MALFORMED),
    "deep in a field": (b'{"x":' + b"[" * 100_000, Reason.MALFORMED),
    "not UTF-8": (good().replace(b"t1", b"t\xff"), Reason.MALFORMED),
    "byte order mark": (b"\xef\xbb\xbf" + good(), Reason.MALFORMED),
    "NUL": (good() + b"\x00", Reason.MALFORMED),
    "lone surrogate": (good(trans_num="t\ud800"), Reason.MALFORMED),
    "two objects": (good() + b"\n" + good(), Reason.MALFORMED),
    "missing field": (json.dumps({k: v for k, v in GOOD.items() if k != "amt"}).encode(), Reason.MALFORMED),
    "amount as text": (good(amt="12.5"), Reason.MALFORMED),
    "amount as bool": (good(amt=True), Reason.MALFORMED),
    "amount NaN": (good(amt=float("nan")), Reason.MALFORMED),
    "amount infinite": (good().replace(b"12.5", b"1e999"), Reason.MALFORMED),
    "amount huge": (good(amt=1e308), Reason.INVALID_VALUE),
    "card of 400 digits": (good().replace(str(CARD).encode(), b"1" * 400), Reason.UNKNOWN_CUSTOMER),
    "card of 10,000 digits": (good().replace(str(CARD).encode(), b"1" * 10_000), Reason.MALFORMED),
    "card with an odd digit": (good(cc_num="٤000000000000002"), Reason.UNKNOWN_CUSTOMER),
    "label 2": (good(is_fraud=2), Reason.INVALID_VALUE),
    "latitude 91": (good(merch_lat=91), Reason.INVALID_VALUE),
    "longitude 181": (good(merch_long=181), Reason.INVALID_VALUE),
    "no number": (good(trans_num=""), Reason.INVALID_VALUE),
    "number too long": (good(trans_num="t" * 257), Reason.INVALID_VALUE),
    "number of 600,000 characters": (good(trans_num=str(CARD) * 37_500), Reason.INVALID_VALUE),
    "February 30": (good(transaction_date="2025-02-30 00:00:00"), Reason.INVALID_VALUE),
    "date with a T": (good(transaction_date="2025-02-03T00:00:00"), Reason.INVALID_VALUE),
    "date with a zone": (good(transaction_date="2025-02-03 00:00:00+01:00"), Reason.INVALID_VALUE),
    "date short": (good(transaction_date="2025-02-03"), Reason.INVALID_VALUE),
    "date empty": (good(transaction_date=""), Reason.INVALID_VALUE),
    "date NaT": (good(transaction_date="NaT"), Reason.INVALID_VALUE),
    "year with a sign": (good(transaction_date="-001-01-01 00:00:00"), Reason.INVALID_VALUE),
    "year with a plus": (good(transaction_date="+025-01-01 00:00:00"), Reason.INVALID_VALUE),
    "year with a space": (good(transaction_date=" 999-01-01 00:00:00"), Reason.INVALID_VALUE),
    "year 0": (good(transaction_date="0000-01-01 00:00:00"), Reason.INVALID_VALUE),
    "zone for seconds": (good(transaction_date="2025-02-03 00:00+01"), Reason.INVALID_VALUE),
    "digits of others": (good(transaction_date="٢٠٢٥-02-03 00:00:00"), Reason.INVALID_VALUE),
    "unknown customer": (good(cc_num=1), Reason.UNKNOWN_CUSTOMER),
    "unknown merchant": (good(merchant="'); DROP MAPPING x;--"), Reason.UNKNOWN_MERCHANT),
    "customer without code": (good(cc_num=4000000000000010), Reason.UNKNOWN_CODE),
    "month without code": (good(transaction_date="2025-12-03 00:00:00"), Reason.UNKNOWN_CODE),
}


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_poison_is_rejected_with_its_reason_and_its_neighbours_score_as_without_it(scorer: Scorer, name, at):
    value, reason = POISON[name]
    neighbours = [good(trans_num=f"n{i}", amt=10.0 * (i + 1)) for i in range(4)]
    alone = [answer(v) for v in run(scorer, neighbours).values]
    scored = run(scorer, [*neighbours[:at], value, *neighbours[at:]])
    assert {p: r.reason for p, r in scored.rejected.items()} == {at: reason}
    assert [answer(v) for v in scored.values] == alone
    assert str(CARD) not in scored.rejected[at].detail


def answer(value: bytes) -> tuple:
    prediction = json.loads(value)
    return prediction["transaction_number"], prediction["fraud_probability"], prediction["amount"]


ANYTHING = st.one_of(
    st.none(),
    st.binary(max_size=200),
    st.sampled_from([v for v, _ in POISON.values()]),
    st.dictionaries(st.sampled_from(list(GOOD)), st.one_of(st.text(), st.floats(), st.integers(), st.none())).map(
        lambda changes: json.dumps(GOOD | changes).encode()
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANYTHING, min_size=1, max_size=8))
def test_every_message_becomes_one_prediction_or_one_dead_letter(scorer: Scorer, messages):
    """Hypothesis: whatever the bytes are, alone or beside others, they have one answer and always the same."""
    scored = run(scorer, messages)
    assert sorted([*scored.positions, *scored.rejected]) == list(range(len(messages)))
    answers = dict(zip(scored.positions, (answer(v) for v in scored.values), strict=True))
    for position, message in enumerate(messages):
        alone = run(scorer, [message])
        assert [answer(v) for v in alone.values] == ([answers[position]] if position in answers else [])


def is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", text):
        return False
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S") is not None  # noqa: DTZ007 - a shop's clock has no zone
    except ValueError:
        return False


@settings(max_examples=3_000, deadline=None)
@given(
    st.datetimes().map(lambda when: when.replace(microsecond=0).isoformat(" ")),
    st.lists(st.tuples(st.integers(0, 18), st.sampled_from("0123456789-+: TZ.\x00W٣")), max_size=3),
)
def test_a_date_is_what_the_form_and_the_calendar_say_alone_and_beside_others(features: Features, date, changes):
    """Hypothesis: dates with up to three characters changed, against `strptime`."""
    for at, character in changes:
        date = date[:at] + character + date[at + 1 :]
    valid = is_date(date)
    for beside in ([], ["2025-03-04 05:06:07"], ["2025-02-30 00:00:00"]):
        parsed = _parse_dates([date, *beside])
        assert bool(np.isnat(parsed[0])) != valid
        assert not valid or parsed[0] == np.datetime64(date.replace(" ", "T"))


def test_the_longest_transaction_number_is_one_that_kafka_takes(scorer: Scorer):
    """Whatever its characters are: what JSON writes in six bytes, and what UTF-8 writes in four."""
    numbers = ["\x01" * 256, "\U0001f40c" * 256]
    scored = run(scorer, [good(trans_num=number) for number in numbers])
    assert [json.loads(value)["transaction_number"] for value in scored.values] == numbers
    assert max(map(len, scored.values)) < 4_000


class Odd(Model):
    """Has no answer to the amounts in `ODD`."""

    def predict(self, inputs):
        probability, label = super().predict(inputs)
        for amount, (odd, verdict) in ODD.items():
            rows = inputs[:, MODEL_INPUTS.index("amt")] == amount
            probability[rows], label[rows] = odd, verdict
        return probability, label


ODD = {1.0: (np.nan, 0), 2.0: (np.inf, 1), 3.0: (7.5, 1), 4.0: (0.75, 2), 5.0: (0.25, -1)}


@pytest.mark.parametrize("at", [0, 2, 4])
def test_what_a_model_has_no_answer_to_is_a_dead_letter(features: Features, at: int):
    model = load_model(STATIC_MODEL)
    odd = Odd(model.manifest, model.session, model.input_name, model.outputs)
    scorer = Scorer(odd, features, ScoringSettings(alert_threshold=0.0))
    neighbours = [good(trans_num=f"n{i}", amt=10.0 * (i + 1)) for i in range(4)]
    alone = [answer(v) for v in run(scorer, neighbours).values]
    scored = run(scorer, [*neighbours[:at], *(good(amt=amount) for amount in ODD), *neighbours[at:]])
    assert [answer(v) for v in scored.values] == alone
    assert sorted([*scored.positions, *scored.rejected]) == list(range(9))
    assert scored.alerts == [0, 1, 2, 3]
    assert [json.loads(v)["source_offset"] - 100 for v in scored.values] == scored.positions
    assert {p: r.reason for p, r in scored.rejected.items()} == dict.fromkeys(range(at, at + 5), Reason.NO_ANSWER)
    nothing = run(scorer, [good(amt=amount) for amount in ODD])
    assert (nothing.values, len(nothing.rejected)) == ([], 5)


def test_extreme_dates_have_codes(scorer: Scorer):
    dates = ["0001-01-01 00:00:00", "1970-01-01 00:00:00", "9999-11-30 23:59:59"]
    scored = run(scorer, [good(transaction_date=d) for d in dates])
    assert [json.loads(v)["transaction_weekday_code"] for v in scored.values] == [0, 3, 1]


def test_a_dead_letter_keeps_the_bytes_masked_and_cut_with_the_digest_of_the_whole():
    import hashlib

    value = b'{"cc_num": 4000-0000-0000-0002, "x": "' + b"z" * 5_000
    letter = json.loads(
        dead_letter(
            value,
            Rejected(Reason.MALFORMED, "d"),
            "Transactions",
            1,
            2,
            ScoringSettings(dead_letter_bytes=1_000),
        )
    )
    kept = base64.b64decode(letter.pop("value_base64"))
    assert len(kept) == 1_000
    assert kept.startswith(b'{"cc_num": ***************0002, ')
    assert letter == {
        "reason": "malformed",
        "detail": "d",
        "source_topic": "Transactions",
        "source_partition": 1,
        "source_offset": 2,
        "value_sha256": hashlib.sha256(value).hexdigest(),
        "value_bytes": len(value),
        "value_cut": True,
    }


def test_the_largest_dead_letter_is_one_that_kafka_takes():
    """The fields beside the value are short: the detail never has a value in it, the topic's name has a limit."""
    largest = next(m.le for m in ScoringSettings.model_fields["dead_letter_bytes"].metadata if hasattr(m, "le"))
    settings = ScoringSettings(dead_letter_bytes=largest)
    letter = dead_letter(b"\xff" * 5_000_000, Rejected(Reason.MALFORMED, "d" * 200), "T" * 249, 1, 2**62, settings)
    assert len(letter) < 1_000_000 - MESSAGE_OVERHEAD
    with pytest.raises(ValidationError):
        ScoringSettings(dead_letter_bytes=largest + 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"4000000000000002", b"************0002"),
        (b"a 4000 0000 0000 0002 b", b"a ***************0002 b"),
        (b"4218196001337", b"*********1337"),
        (b"123456789012", b"123456789012"),
        (b"00004000000000000002", b"*" * 20),
        (b"4000000000000002 123", b"*" * 16 + b" 123"),
        ("4000000000000002".encode("utf-16-le"), b"*" * 27 + b"\x000\x002\x00"),
        (b"2025-03-04 05:06:07", b"2025-03-04 05:06:07"),
    ],
)
def test_card_numbers_are_masked_as_people_write_them(text, expected):
    assert mask_text(text) == expected


def test_a_card_number_on_the_cut_is_masked():
    text = b'{"cc_num": 4000000000000002, "a": 1}'
    for length in range(len(text) + 1):
        kept = mask_text(text, length)
        assert len(kept) == length
        assert b"4" not in kept


def test_masking_and_tokens():
    assert masked("4000000000000002") == "************0002"
    assert masked("123") == "***"
    assert token("4000000000000002", b"a") != token("4000000000000002", b"b")


def test_probabilities_do_not_depend_on_the_batch(scorer: Scorer):
    """Invariant D: bit-equal whatever a transaction is batched with."""
    amounts = np.linspace(1, 2_000, 257)
    messages = [good(trans_num=f"t{i}", amt=float(a)) for i, a in enumerate(amounts)]
    together = [answer(v) for v in run(scorer, messages).values]
    assert together == [answer(run(scorer, [m]).values[0]) for m in messages]
