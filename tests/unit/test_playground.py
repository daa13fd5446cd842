"""What people's own SQL may do, and all that it may not."""

import pytest

from dashboard.playground import EXAMPLES, MAX_CHARACTERS, Refused, safe

FINE = [
    *EXAMPLES.values(),
    "SELECT COUNT(*) FROM predictionResult",
    "SELECT COUNT(*) FROM suspectedPredictions WHERE card_last4 = '1234'",
    "SELECT merchant FROM predictionResult WHERE merchant LIKE 'A%' OR merchant IN ('x', 'y') ORDER BY 1 DESC",
    "SELECT category, AVG(amount) AS a FROM (SELECT category, amount FROM predictionResult WHERE amount > 5) AS t "
    "GROUP BY category HAVING COUNT(*) > 3",
    "SELECT DISTINCT customer_city FROM predictionResult p WHERE p.amount BETWEEN 1 AND 2",
    "SELECT UPPER(merchant) || '!' FROM predictionResult",
    "SELECT CAST(amount AS VARCHAR), TRIM(BOTH 'x' FROM merchant) FROM predictionResult",
    "SELECT merchant FROM predictionResult WHERE merchant = 'DROP MAPPING predictionResult; --'",
]

DENIED = {
    "file of the member": "SELECT * FROM TABLE(json_flat_file(path => '/etc', glob => 'passwd'))",
    "file of the member, called plainly": "SELECT * FROM json_flat_file('/etc', 'passwd')",
    "csv file": "SELECT * FROM TABLE(csv_file(path => '/etc', glob => 'passwd'))",
    "generated rows": "SELECT * FROM TABLE(generate_series(1, 1000000000))",
    "stream": "SELECT * FROM TABLE(generate_stream(1000))",
    "create mapping": "CREATE MAPPING x TYPE IMap OPTIONS ('keyFormat'='int', 'valueFormat'='int')",
    "create external mapping": "CREATE OR REPLACE EXTERNAL MAPPING x TYPE Kafka OPTIONS ()",
    "drop mapping": "DROP MAPPING predictionResult",
    "sink": "SINK INTO predictionResult SELECT * FROM predictionResult",
    "insert": "INSERT INTO predictionResult VALUES ('a', 'b')",
    "delete": "DELETE FROM predictionResult",
    "update": "UPDATE predictionResult SET amount = 0",
    "data connection": "CREATE DATA CONNECTION c TYPE Kafka SHARED OPTIONS ('bootstrap.servers'='evil:9092')",
    "job": "CREATE JOB j AS SINK INTO a SELECT * FROM b",
    "drop job": "DROP JOB predictions_to_map",
    "alter job": "ALTER JOB predictions_to_map SUSPEND",
    "show jobs": "SHOW JOBS",
    "show mappings": "SHOW MAPPINGS",
    "explain": "EXPLAIN PLAN FOR SELECT * FROM predictionResult",
    "view": "CREATE VIEW v AS SELECT * FROM predictionResult",
    "type": "CREATE TYPE t OPTIONS ('format'='java', 'javaClass'='java.lang.Runtime')",
    "index": "CREATE INDEX i ON predictionResult (amount) TYPE SORTED",
    "stacked": "SELECT 1 FROM predictionResult; DROP MAPPING predictionResult",
    "stacked select": "SELECT amount FROM predictionResult; SELECT amount FROM predictionResult",
    "stacked behind a comment": "SELECT amount FROM predictionResult -- x\n; DROP MAPPING predictionResult",
    "union with a table function": "SELECT merchant FROM predictionResult UNION ALL "
    "SELECT line FROM TABLE(csv_file(path => '/etc'))",
    "union": "SELECT merchant FROM predictionResult UNION SELECT merchant FROM predictionResult",
    "another map": "SELECT * FROM customerMap",
    "raw predictions": "SELECT * FROM predictionResult_raw",
    "topic": "SELECT * FROM predictions_topic",
    "catalog": "SELECT * FROM information_schema.mappings",
    "catalog of its own": "SELECT * FROM hazelcast.information_schema.columns",
    "schema": "SELECT * FROM public.predictionResult",
    "other case": "SELECT * FROM PREDICTIONRESULT",
    "quoted other case": 'SELECT * FROM "PredictionResult"',
    "homoglyph table": "SELECT * FROM prediсtionResult",  # noqa: RUF001 - a Cyrillic es
    "full-width keyword": "ＤＥＬＥＴＥ FROM predictionResult",  # noqa: RUF001 - full-width letters
    "card number": "SELECT credit_card_number FROM predictionResult",
    "type that hides a statement": 'SELECT CAST(amount AS "// \nVARCHAR) AS a, SUBSTRING(credit_card_number,1,8) AS b '
    'FROM predictionResult -- ") AS x FROM predictionResult',
    "type that hides a name": 'SELECT CAST(amount AS "this") AS x FROM predictionResult',
    "type with parts": "SELECT CAST(amount AS ARRAY<VARCHAR>) FROM predictionResult",
    "card number in a condition": "SELECT amount FROM predictionResult WHERE credit_card_number LIKE '4%'",
    "card number quoted": 'SELECT "credit_card_number" FROM predictionResult',
    "card number ordered by": "SELECT amount FROM predictionResult ORDER BY credit_card_number",
    "whole value": "SELECT this FROM predictionResult",
    "whole value of a suspect": "SELECT record FROM suspectedPredictions",
    "mapping that names a suspect's whole value": "SELECT record FROM suspectedPredictions_records",
    "whole value behind an alias": 'SELECT amount AS "this", CAST("this" AS VARCHAR) AS x FROM predictionResult',
    "whole value behind a loud alias": 'SELECT amount AS "THIS", CAST("THIS" AS VARCHAR) AS x FROM predictionResult',
    "card number behind an alias": "SELECT amount AS credit_card_number, credit_card_number FROM predictionResult",
    "whole value of a table of that name": "SELECT this FROM predictionResult AS this",
    "columns renamed": "SELECT a FROM (SELECT amount FROM predictionResult) AS t (a)",
    "column that suspects lack": "SELECT inference_time_ns FROM suspectedPredictions",
    "join of both": "SELECT COUNT(*) FROM predictionResult a JOIN suspectedPredictions b ON a.amount = b.amount",
    "cross join": "SELECT COUNT(*) FROM predictionResult a CROSS JOIN predictionResult b",
    "comma join": "SELECT COUNT(*) FROM predictionResult a, predictionResult b",
    "join": "SELECT COUNT(*) FROM predictionResult a JOIN predictionResult b ON a.amount < b.amount",
    "lateral": "SELECT * FROM predictionResult, LATERAL (SELECT 1)",
    "subquery in a condition": "SELECT amount FROM predictionResult WHERE merchant IN (SELECT s FROM secrets)",
    "subquery as a value": "SELECT (SELECT MAX(amount) FROM predictionResult) FROM predictionResult",
    "exists": "SELECT amount FROM predictionResult WHERE EXISTS (SELECT 1 FROM predictionResult)",
    "with": "WITH x AS (SELECT * FROM predictionResult) SELECT * FROM x",
    "unknown function": "SELECT foo(amount) FROM predictionResult",
    "json": "SELECT JSON_QUERY(merchant, '$') FROM predictionResult",
    "window": "SELECT SUM(amount) OVER (ORDER BY amount) FROM predictionResult",
    "no table": "SELECT 1",
    "parameter": "SELECT amount FROM predictionResult WHERE amount > ?",
    "limit by an expression": "SELECT amount FROM predictionResult LIMIT 1 + 1000000",
    "limit all": "SELECT amount FROM predictionResult LIMIT ALL",
    "qualified star": "SELECT p.* FROM predictionResult p",
    "into": "SELECT amount INTO x FROM predictionResult",
    "for update": "SELECT amount FROM predictionResult FOR UPDATE",
    "values": "VALUES (1)",
    "hint": "SELECT /*+ NO_INDEX */ amount FROM predictionResult TABLESAMPLE (10)",
    "empty": "  ",
    "only a comment": "-- hello",
    "no SQL": "'); DROP MAPPING x;--",
    "too long": "SELECT amount FROM predictionResult WHERE " + " OR ".join(["amount > 1"] * MAX_CHARACTERS),
    "nested": "SELECT " + "(" * 2000 + "1" + ")" * 2000 + " FROM predictionResult",
}


