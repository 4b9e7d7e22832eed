"""CRLs: from the database to a signed and published list, beside openssl at the same counts; and revoking."""

from collections.abc import Sequence
from typing import Any

from bench.child import run_job
from bench.machine import Machine, Place
from bench.report import Report
from bench.speed import Target, speed_of

_SIGNED = {10_000: 0.1, 100_000: 0.25, 1_000_000: 1.5}  # seconds
_PEAK = {1_000_000: "<= 120"}
_REVOKED = 200
_GROWTH = "<= 1.5"  # how much longer revoking takes among a million: the depth of the indexes, and no more


def measure(machine: Machine, report: Report, counts: Sequence[int]) -> None:
    """Publish at each count, revoke at none and at the largest."""
    report.begin("CRLs", "P-256 in SoftHSM, a fresh process each, warm; published twice: alone, and behind itself")
    speed = speed_of(machine, report)
    for place in machine.places:
        empty = _revoke(place)
        for count in counts:
            place.run("crl_jobs.fill", count=count)
            _publish(place, report, count, speed.seconds_at_most(_SIGNED[count]))
        full = _revoke(place)
        report.add(f"{place.database}: revoke, none revoked", "ms", empty)
        report.add(f"{place.database}: revoke, {max(counts):,} revoked", "ms", full)
        ratios = [_median(full) / _median(empty)]
        report.add(f"{place.database}: revoke, the one by the other", "", ratios, _GROWTH)
    for count in counts:
        found: Any = run_job("crl_jobs.openssl", {}, count=count)
        report.add(f"openssl ca -gencrl, {count:,} entries", "s", [found["seconds"]])
        report.add(f"openssl ca -gencrl, {count:,} entries, peak memory", "MB", [found["peak_mb"]])


def _publish(place: Place, report: Report, count: int, target: Target) -> None:
    found: Any = place.run("crl_jobs.publish")
    name, rounds = f"{place.database}, {count:,} entries", found["rounds"]
    report.add(f"{name}: database to signed file", "s", [one["signed"] for one in rounds], *target)
    for step in ("read back", "guards", "store"):
        report.add(f"{name}: {step}", "s", [one[step] for one in rounds])
    report.add(f"{name}: all, published", "s", [one["all"] for one in rounds])
    note = f"{found['warm_mb']:.0f} before, {found['octets'] / 1e6:.1f} MB list"
    report.add(f"{name}: peak memory, signed file", "MB", [found["signed_mb"]], _PEAK.get(count, ""), note)
    report.add(f"{name}: peak memory, read back, guarded, stored", "MB", [found["peak_mb"]])


def _revoke(place: Place) -> list[float]:
    found: Any = place.run("crl_jobs.revoke", count=_REVOKED)
    return list(found["milliseconds"])


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
