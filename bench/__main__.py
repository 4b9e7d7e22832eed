"""`make bench`: measures this machine's raw limits and pncpki in one run, and holds the figures against the targets."""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from bench.child import JobFailedError
from bench.machine import Machine, NotMeasurableError, prepared_machine
from bench.parts import P256, PARTS, Plan
from bench.report import Report, heading

_STAGES_SHOWN = 60


def main() -> int:
    """Measure what the command line asks for; exit code 1 when a target is missed, 2 when nothing can be measured."""
    options = _read_options()
    plan = Plan(
        rows=options.rows,
        rounds=options.rounds,
        stored=0 if options.quick else options.stored,
        starts=3 if options.quick else 7,
        raw_seconds=0.3 if options.quick else 1.0,
    )
    report = Report(say=_say)
    started = time.monotonic()
    _say(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {_load()}")
    try:
        with prepared_machine(_say) as machine:
            if options.profile:
                _profile(machine, plan)
                return 0
            _say(heading())
            for name in options.only:
                began = time.monotonic()
                PARTS[name](machine, plan, report)
                _say(f"  ({name}: {time.monotonic() - began:.0f} s, {_load()})")
    except (NotMeasurableError, JobFailedError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    if options.json:
        document = {"machine": platform.platform(), "cpus": os.cpu_count(), "parts": report.as_json()}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = report.missed()
    _say(f"\n{time.monotonic() - started:.0f} s, {_load()}; {len(missed)} targets NOT met")
    for part, figure in missed:
        _say(f"  NOT met: {part}: {figure.name}: {figure.median:.3g} {figure.unit} ({figure.target})")
    return 1 if missed and not options.quick else 0


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, help="rows of a batch (20000; with --quick 2000)")
    parser.add_argument("--rounds", type=int, help="runs of each measurement (3; with --quick 1)")
    parser.add_argument("--stored", type=int, default=1_000_000, help="certificates in the full store")
    parser.add_argument("--quick", action="store_true", help="a look in 90 seconds: few rows, no full store")
    parser.add_argument("--only", type=_names, default=list(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--profile", action="store_true", help="show where a single worker's time goes instead")
    options = parser.parse_args()
    options.rows = options.rows or (2000 if options.quick else 20_000)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names


def _profile(machine: Machine, plan: Plan) -> None:
    files, warm_up = machine.files(3, plan.rows), machine.file(1000)
    for place in machine.places:
        found: Any = place.run("stages.break_down", warm_up=warm_up, files=files, profile=P256)
        plain = ", ".join(f"{name} {us:.1f}" for name, us in found["plain_us"].items())
        _say(f"\n{place.database}: {found['rows']:,} rows, one worker, us a row without instruments: {plain}")
        for phase, stages in found["phases"].items():
            cpu, wall = (sum(stage[clock] for stage in stages) for clock in ("cpu_us", "wall_us"))
            _say(f"\n{phase:<44}{'CPU us':>9}{'wall us':>9}{'calls':>9}\n  {'all':<42}{cpu:9.2f}{wall:9.2f}")
            for stage in stages[:_STAGES_SHOWN]:
                _say(f"  {stage['stage']:<42}{stage['cpu_us']:9.2f}{stage['wall_us']:9.2f}{stage['calls']:9}")
        if found["missing"]:
            _say(f"not found, and so inside the stages around them: {', '.join(found['missing'])}")
        _say(f"\ncProfile of the sign stage\n{found['top']}")


def _load() -> str:
    return "load " + " ".join(f"{value:.1f}" for value in os.getloadavg())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
