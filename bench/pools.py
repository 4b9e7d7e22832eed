"""Pools: a million vehicles and contracts on PostgreSQL, swept and cleaned, looked up meanwhile; issuing into them."""

from typing import Any

from bench.machine import POSTGRES, Machine
from bench.report import Report

_RATE = 100.0  # look-ups a second
_TENTH = 10
_P99 = 0.99


def measure(machine: Machine, report: Report, count: int, rows: int) -> None:
    """Fill, sweep a tenth, clean another tenth, issue."""
    tenth = count // _TENTH
    place = machine.place(POSTGRES)
    seconds: Any = place.run("pool_filler.fill", count=count, ended=tenth, orphans=tenth)
    report.begin(
        f"Pools of {count:,} vehicles and {count:,} contracts",
        f"PostgreSQL, filled in {seconds:.0f} s; {_RATE:.0f} look-ups a second meanwhile, each through every check",
    )
    for job, what in (("sweep", "expired vehicles with a contract of ours each"), ("clean", "orphans, ours")):
        found: Any = place.run(
            "pool_jobs.look_up_during",
            beside=f"pool_jobs.{job}",
            variables=place.variables,
            numbers=[2 * tenth, count],
            rate=_RATE,
        )
        gone = f"{found['provisioning']:,} vehicles, {found['contracts']:,} contracts, {found['revoked']:,} revoked"
        report.add(f"{job}: {tenth:,} {what}", "s", [found["seconds"]], "<= 60", gone)
        report.add(f"{job}: peak memory", "MB", [found["peak_mb"]], "<= 300")
        looks = found["look_ups"]
        report.add(f"look-up by PCID during the {job}, p50", "ms", [looks[len(looks) // 2]], "", f"{len(looks):,}")
        report.add(f"look-up by PCID during the {job}, p99", "ms", [looks[int(len(looks) * _P99)]], "< 20")
    rates: Any = place.run("pool_jobs.issue", rows=rows)
    report.add("issuing vehicles, with pool rows and audit", "/s", rates["all"])
    report.add("issuing vehicles, without pool rows", "/s", rates["no pool"])
    report.add("issuing vehicles, without audit rows", "/s", rates["no audit"])
    for name, what in (("no pool", "pool rows"), ("no audit", "audit rows")):
        more = [100 * (one / with_all - 1) for one, with_all in zip(rates[name], rates["all"], strict=True)]
        report.add(f"issuing vehicles, what the {what} cost", "% more", more, "<= 15")
