"""Hazelcast as the dashboard sees it: SQL in, frames out, and a state instead of an exception when it is away."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
from hazelcast.client import HazelcastClient
from hazelcast.errors import HazelcastError
from hazelcast.lifecycle import LifecycleState
from hazelcast.proxy.map import BlockingMap
from hazelcast.sql import HazelcastSqlError, SqlColumnMetadata, SqlColumnType, SqlResult

from dashboard.state import Watched
from infra.errors import FraudflowError, TransientError
from infra.hazelcast import connect
from infra.settings import HazelcastSettings

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
# A client that finds no member for so long is replaced by a new one.
_RECONNECT_SECONDS = 10.0

_CANCELLED = "CANCEL"

_TYPES = {
    SqlColumnType.VARCHAR: pl.String,
    SqlColumnType.BOOLEAN: pl.Boolean,
    SqlColumnType.TINYINT: pl.Int64,
    SqlColumnType.SMALLINT: pl.Int64,
    SqlColumnType.INTEGER: pl.Int64,
    SqlColumnType.BIGINT: pl.Int64,
    SqlColumnType.REAL: pl.Float64,
    SqlColumnType.DOUBLE: pl.Float64,
}


class Cluster:
    """A client that is connected in the background, again and again, for as long as the process lives."""

    def __init__(self, settings: HazelcastSettings, query_seconds: float):
        self._settings, self._query_seconds = settings, query_seconds
        self._client: HazelcastClient | None = None
        self._lost = threading.Event()
        self._lost.set()
        self._tried = threading.Event()
        self.watched = Watched("Hazelcast")
        threading.Thread(target=self._keep_connected, name="hazelcast-connect", daemon=True).start()

    def query(self, statement: str, *parameters: Any, max_rows: int | None = None) -> pl.DataFrame:
        """Run one statement; the cluster gives it up after the settings' time.

        Args:
            statement: with `?` for each parameter.
            parameters: in order; int, float, str or bool.
            max_rows: rows after which the rest is left in the cluster.

        Raises:
            TransientError: Hazelcast is away, busy, or refuses the statement; the message says which.
        """

        def run(client: HazelcastClient) -> pl.DataFrame:
            # Only queries know a timeout; SHOW refuses one.
            timeout = self._query_seconds if statement.startswith("SELECT") else -1
            began = time.monotonic()
            try:
                return rows_of(client.sql.execute(statement, *parameters, timeout=timeout).result())
            except HazelcastSqlError as error:
                # The member says of a query that ran out of time no more than that it was cancelled.
                if _CANCELLED in str(error) and 0 < timeout <= time.monotonic() - began:
                    raise TransientError(f"Hazelcast gave it up after {timeout:g} s") from error
                raise

        def rows_of(result: SqlResult) -> pl.DataFrame:
            rows: list[list[Any]] = []
            try:
                columns = result.get_row_metadata().columns
                for row in result:
                    rows.append([row.get_object_with_index(i) for i in range(len(columns))])  # type: ignore[union-attr]
                    if max_rows is not None and len(rows) >= max_rows:
                        break
            finally:
                # In the cluster too, whether it was read to its end or not.
                with contextlib.suppress(HazelcastError, HazelcastSqlError):
                    result.close().result()
            return _frame(columns, rows)

        return self._call(run)

    def on_map(self, name: str, action: Callable[[BlockingMap], Any]) -> Any:
        """Do something with a map.

        Raises:
            TransientError: Hazelcast is away.
        """
        return self._call(lambda client: action(client.get_map(name).blocking()))

    def members(self) -> list[str]:
        """The addresses of the members.

        Raises:
            TransientError: Hazelcast is away.
        """
        return self._call(
            lambda client: [f"{m.address.host}:{m.address.port}" for m in client.cluster_service.get_members()]
        )

    def _call(self, action: Callable[[HazelcastClient], Any]) -> Any:
        # Who comes while the first connection is made waits for it: nothing is away yet.
        self._tried.wait(_RECONNECT_SECONDS)
        client = self._client
        if client is None or not self.watched.state.up:
            raise TransientError(f"Hazelcast is away: {self.watched.state.detail}")
        try:
            return action(client)
        except HazelcastSqlError as error:
            raise TransientError(_first_line(error)) from error
        except HazelcastError as error:
            raise TransientError(f"Hazelcast does not answer: {_first_line(error)}") from error

    def _keep_connected(self) -> None:
        while True:
            self._lost.wait()
            self._lost.clear()
            client, self._client = self._client, None
            if client is not None:
                client.shutdown()
            try:
                self._client = connect(self._settings, _RECONNECT_SECONDS)
                self._client.lifecycle_service.add_listener(self._on_lifecycle)
                self.watched.up()
                self._tried.set()
            except FraudflowError as error:
                self.watched.away(error)
                self._tried.set()
                logger.warning("%s", error)
                threading.Event().wait(_RETRY_SECONDS)
                self._lost.set()

    def _on_lifecycle(self, state: str) -> None:
        """Called on the client's own thread: it must not block."""
        if state == LifecycleState.CONNECTED:
            self.watched.up()
        elif state == LifecycleState.DISCONNECTED:
            self.watched.away("the connection was lost")
        elif state == LifecycleState.SHUTDOWN and self._client is not None:
            # It gave up reconnecting. The thread makes a new one.
            self._lost.set()


def _frame(columns: Sequence[SqlColumnMetadata], rows: list[list[Any]]) -> pl.DataFrame:
    """Columns of one name, which SQL allows, get a number behind it."""
    schema: dict[str, type[pl.DataType]] = {}
    for at, column in enumerate(columns):
        name, again = column.name, 2
        while name in schema:
            name, again = f"{column.name}_{again}", again + 1
        if (kind := _TYPES.get(column.type)) is None:
            # AVG of whole numbers and SUM of BIGINT are decimals; what else there may be is shown as text.
            kind, make = (pl.Float64, float) if column.type == SqlColumnType.DECIMAL else (pl.String, str)
            for row in rows:
                row[at] = None if row[at] is None else make(row[at])
        schema[name] = kind
    return pl.DataFrame(rows, schema=schema, orient="row")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
