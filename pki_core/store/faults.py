"""What a database's fault means for whoever has to mend it: SQLite's result codes, PostgreSQL's SQLSTATEs in words."""

import sqlite3

_SQLITE = {
    sqlite3.SQLITE_FULL: "the disk of the database is full",
    sqlite3.SQLITE_READONLY: "the database may not be written: its file, folder or file system is read-only",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened: missing, forbidden, or on a read-only file system",
    sqlite3.SQLITE_PERM: "the database file may not be used by this account",
    sqlite3.SQLITE_BUSY: "another process holds the database's lock for too long",
    sqlite3.SQLITE_LOCKED: "another process holds the database's lock for too long",
    sqlite3.SQLITE_IOERR: "the disk of the database fails to read or write",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the database file is not a database",
}
_PRIMARY = 0xFF  # an extended result code holds the primary one in its low octet

# By SQLSTATE (PostgreSQL appendix A), then by its class, the first two characters.
_POSTGRES = {
    "25006": "the database may not be written: it is a standby or set to read-only",
    "42501": "the account of the database lacks a right",
    "42P01": "the database has no schema of this version: pncpki migrate",
    "53100": "the disk of the database server is full",
    "53200": "the database server is out of memory",
    "53300": "the database server has no connection left",
    "55P03": "another process holds a lock of the database for too long",
    "57014": "the database server cancelled the statement",
    "57P01": "the database server ended the connection or was shut down",
    "57P02": "the database server crashed and restarts",
    "57P03": "the database server is starting or stopping",
    "3D000": "there is no such database on the server",
    "08": "the connection to the database server is lost or cannot be made",
    "28": "the database server refuses the login",
    "40": "two transactions stood in each other's way",
    "53": "the database server lacks resources",
    "58": "the database server fails to read or write its files",
}
# While it connects, the driver gives no SQLSTATE, only the server's words.
_CONNECTING = {
    "starting up": "57P03",
    "shutting down": "57P03",
    "too many clients": "53300",
    "connection slots": "53300",
    "authentication failed": "28",
    "no pg_hba.conf entry": "28",
    "does not exist": "3D000",
}


def words_for(cause: BaseException) -> str:
    """Say in one sentence what a driver's exception means; without anything it says of rows, hosts or accounts."""
    kind = type(cause).__name__
    if isinstance(cause, sqlite3.Error) and hasattr(cause, "sqlite_errorcode"):  # not set by the driver's own faults
        words = _SQLITE.get(cause.sqlite_errorcode & _PRIMARY)
        return f"{words} ({cause.sqlite_errorname})" if words else f"the database did not answer: {kind}"
    state = getattr(cause, "sqlstate", None)
    if state:
        words = _POSTGRES.get(state) or _POSTGRES.get(state[:2]) or f"the database did not answer: {kind}"
        return f"{words} (SQLSTATE {state})"
    if kind in {"OperationalError", "ConnectionTimeout"}:
        said = next((state for words, state in _CONNECTING.items() if words in str(cause)), "08")
        return _POSTGRES[said]
    return f"the database did not answer: {kind}"
