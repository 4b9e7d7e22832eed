"""Jobs: sweep what has ended, clean the CCP, look vehicles up meanwhile, and issue with and without the pool's hook."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec

from bench import certificates
from bench.certificates import order_of, requests_of
from bench.child import run_job
from bench.pool_filler import pcid_of
from bench.work import peak_megabytes
from pki_core.model.partners import Partner
from pki_core.model.pools import PoolReport
from pki_core.runtime import Runtime, open_runtime
from pki_core.services.pool_issued import PoolEntry
from pki_core.store.audit import AuditGateway
from pki_core.wire.public_key import spki_of

_READER = Partner(
    id="bench",
    roles=frozenset({"mo"}),
    provider_prefixes=frozenset({"DEPNC"}),
    operator_prefixes=frozenset(),
    wmis=frozenset(),
)
_WARM_LOOKS = 200
_CHUNK = 1000


def sweep(home: str) -> dict[str, Any]:
    """Take what has ended out of the pools; return seconds, counts and this process's peak memory."""
    return _timed(home, lambda runtime: runtime.pools.expiry.sweep())


def clean(home: str) -> dict[str, Any]:
    """Take orphans out of the CCP; return the same."""
    return _timed(home, lambda runtime: runtime.pools.ccp_cleanup.run())


def _timed(home: str, work: Callable[[Runtime], PoolReport]) -> dict[str, Any]:
    runtime = open_runtime(Path(home))
    started = time.perf_counter()
    report = work(runtime)
    seconds = time.perf_counter() - started
    runtime.close()
    return {
        "seconds": seconds,
        "peak_mb": peak_megabytes(),
        "provisioning": report.provisioning,
        "contracts": report.contracts,
        "revoked": report.revoked,
    }


def look_up_during(
    home: str, beside: str, variables: Mapping[str, str], numbers: list[int], rate: float
) -> dict[str, Any]:
    """Run a job in a process of its own and look vehicles up by PCID meanwhile, so many a second, each on time.

    Returns what the job returned, and the milliseconds of each look-up, from when it should have begun.
    """
    runtime = open_runtime(Path(home))
    chosen = random.Random(1)  # noqa: S311  # which vehicle is asked for
    for _ in range(_WARM_LOOKS):
        _look(runtime, chosen, numbers)
    found: dict[str, Any] = {}
    worker = threading.Thread(target=lambda: found.update(run_job(beside, variables, home=home)))
    worker.start()
    milliseconds = []
    due = time.perf_counter()
    while worker.is_alive():
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        _look(runtime, chosen, numbers)
        milliseconds.append((time.perf_counter() - due) * 1000)
    worker.join()
    runtime.close()
    return {**found, "look_ups": sorted(milliseconds)}


def _look(runtime: Runtime, chosen: random.Random, numbers: list[int]) -> None:
    runtime.pools.provisioning.get(_READER, pcid_of(chosen.randrange(*numbers)))


def issue(home: str, rows: int) -> dict[str, list[float]]:
    """Issue vehicles: as it is, without the pool rows, without the audit rows; return certificates a second of each."""
    runtime = open_runtime(Path(home))
    ways = {"all": _as_it_is, "no pool": _without_pool, "no audit": _without_audit}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    first = 1
    _issue_chunk(runtime, first)  # warm
    for _ in range(rows // _CHUNK):
        for name, way in ways.items():
            first += _CHUNK
            with way():
                rates[name].append(_CHUNK / _issue_chunk(runtime, first))
    runtime.close()
    return rates


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _without_pool() -> Iterator[None]:
    with patch.object(PoolEntry, "write", lambda *_given: None):
        yield


@contextmanager
def _without_audit() -> Iterator[None]:
    with patch.object(AuditGateway, "append", lambda *_given: None):
        yield


def _issue_chunk(runtime: Runtime, first: int) -> float:
    """Return the seconds for a chunk of provisioning certificates, from requests to rows."""
    given = order_of(runtime, "oem_provisioning_leaf")
    spki_der = spki_of(ec.generate_private_key(ec.SECP256R1()).public_key())
    requests = requests_of((f"WBN{number:014d}", spki_der) for number in range(first, first + _CHUNK))
    started = time.perf_counter()
    certificates.issue(runtime, given, requests)
    return time.perf_counter() - started
