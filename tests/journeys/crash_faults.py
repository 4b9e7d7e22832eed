"""What crash tests do in their own process: sign, and switch on faults of the database for a while."""

from contextlib import contextmanager

from pki_core.services.runners import runner_token
from tests.invariants import check_books, connected
from tests.journeys.crash_points import interposed

INTEGRITY, OWN, DISK_FULL = "23514", "P0001", "53100"  # SQLSTATEs
SILENTLY = ""


def sign_all(runtime, batch_id):
    """Sign what is open, as one runner in this process."""
    runner = runner_token()
    while runtime.batches.sign_next_chunk(batch_id, runner) is not None:
        pass


def finish_and_check(runtime, place, expected_codes):
    """Sign what is open, check the books and return them."""
    sign_all(runtime, place.batch_id)
    books = check_books(place.url, place.batch_id)
    assert books.codes == expected_codes
    return books


@contextmanager
def refusing(url, table, condition, state=OWN, act="INSERT"):
    """A trigger that refuses some rows of a table, or drops them silently."""
    with connected(url) as connection:
        if connection.dialect.name == "sqlite":
            refusal = "RAISE(ABORT, 'refused')" if state else "RAISE(IGNORE)"
            body = f"BEFORE {act} ON {table} WHEN {condition} BEGIN SELECT {refusal}; END"
            connection.exec_driver_sql(f"CREATE TRIGGER refusal {body}")
        else:
            refusal = f"RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'" if state else "RETURN NULL"
            body = f"BEGIN {refusal}; END"
            connection.exec_driver_sql(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            rows = f"BEFORE {act} ON {table} FOR EACH ROW WHEN ({condition})"
            connection.exec_driver_sql(f"CREATE TRIGGER refusal {rows} EXECUTE FUNCTION refuse()")
    try:
        yield
    finally:
        with connected(url) as connection:
            where = "" if connection.dialect.name == "sqlite" else f" ON {table}"
            connection.exec_driver_sql(f"DROP TRIGGER refusal{where}")
            if where:
                connection.exec_driver_sql("DROP FUNCTION refuse()")


@contextmanager
def answer_lost(runtime, point):
    """The commit after a point succeeds, but its answer does not arrive."""
    dialect, armed = runtime.store._engine.dialect, []
    commit = dialect.do_commit

    def commit_and_lose(connection):
        commit(connection)
        if armed:
            armed.clear()
            raise dialect.dbapi.OperationalError("the connection was lost")

    dialect.do_commit = commit_and_lose
    try:
        with interposed(point, lambda: armed.append(True)):
            yield
    finally:
        dialect.do_commit = commit
