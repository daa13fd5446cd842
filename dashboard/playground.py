"""People's own SQL, made safe before the cluster sees it.

Hazelcast's SQL can read files of the member, write maps and start jobs, and the community edition knows no rights.
So a text is parsed, everything in the tree that is not on a list is refused, and what is sent is not the text but a
new one, written from the tree: comments, odd quoting and whatever the two parsers might read differently are gone.
The list names what is allowed, so that a feature that nobody thought of is refused too.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import sqlglot
from sqlglot import expressions as e
from sqlglot.errors import SqlglotError
from sqlglot.expressions import Expr

from dashboard import show
from dashboard.cluster import Cluster
from infra.errors import TerminalError, TransientError
from infra.hazelcast import PREDICTION_VIEW, PREDICTIONS, SUSPECTS
from infra.projection_sql import SUSPECT_COLUMNS, VIEW_COLUMNS

MAPPINGS: dict[str, tuple[str, ...]] = {
    PREDICTIONS: tuple(VIEW_COLUMNS),
    SUSPECTS: tuple(SUSPECT_COLUMNS),
}
# Another mapping of the predictions' map, which does not name the card number: it is whole where masking is off.
_READ = {PREDICTIONS: PREDICTION_VIEW, SUSPECTS: SUSPECTS}
MAX_CHARACTERS = 5_000
# Of a LIMIT: already more than there are rows.
_LIMIT_DIGITS = 12
# Queries of people's own that run at once; scoring needs the cores too.
_AT_ONCE = 2

_ALLOWED = {
    # shape
    e.Select, e.From, e.Table, e.TableAlias, e.Subquery, e.Where, e.Group, e.Having, e.Order, e.Ordered, e.Limit,
    e.Offset, e.Distinct, e.Alias, e.Identifier, e.Column, e.Star, e.Paren, e.Tuple,
    # values
    e.Literal, e.Boolean, e.Null, e.Cast, e.DataType, e.Case, e.If, e.Coalesce, e.Nullif,
    # operators
    e.Add, e.Sub, e.Mul, e.Div, e.Mod, e.Neg, e.And, e.Or, e.Not, e.EQ, e.NEQ, e.GT, e.GTE, e.LT, e.LTE, e.In,
    e.Between, e.Like, e.Escape, e.Is, e.DPipe,
    # functions
    e.Count, e.Sum, e.Avg, e.Min, e.Max, e.Floor, e.Ceil, e.Round, e.Abs, e.Sqrt, e.Ln, e.Log, e.Pow, e.Sign,
    e.Upper, e.Lower, e.Substring, e.Trim, e.Length,
}  # fmt: skip
_TABLE_PARTS = {"this", "alias"}
# The names of the tree's own types. Another one is kept as it was written, and would be sent as it was written.
_TYPE_PARTS = {"this"}
# Columns of every mapping that no list names, the whole value among them: Hazelcast takes a name for one of these where
# we would take it for an alias.
_HIDDEN = {"this", "__key", "record", "credit_card_number"}

EXAMPLES = {
    "Cities with the largest suspected amount": (
        "SELECT customer_city, COUNT(*) AS transactions, SUM(amount) AS amount\n"
        "FROM suspectedPredictions\nWHERE fraud_probability >= 0.5\n"
        "GROUP BY customer_city\nORDER BY amount DESC\nLIMIT 20"
    ),
    "Suspected share by hour": (
        'SELECT transaction_hour_code AS "hour",\n       COUNT(*) AS transactions,\n'
        "       SUM(CASE WHEN fraud_probability >= 0.5 THEN 1 ELSE 0 END) AS suspected\n"
        'FROM predictionResult\nGROUP BY transaction_hour_code\nORDER BY "hour"'
    ),
    "Far from home and expensive": (
        "SELECT transaction_date, amount, merchant, customer_city, card_last4, distance_from_home, fraud_probability\n"
        "FROM predictionResult\nWHERE distance_from_home > 500 AND amount > 500\n"
        "ORDER BY distance_from_home DESC\nLIMIT 50"
    ),
    "Known fraud that the model missed": (
        "SELECT category, COUNT(*) AS missed, AVG(fraud_probability) AS mean_score\n"
        "FROM predictionResult\nWHERE is_fraud = 1 AND fraud_probability < 0.5\n"
        "GROUP BY category\nORDER BY missed DESC"
    ),
    "Inference time by model": (
        "SELECT model_version, COUNT(*) AS predictions, AVG(inference_time_ns) AS mean_ns\n"
        "FROM predictionResult\nGROUP BY model_version"
    ),
}


class Refused(TerminalError):
    """The text is not one that may run. The message says why, to whoever wrote it."""


@dataclass(frozen=True)
class Result:
    """Rows, masked, and whether there were more."""

    frame: pl.DataFrame
    cut: bool


class Playground:
    """Runs texts that `safe` lets through."""

    def __init__(self, cluster: Cluster, max_rows: int):
        self._cluster, self._max_rows = cluster, max_rows
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def run(self, text: str) -> Result:
        """Run one.

        Raises:
            Refused: it may not run.
            TransientError: Hazelcast is away, gave it up for its time, or does not understand it.
        """
        statement = safe(text, self._max_rows + 1)
        if not self._places.acquire(blocking=False):
            raise TransientError("others' queries are running: try again in a moment")
        try:
            frame = self._cluster.query(statement, max_rows=self._max_rows + 1)
        finally:
            self._places.release()
        return Result(show.masked_frame(frame.head(self._max_rows)), frame.height > self._max_rows)


def safe(text: str, max_rows: int) -> str:
    """The statement to send for a text that a person wrote.

    Raises:
        Refused: it is anything but one SELECT over the mappings that are open to people.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused(f"more than {MAX_CHARACTERS:,} characters")
    try:
        trees = [tree for tree in sqlglot.parse(text) if tree is not None]
    except (SqlglotError, RecursionError) as error:
        raise Refused(f"this is not SQL that can be read: {str(error).splitlines()[0][:200]}") from error
    if len(trees) != 1:
        raise Refused("one SELECT, please" if trees else "nothing to run")
    tree = trees[0]
    if not isinstance(tree, e.Select):
        raise Refused(f"only SELECT is allowed, not {_name(tree)}")
    for node in tree.walk():
        _check(node)
    for select in tree.find_all(e.Select):
        _check_select(select)
    _check_columns(tree)
    _limit(tree, max_rows)
    for select in tree.find_all(e.Select):
        _aim(select)
    try:
        return tree.sql(identify=True, comments=False)
    except RecursionError as error:
        raise Refused("this is nested too deeply") from error


