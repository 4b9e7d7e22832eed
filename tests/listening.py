"""Servers of the tests' own, each in a thread of its own while a test needs it."""

import threading
from contextlib import contextmanager


@contextmanager
def listening(server):
    """Serve until the block ends; yields the server."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
