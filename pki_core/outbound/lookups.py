"""Names of other people's servers, resolved within a time (RFC 1035 7.2): the system's resolver itself knows no limit.

A look-up runs in a thread of its own that nobody waits for longer than he may; how many run at once is bounded, those
that were given up included.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread
from time import monotonic

Resolve = Callable[[str, int], Sequence[str]]

_AT_ONCE = 32  # a resolver gives up after about half a minute


class Lookups:
    """Resolves names."""

    def __init__(self, resolve: Resolve, at_once: int = _AT_ONCE) -> None:
        self._resolve = resolve
        self._room = BoundedSemaphore(at_once)

    def addresses(self, host: str, port: int, seconds: float) -> Sequence[str]:
        """Return the addresses of a name.

        Raises:
            TimeoutError: not within ``seconds``.
            OSError, ValueError: there is none, or it is no name.
        """
        until = monotonic() + seconds
        if not self._room.acquire(timeout=seconds):
            raise TimeoutError
        found: Future[Sequence[str]] = Future()
        # A daemon: a process that ends does not wait for a resolver.
        Thread(target=self._look_up, args=(host, port, found), daemon=True).start()
        return found.result(timeout=max(until - monotonic(), 0))

    def _look_up(self, host: str, port: int, found: "Future[Sequence[str]]") -> None:
        try:
            found.set_result(self._resolve(host, port))
        except (OSError, ValueError) as error:
            found.set_exception(error)
        finally:
            self._room.release()
