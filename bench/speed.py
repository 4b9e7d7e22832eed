"""What targets in absolute figures mean on this machine.

They were set on one whose SoftHSM makes 14,000 P-256 signatures a second for a program in C and whose nginx answers
89,000 requests a second on a core. Of what an operation may take there, its signatures are scaled by the token's speed
here and all else by nginx's, both measured in the same run.
"""

from typing import Any, NamedTuple

from bench.machine import SQLITE, Machine
from bench.report import Report
from bench.web import measure_nginx

_SIGNATURES, _REQUESTS = 14_000.0, 89_000.0
_RAW_SECONDS, _NGINX_SECONDS = 1.0, 3
_ANSWER_OCTETS = 782  # an OCSP response by a P-256 key
_PROFILE = "contract_leaf"


class Target(NamedTuple):
    """A limit on this machine, and what it was set as."""

    limit: str
    note: str


class Speed(NamedTuple):
    """How many times faster than the machine of the targets this one is."""

    token: float
    web: float

    def at_most(self, milliseconds: float, signatures: int = 0) -> Target:
        """Return the limit of a time, in milliseconds."""
        limit = self._seconds(milliseconds / 1000, signatures) * 1000
        return Target(f"<= {limit:.3g}", _set_as(f"{milliseconds:g} ms"))

    def seconds_at_most(self, seconds: float) -> Target:
        """Return the limit of a time in seconds in which signatures do not count."""
        return Target(f"<= {self._seconds(seconds, 0):.3g}", _set_as(f"{seconds:g} s"))

    def at_least(self, rate: float, signatures: int = 0) -> Target:
        """Return the limit of a rate, a second."""
        return Target(f">= {1 / self._seconds(1 / rate, signatures):.0f}", _set_as(f"{rate:,.0f}/s"))

    def _seconds(self, seconds: float, signatures: int) -> float:
        signing = signatures / _SIGNATURES
        return signing / self.token + (seconds - signing) / self.web


def speed_of(machine: Machine, report: Report) -> Speed:
    """Return this machine's speed, measured and told at the first call."""
    if machine.speed is None:
        place = machine.place(SQLITE)
        raw: Any = place.run(
            "raw.measure", program=machine.raw_program, profile=_PROFILE, seconds=_RAW_SECONDS, rounds=3
        )
        served = [measure_nginx(machine.directory, bytes(_ANSWER_OCTETS), _NGINX_SECONDS)["rate"] for _ in range(3)]
        signed = report.add("machine: P-256 signatures in C", "/s", [1e6 / one["sign"] for one in raw])
        answered = report.add("machine: nginx, a file", "/s", served)
        machine.speed = Speed(signed.median / _SIGNATURES, answered.median / _REQUESTS)
        report.add("machine: its token's speed, of that of the targets", "", [machine.speed.token])
        report.add("machine: nginx's speed, of that of the targets", "", [machine.speed.web])
    return Speed(*machine.speed)


def _set_as(figure: str) -> str:
    return f"{figure} on the machine of the targets"