def _check(node: Expr) -> None:
    if type(node) not in _ALLOWED:
        raise Refused(f"{_name(node)} is not allowed")
    _check_parts(node)
    if isinstance(node, e.Table):
        # A table function, a schema, a sample, a hint: each is one more part of the table's node.
        parts = {part for part, value in node.args.items() if value}
        if parts - _TABLE_PARTS or type(node.this) is not e.Identifier or node.name not in MAPPINGS:
            raise Refused(f"only {', '.join(MAPPINGS)} can be read, not {node.sql()[:80]}")
    if isinstance(node, e.Select) and node.parent and not _is_from(node):
        raise Refused("a SELECT inside another may only stand after FROM")
    if isinstance(node, e.Column) and isinstance(node.this, e.Star):
        raise Refused("write * alone, without a table's name")
    if isinstance(node, e.Alias | e.TableAlias) and node.alias_or_name.lower() in _HIDDEN:
        raise Refused(f"{node.alias_or_name} cannot be a name of one's own")
    if isinstance(node, e.TableAlias) and node.columns:
        raise Refused("name columns where they are selected, not behind a table's name")


def _check_parts(node: Expr) -> None:
    """What is no node is written as it is: only names and values of one's own may be so, which are quoted then."""
    if isinstance(node, e.DataType):
        parts = {part for part, value in node.args.items() if value}
        if parts - _TYPE_PARTS or type(node.this) is not e.DataType.Type:
            raise Refused("a type of one's own is not allowed")
    if not isinstance(node, e.Identifier | e.Literal) and any(map(_is_raw, node.args.values())):
        raise Refused(f"{_name(node)} is not allowed with this")


