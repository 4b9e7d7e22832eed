"""Contracts: how many a second tables make, against their floor; answers to vehicles beside a million contracts."""

import statistics
from typing import Any

from bench.machine import POSTGRES, SQLITE, Machine
from bench.report import Report

_P99 = 0.99


def measure(machine: Machine, report: Report, rows: int, rounds: int, stored: int) -> None:
    """Measure both."""
    report.begin(
        "Contracts in bulk",
        f"{rows:,} rows, one worker, keys in SoftHSM; floor: two HSM signatures and their checks, a key pair, an ECDH",
    )
    for database in (SQLITE, POSTGRES):
        found: Any = machine.place(database).run(
            "contract_jobs.bulk", program=machine.raw_program, rows=rows, rounds=rounds
        )
        report.add(f"{database}: contracts", "/s", [1e6 / one for one in found["us"]])
        report.add(f"{database}: a contract", "us", found["us"])
        report.add(f"{database}: its floor", "us", found["floor_us"], note=_parts(found["parts"]))
        shares = [floor / took for floor, took in zip(found["floor_us"], found["us"], strict=True)]
        report.add(f"{database}: share of the floor", "", shares, ">= 0.60")
    _measure_answers(machine, report, stored)


def _measure_answers(machine: Machine, report: Report, stored: int) -> None:
    place = machine.place(POSTGRES)
    seconds: Any = place.run("pool_filler.fill", count=stored, ended=0, orphans=0)
    report.begin(
        f"Answers to vehicles beside {stored:,} contracts",
        f"PostgreSQL, filled in {seconds:.0f} s; one thread; each request read, verified, looked up, answered in EXI",
    )
    found: Any = place.run("contract_jobs.answers", count=2000)
    for name, times in found.items():
        each = sorted(times)
        report.add(f"{name}, p50", "ms", [statistics.median(each)])
        report.add(f"{name}, p99", "ms", [each[int(len(each) * _P99)]], "<= 15", f"{len(each):,} requests")


def _parts(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {us:.0f}" for name, us in parts.items())
