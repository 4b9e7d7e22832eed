"""The guards of the audit tables, taken away: what somebody does who owns the database and means to tamper."""

from sqlalchemy import text


def drop_guards(connection):
    """Let this database change and remove audit rows."""
    is_postgres = connection.dialect.name == "postgresql"
    for table in ("audit", "audit_checkpoint"):
        names = (f"{table}_append_only",) if is_postgres else (f"{table}_no_update", f"{table}_no_delete")
        for name in names:
            connection.execute(text(f"DROP TRIGGER IF EXISTS {name}" + (f" ON {table}" if is_postgres else "")))
