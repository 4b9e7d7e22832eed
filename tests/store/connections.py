"""A connection of the test's own, past the store."""

from contextlib import contextmanager

from pki_core.store.engine import open_engine


@contextmanager
def connected(url):
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
