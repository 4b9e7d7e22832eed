"""A connection of the test's own, past the store, with its settings: it takes the writer's lock, as the store does.

The one of tests/invariants.py takes none, so that it may look in the middle of a storm.
"""

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
