"""Sets in one go: inserts by binary COPY on PostgreSQL, executemany on SQLite, counted; look-ups by a list of keys."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    any_,
    cast,
    column,
    func,
    select,
)

from pki_core.model.errors import ConstraintError, InvariantError, StoreUnavailableError
from pki_core.store.driver import driver_of, run_many, run_text
from pki_core.store.engine import is_postgres
from pki_core.store.faults import words_for

_POSTGRES_TYPES = (
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (LargeBinary, "bytea"),
    (Boolean, "bool"),
)


_FEW = 4  # up to here, COPY costs more than it saves: two trips to the server instead of one


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert all rows or none.

    Raises:
        InvariantError: the database took another number of rows than it was given.
    """
    if not rows:
        return
    copies = is_postgres(connection) and len(rows) > _FEW
    taken = _copy(connection, table, columns, rows) if copies else _many(connection, table, columns, rows)
    if taken != len(rows):
        raise InvariantError(f"{table.name} took {taken} rows of {len(rows)}")


def is_one_of(connection: Connection, key: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a key is in a list, with the list as one parameter, not thousands.

    An explicit list, not a join: of tables that have just been filled or emptied PostgreSQL has no statistics, and it
    would read the table instead of looking at its keys.
    """
    return is_in_list(key, list_of(connection, values), postgres=is_postgres(connection))


def is_in_list(key: Column[Any], values: Any, *, postgres: bool) -> ColumnElement[bool]:  # noqa: ANN401  # or its place
    """Return the same condition of what ``list_of`` gave, or of the parameter of a statement that is built once."""
    if postgres:
        return key == any_(cast(values, ARRAY(key.type)))
    return key.in_(select(column("value", key.type)).select_from(func.json_each(values)))


def list_of(connection: Connection, values: Sequence[Any]) -> Any:  # noqa: ANN401  # what the driver takes
    """Return a list as the one parameter that a database takes it in."""
    return list(values) if is_postgres(connection) else json.dumps(list(values))


def look_up_by_keys(connection: Connection) -> None:
    """Let this transaction look rows up one by one: PostgreSQL would read a whole table for each window."""
    if is_postgres(connection):
        connection.exec_driver_sql("SET LOCAL enable_hashjoin TO OFF; SET LOCAL enable_mergejoin TO OFF")


def _copy(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    driver = driver_of(connection)
    errors = connection.dialect.loaded_dbapi  # COPY goes past SQLAlchemy, so do its errors
    names = ", ".join(columns)
    try:
        with driver.cursor() as cursor:
            with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types([_type_name(table, column) for column in columns])
                write_row = copy.write_row
                for row in rows:
                    write_row(row)
            return int(cursor.rowcount)
    except errors.IntegrityError as error:
        raise ConstraintError(f"the database refused a row of {table.name} that breaks a constraint") from error
    except errors.Error as error:
        raise StoreUnavailableError(words_for(error)) from error


def _many(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    places = ", ".join(["%s" if is_postgres(connection) else "?"] * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  # names are ours
    if len(rows) == 1:
        return run_text(connection, statement, rows[0]).rowcount
    return run_many(connection, statement, rows)


def _type_name(table: Table, column: str) -> str:
    column_type = table.c[column].type
    for kind, name in _POSTGRES_TYPES:
        if isinstance(column_type, kind):
            return name
    return "text"