@pytest.mark.parametrize("text", FINE)
def test_questions_about_the_predictions_pass(text: str) -> None:
    assert safe(text, 100).startswith("SELECT ")


@pytest.mark.parametrize("text", DENIED.values(), ids=DENIED.keys())
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        safe(text, 100)


def test_a_limit_is_put_on_and_lowered_and_never_raised() -> None:
    assert safe("SELECT amount FROM predictionResult", 100).endswith("LIMIT 100")
    assert safe("SELECT amount FROM predictionResult LIMIT 5", 100).endswith("LIMIT 5")
    assert safe("SELECT amount FROM predictionResult LIMIT 1000000", 100).endswith("LIMIT 100")
    assert safe(f"SELECT amount FROM predictionResult LIMIT {'9' * 4_400}", 100).endswith("LIMIT 100")


def test_what_is_sent_is_written_anew() -> None:
    sent = safe("SELECT /* ; DROP MAPPING x */ amount -- more\nFROM predictionResult", 10)
    assert sent == 'SELECT "amount" FROM "predictionView" AS "predictionResult" LIMIT 10'


def test_a_quote_in_a_value_stays_in_the_value() -> None:
    sent = safe("SELECT amount FROM predictionResult WHERE merchant = 'x''); DROP MAPPING y;--'", 10)
    assert "'x''); DROP MAPPING y;--'" in sent


def test_star_leaves_the_card_number_out() -> None:
    sent = safe("SELECT * FROM predictionResult", 10)
    assert '"card_last4"' in sent
    assert "credit_card_number" not in sent
    assert "*" not in sent


def test_what_is_nested_too_deeply_is_refused() -> None:
    for text in (
        f"SELECT {'1+1-' * 1_000}1 FROM predictionResult",
        f"SELECT {'(' * 900}1{')' * 900} FROM predictionResult",
    ):
        with pytest.raises(Refused):
            safe(text, 10)
