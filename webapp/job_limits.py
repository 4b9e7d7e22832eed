"""What a process that reads files of strangers may not outlive or outgrow: its front, and a limit of memory."""

import os
import resource
import sys
from collections.abc import Callable
from threading import Thread

# Octets of data. Any good batch keeps 250 MB in memory; pyarrow and numpy map a gigabyte that they hardly touch.
_MOST_DATA = 2 * 1024**3
_LEFT_ALONE = 3  # exit code: as of whatever is unavailable


def limit_memory() -> None:
    """Limit what this process may allocate: a file that lies about its size ends in a MemoryError here."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _MOST_DATA if hard == resource.RLIM_INFINITY else min(_MOST_DATA, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def end_with_the_front(clean: Callable[[], None]) -> None:
    """End this process when its standard input does: the front, which holds the other end of the pipe, has ended.

    The store needs no farewell: what was loaded so far is found under a dead runner. ``clean`` removes the rest.
    """
    Thread(target=_watch, args=(clean,), daemon=True).start()


def _watch(clean: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    clean()
    os._exit(_LEFT_ALONE)