def _is_raw(value: object) -> bool:
    """Whether a part of a node is text, and no keyword."""
    if isinstance(value, list):
        return any(map(_is_raw, value))
    return isinstance(value, str) and not (value.isascii() and value.isalpha())


def _is_from(node: Expr) -> bool:
    return isinstance(node.parent, e.Subquery) and isinstance(node.parent.parent, e.From)


def _check_select(select: e.Select) -> None:
    """Every SELECT reads one source; its `*` becomes the columns that are open to people."""
    source = _source(select)
    if source is None:
        raise Refused(f"a FROM is missing: {', '.join(MAPPINGS)} can be read")
    if isinstance(source, e.Table) and any(isinstance(item, e.Star) for item in select.expressions):
        names = MAPPINGS[source.name]
        items: list[Expr] = []
        for item in select.expressions:
            items += [e.column(name) for name in names] if isinstance(item, e.Star) else [item]
        select.set("expressions", items)


def _aim(select: e.Select) -> None:
    """Let it read the view, under the name that people know, so that columns which are qualified with it are found."""
    table = _source(select)
    if not isinstance(table, e.Table):
        return
    if not table.alias:
        table.set("alias", e.TableAlias(this=e.to_identifier(table.name)))
    table.set("this", e.to_identifier(_READ[table.name]))
    for count in select.find_all(e.Count):
        # Where no column is named Hazelcast 5.6 makes all of each row: 5.3 s of 250,000 rows, and 0.1 s of their keys,
        # none of which is null.
        if isinstance(count.this, e.Star):
            count.set("this", e.column("__key"))


def _source(select: e.Select) -> Expr | None:
    clause = select.args.get("from_") or select.args.get("from")
    return None if clause is None else clause.this


def _check_columns(tree: e.Select) -> None:
    tables = {table.name for table in tree.find_all(e.Table)}
    names = {name for table in tables for name in MAPPINGS[table]}
    names |= {alias.alias for alias in tree.find_all(e.Alias)}
    qualifiers = tables | {alias.name for alias in tree.find_all(e.TableAlias)}
    for column in tree.find_all(e.Column):
        if column.name not in names:
            raise Refused(f"there is no column {column.name[:80]}: {', '.join(sorted(names)[:40])}")
        if column.args.get("db") or column.args.get("catalog") or (column.table and column.table not in qualifiers):
            raise Refused(f"there is no {column.sql()[:80]}")


def _limit(tree: e.Select, max_rows: int) -> None:
    """Put a LIMIT on the whole, or lower the one that is there."""
    wanted = max_rows
    limit = tree.args.get("limit")
    if limit is not None:
        number = limit.expression
        if not (isinstance(number, e.Literal) and not number.is_string and number.name.isdecimal()):
            raise Refused("LIMIT takes a whole number")
        wanted = min(max_rows, int(number.name[:_LIMIT_DIGITS]))
    tree.set("limit", e.Limit(expression=e.Literal.number(wanted)))


def _name(node: Expr) -> str:
    if isinstance(node, e.Anonymous):
        return f"the function {node.name[:60]}"
    return node.key.upper()


def column_help() -> Sequence[tuple[str, str, bool]]:
    """Of each column its name, its SQL type, and whether suspectedPredictions has it too."""
    return [(name, kind, name in SUSPECT_COLUMNS) for name, kind in VIEW_COLUMNS.items()]
