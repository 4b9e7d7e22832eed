"""Strict rules for CRLs (RFC 5280 5) on every one that is signed, those that no public tool checks among them.

The list is read back from its octets by other code than the one that wrote them, and held against its plan.
"""

from datetime import UTC, datetime, timedelta

from pki_core.model.limits import SERIAL_OCTETS
from pki_core.model.revocations import Reason
from pki_core.wire.certificate import FIRST_GENERALIZED_YEAR, SIGNATURE_ALGORITHM_DER
from pki_core.wire.crl import CrlPlan
from pki_core.wire.crl_read import DELTA_INDICATOR, ISSUING_DISTRIBUTION_POINT, DecodedCrl
from pki_core.wire.crl_scan import EntryScan
from pki_core.wire.tbs import GENERALIZED_TIME_TAG, UTC_TIME_TAG

_V2 = 1
_MAX_NUMBER_BITS = 8 * SERIAL_OCTETS - 1  # RFC 5280 5.2.3: as long as a serial, without the sign bit
_FORMS = {UTC_TIME_TAG: "%y%m%d%H%M%SZ", GENERALIZED_TIME_TAG: "%Y%m%d%H%M%SZ"}


def crl_findings(decoded: DecodedCrl, scan: EntryScan, plan: CrlPlan) -> list[str]:
    """Return the codes of all rules that do not hold."""
    return [
        code
        for code, holds in {**_frame(decoded, plan), **_extensions(decoded), **_list(decoded, scan)}.items()
        if not holds
    ]


def plan_findings(decoded: DecodedCrl, plan: CrlPlan) -> list[str]:
    """Return what a CRL says otherwise than planned: issuer, key, numbers, times, addresses."""
    point = {"distribution_point": [plan.shard_url]} if plan.shard_url else None
    rules = {
        "issuer": decoded.issuer_der == plan.issuer_der,
        "authority_key_identifier": decoded.key_identifier == plan.key_identifier,
        "issuing_distribution_point": decoded.distribution_point == point,
        "number": decoded.number == plan.number,
        "base_number": decoded.base_number == plan.base_number,
        "freshest_crl": decoded.freshest_urls == ((plan.freshest_url,) if plan.freshest_url else ()),
        "times": (decoded.this_update[1], decoded.next_update[1]) == (plan.this_update, plan.next_update),
    }
    return [f"crl.other_{name}" for name, holds in rules.items() if not holds]


def _frame(decoded: DecodedCrl, plan: CrlPlan) -> dict[str, bool]:
    algorithm = SIGNATURE_ALGORITHM_DER[plan.algorithm]
    return {
        "crl.version": decoded.version == _V2,
        "crl.algorithms": decoded.inner_algorithm_der == decoded.outer_algorithm_der == algorithm,
        "crl.time_form": all(map(_is_in_form, (decoded.this_update, decoded.next_update))),
        "crl.next_update": decoded.next_update[1] > decoded.this_update[1],
    }


def _extensions(decoded: DecodedCrl) -> dict[str, bool]:
    point, number = decoded.distribution_point, decoded.number
    must_be_critical = {ISSUING_DISTRIBUTION_POINT: point, DELTA_INDICATOR: decoded.base_number}
    wanted = {name for name, value in must_be_critical.items() if value is not None}
    is_delta = decoded.base_number is not None
    return {
        "crl.authority_key_identifier": decoded.key_identifier is not None,
        "crl.number": number is not None and number > 0 and number.bit_length() <= _MAX_NUMBER_BITS,
        "crl.criticality": decoded.critical == wanted,  # 5.2.4 and 5.2.5; all others are not critical
        "crl.distribution_point": point is None
        or (set(point) == {"distribution_point"} and len(point["distribution_point"]) == 1),
        "crl.freshest_in_delta": not (is_delta and decoded.freshest_urls),  # 5.2.6
        "crl.base_number": decoded.base_number is None or 0 < decoded.base_number <= (number or 0),
    }


def _list(decoded: DecodedCrl, scan: EntryScan) -> dict[str, bool]:
    is_delta = decoded.base_number is not None
    times = [_entry_time(der) for der in scan.times]
    return {
        "crl.empty_list": (decoded.entries is None) == (scan.count == 0),  # 5.1.2.6: absent, not empty
        "crl.duplicate": not scan.has_doubles,
        "crl.revoked_later": all(moment <= decoded.this_update[1] for _, moment in times),
        "crl.entry_time_form": all(map(_is_in_form, times)),
        "crl.removal": is_delta or Reason.REMOVE_FROM_CRL.value not in scan.reasons,  # 5.3.1
    }


def _is_in_form(time: tuple[int, datetime]) -> bool:
    """Tell whether a time uses the form of its year (RFC 5280 5.1.2.4)."""
    return (time[0] == GENERALIZED_TIME_TAG) == (time[1].year >= FIRST_GENERALIZED_YEAR)


def _entry_time(der: bytes) -> tuple[int, datetime]:
    try:
        moment = datetime.strptime(der[2:].decode("ascii"), _FORMS[der[0]]).replace(tzinfo=UTC)
    except ValueError:
        return der[0], datetime.max.replace(tzinfo=UTC) - timedelta(days=1)  # no such day: later than everything
    return der[0], moment
