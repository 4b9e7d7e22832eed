"""Trips to PostgreSQL, counted where the driver makes them."""

from contextlib import contextmanager

import psycopg._connection_base
import psycopg._cursor_base
import pytest

ON_POSTGRES = pytest.mark.parametrize("any_home", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)


@contextmanager
def counted():
    """The trips made in a block."""
    trips = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (psycopg._cursor_base, psycopg._connection_base.generators):
            execute = module.execute

            def counting(connection, _execute=execute):
                trips.append(connection)
                return _execute(connection)

            patch.setattr(module, "execute", counting)
        yield trips
