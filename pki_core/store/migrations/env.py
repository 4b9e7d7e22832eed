"""Alembic's environment: takes the connection it is given, writes batch operations for SQLite."""

from alembic import context
from sqlalchemy import Connection, Engine

from pki_core.store import ceremony_tables


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=ceremony_tables.metadata,
        render_as_batch=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes["connection"]
if isinstance(given, Engine):
    with given.begin() as opened:
        _run(opened)
else:
    _run(given)
