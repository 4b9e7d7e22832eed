"""Job: fills PCP and CCP with synthetic rows by COPY: ended vehicles, contracts that are orphans, and the rest.

Vehicle number n has contract number n. The first ones have ended, the contracts behind them name another key than their
vehicle's; both kinds of contracts hold certificates of ours in force, with real DER, so each must be revoked. All
others belong to other CAs.
"""

import hashlib
import itertools
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection

from bench.certificates import issue, order_of, requests_of
from bench.filler import settle
from bench.work import PARTNER, PROFILE
from flows.sample_batch import sample_emaid
from pki_core.model.certificates import serial_text
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.runtime import open_runtime
from pki_core.settings import load_settings
from pki_core.store import pool_tables, tables
from pki_core.store.bulk import insert_rows
from pki_core.store.certificates import CERTIFICATE_COLUMNS
from pki_core.store.engine import open_engine
from pki_core.wire.public_key import spki_of

_PIECE = 25_000
_DAY = 86_400
_FIRST_OCTET = b"\x01"
_FIRST_ID = 1 << 40  # far behind what is issued meanwhile
_LEAF_OCTETS, _DISTINCT_OCTETS = 620, 64
_DATA_OCTETS, _SHORT_OCTETS = 4000, 500  # of signed contract data: as real ones have, and of those nobody touches
_P256 = KeyAlgorithm.SECP256R1.value
_ISO_2 = 2
_STATUS = ("issuer_id", "serial", "certificate_id", "status", "not_after")
_VEHICLE = (
    "pcid",
    "algorithm",
    "pcid_as_sent",
    "namespace",
    "chain_id",
    "leaf_der",
    "key_sha256",
    "valid_to",
    "added_at",
    "checked_at",
)
_CONTRACT = tuple(column.name for column in pool_tables.contract.columns)  # rows are in its order


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """A certificate of ours, and what its rows say."""

    der: bytes
    serial: bytes
    issuer_id: int
    not_after: int
    chain_id: int


def pcid_of(number: int) -> str:
    """Return the PCID of a synthetic vehicle."""
    return f"WPN{number:014d}"


def fill(home: str, count: int, ended: int, orphans: int) -> float:
    """Fill both pools; return the seconds taken."""
    started = time.perf_counter()
    template = _template(home)
    engine = open_engine(load_settings(Path(home)).database_url)
    for start in range(0, count, _PIECE):
        numbers = range(start, min(start + _PIECE, count))
        with engine.begin() as connection:
            _put_vehicles(connection, template, numbers, ended)
            _put_certificates(connection, template, range(numbers[0], min(numbers[-1] + 1, ended + orphans)))
            _put_contracts(connection, template, numbers, range(ended, ended + orphans))
    settle(engine)
    engine.dispose()
    return time.perf_counter() - started


def _template(home: str) -> _Template:
    runtime = open_runtime(Path(home))
    spki_der = spki_of(ec.generate_private_key(ec.SECP256R1()).public_key())
    (issued,) = issue(runtime, order_of(runtime, PROFILE), requests_of([(sample_emaid(1), spki_der)]))
    record = runtime.certificates.show(serial_text(issued.serial))
    chain = runtime.certificates.chain(record.issuer_label)
    by_id = {one.id: one for one in runtime.certificates.issuers()}
    root_der = by_id[chain[-1].parent_id or 0].certificate_der
    ders = [one.certificate_der for one in chain]
    with runtime.store.transaction() as work:
        chain_id = work.chains.ensure(
            ders, hashlib.sha256(root_der).hexdigest(), record.not_after, now=runtime.clock.now()
        )
    runtime.close()
    return _Template(
        der=record.certificate_der,
        serial=bytes.fromhex(record.serial),
        issuer_id=chain[0].id,
        not_after=int(record.not_after.timestamp()),
        chain_id=chain_id,
    )


def _put_vehicles(connection: Connection, template: _Template, numbers: range, ended: int) -> None:
    now, tail = int(time.time()), os.urandom(_LEAF_OCTETS - _DISTINCT_OCTETS)
    rows = [
        (
            pcid_of(number),
            _P256,
            pcid_of(number),
            _ISO_2,
            template.chain_id,
            os.urandom(_DISTINCT_OCTETS) + tail,
            _key_of(number),
            now - _DAY if number < ended else now + 2 * 365 * _DAY,
            now,
            now,
        )
        for number in numbers
    ]
    insert_rows(connection, pool_tables.provisioning_certificate, _VEHICLE, rows)


def _put_certificates(connection: Connection, template: _Template, numbers: range) -> None:
    """Certificates of ours, in force, which differ in their serials."""
    now = int(time.time())
    serials = {number: _FIRST_OCTET + secrets.token_bytes(len(template.serial) - 1) for number in numbers}
    status = [
        (template.issuer_id, serial.hex(), _FIRST_ID + number, CertificateState.GOOD.value, template.not_after)
        for number, serial in serials.items()
    ]
    certificates = [
        (_FIRST_ID + number, template.issuer_id, serial.hex(), 1, PARTNER, _emaid_of(number), now, ends, now)
        for (number, serial), ends in zip(serials.items(), itertools.repeat(template.not_after))
    ]
    ders = [
        (_FIRST_ID + number, template.not_after, template.der.replace(template.serial, serial, 1))
        for number, serial in serials.items()
    ]
    insert_rows(connection, tables.certificate_status, _STATUS, sorted(status))
    insert_rows(connection, tables.certificate, CERTIFICATE_COLUMNS, certificates)
    insert_rows(connection, tables.certificate_der, ("id", "not_after", "der"), ders)


def _put_contracts(connection: Connection, template: _Template, numbers: range, orphans: range) -> None:
    now, tail = int(time.time()), os.urandom(_LEAF_OCTETS - _DISTINCT_OCTETS)
    rows, data = [], []
    for number in numbers:
        is_ours = number < orphans.stop
        rows.append(
            (
                _emaid_of(number),
                _emaid_of(number),
                pcid_of(number),
                _P256,
                _key_of(number + 1 if number in orphans else number),
                _ISO_2,
                True,
                template.chain_id,
                _FIRST_ID + number if is_ours else None,
                None if is_ours else os.urandom(_DISTINCT_OCTETS) + tail,
                now - _DAY,
                template.not_after,
                "",
                None,  # whoever signed it
                now,
                now,
            )
        )
        data.append((_emaid_of(number), os.urandom(_DATA_OCTETS if is_ours else _SHORT_OCTETS)))
    insert_rows(connection, pool_tables.contract, _CONTRACT, rows)
    insert_rows(connection, pool_tables.contract_data, ("emaid", "signed_data"), data)


def _key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _emaid_of(number: int) -> str:
    return f"DEPNCC{number:08d}"
