"""Structural lints on to-be-signed bytes: run on every output before a key is touched.

The bytes are decoded again, strictly, and held against profile, issuer and request; extension values are read by
another library than the one that wrote them. A finding is the request's fault or ours: ours stops the run.

Certificates of a batch differ in four places only: serial, common name, key, key identifier. Once bytes are found
clean, their *skeleton* (the same bytes with those four values blanked) is remembered. Later bytes with a known
skeleton are octet for octet the judged ones but for these values, whose lengths are equal too; each of the four is
still compared with what it must be. Anything else is judged from the start. When too many are remembered, the oldest
goes: a second of validity that is over never comes again.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from pki_core.issuance.subject import UPPER_BOUNDS, Subject
from pki_core.model.errors import MalformedError
from pki_core.model.limits import SERIAL_OCTETS
from pki_core.model.profiles import Profile
from pki_core.wire.certificate import (
    FIRST_GENERALIZED_YEAR,
    LARGEST_SIGNATURE,
    SIGNATURE_ALGORITHM_DER,
    IssuerNames,
    key_identifier_of,
)
from pki_core.wire.extensions import (
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    ExtensionValues,
    read_extensions,
)
from pki_core.wire.tbs import GENERALIZED_TIME_TAG, UTC_TIME_TAG, DecodedTbs, decode_tbs

MAX_SERIAL_BITS = 8 * SERIAL_OCTETS - 1  # without the sign bit
_OUTER_OCTETS = 4  # header of the Certificate SEQUENCE
_X509_V3 = 2
_NAME_OIDS = {
    "C": "2.5.4.6",
    "ST": "2.5.4.8",
    "L": "2.5.4.7",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "DC": "0.9.2342.19200300.100.1.25",
    "CN": "2.5.4.3",
}
_PRINTABLE_TAG, _UTF8_TAG, _IA5_TAG = 0x13, 0x0C, 0x16
_ALPHABETS = {  # X.680 41.4 and 41.3; a UTF8String is checked by comparing it
    _PRINTABLE_TAG: frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?"),
    _UTF8_TAG: frozenset(range(256)),
    _IA5_TAG: frozenset(range(128)),
}
_REMEMBERED = 1024  # skeletons, and places: one for each spelling of names and each second of validity

Places = tuple[tuple[int, int], ...]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that does not hold."""

    code: str
    message: str
    of_request: bool = False


class TbsLint:
    """The rules for one profile under one issuer."""

    def __init__(self, profile: Profile, issuer: IssuerNames, window: tuple[datetime, datetime]) -> None:
        self._profile = profile
        self._issuer = issuer
        self._window = window
        self._signature = SIGNATURE_ALGORITHM_DER[issuer.algorithm]
        self._room = profile.max_der_octets - LARGEST_SIGNATURE[issuer.algorithm] - len(self._signature) - _OUTER_OCTETS
        self._remembering = threading.Lock()  # to look up needs none: a key that just went is judged once more
        self._places: dict[object, Places] = {}
        self._clean: dict[bytes, None] = {}

    def check(
        self, tbs_der: bytes, serial: int, subject: Subject, spki_der: bytes, alternative_names: tuple[str, ...] = ()
    ) -> Finding | None:
        """Return the first rule that does not hold, or None."""
        if serial <= 0 or alternative_names:  # a known skeleton says nothing of the sign, and nothing of these names
            return self._judge(tbs_der, serial, subject, spki_der, alternative_names)
        key_identifier = key_identifier_of(spki_der, self._profile.extensions.key_identifier_octets)
        common_name = subject[-1][1].encode()
        values = (serial.to_bytes((serial.bit_length() + 8) // 8, "big"), common_name, spki_der, key_identifier)
        shape = (subject[:-1], *map(len, values))
        places = self._places.get(shape)
        if (
            places is not None
            and common_name.isalnum()  # of octets: ASCII letters and digits, allowed in every string type
            and _values_at(tbs_der, places) == values
            and _skeleton(tbs_der, places) in self._clean
        ):
            return None
        finding = self._judge(tbs_der, serial, subject, spki_der)
        if finding is None:
            self._remember(tbs_der, shape, values)
        return finding

    def _remember(self, tbs_der: bytes, shape: object, values: tuple[bytes, ...]) -> None:
        """Keep the skeleton of clean bytes when each value stands in them exactly once."""
        places = []
        for value in values:
            start = tbs_der.find(value)
            if start < 0 or tbs_der.find(value, start + 1) >= 0:
                return
            places.append((start, start + len(value)))
        with self._remembering:
            _keep(self._places, shape, tuple(places))
            _keep(self._clean, _skeleton(tbs_der, tuple(places)), None)

    def _judge(
        self, tbs_der: bytes, serial: int, subject: Subject, spki_der: bytes, alternative_names: tuple[str, ...] = ()
    ) -> Finding | None:
        if len(tbs_der) > self._room:
            message = (
                f"The certificate would be larger than the {self._profile.max_der_octets} octets ISO 15118 allows."
            )
            return Finding(code="certificate.too_large", message=message, of_request=True)
        try:
            tbs = decode_tbs(tbs_der)
        except MalformedError as error:
            return Finding(code="lint.der", message=str(error))
        return (
            self._head(tbs, serial, spki_der)
            or self._names(tbs, subject)
            or self._validity(tbs)
            or self._extensions(tbs, alternative_names)
        )

    def _head(self, tbs: DecodedTbs, serial: int, spki_der: bytes) -> Finding | None:  # noqa: PLR0911  # one return a rule
        if tbs.version != _X509_V3:
            return Finding(code="lint.version", message="not an X.509 v3 certificate")
        if tbs.serial != serial or tbs.serial <= 0 or tbs.serial.bit_length() > MAX_SERIAL_BITS:
            return Finding(code="lint.serial", message="the serial number is not the reserved positive 20-octet one")
        if tbs.signature_algorithm_der != self._signature:
            return Finding(code="lint.signature_algorithm", message="the signature algorithm is not the issuer's")
        if tbs.issuer_der != self._issuer.subject_der:
            return Finding(code="lint.issuer", message="the issuer name is not the issuer's subject, octet for octet")
        if tbs.spki_der != spki_der:
            return Finding(code="lint.public_key", message="the public key is not the requested one")
        expected = key_identifier_of(spki_der, self._profile.extensions.key_identifier_octets)
        if tbs.subject_key_identifier != expected:
            return Finding(code="lint.subject_key_identifier", message="the subject key identifier is not the key's")
        return None

    def _names(self, tbs: DecodedTbs, subject: Subject) -> Finding | None:  # noqa: PLR0911  # one return a rule
        if len(tbs.subject) != len(subject):
            return Finding(code="lint.subject", message="the subject has another number of parts than was asked for")
        for (name, text), (oid, tag, octets) in zip(subject, tbs.subject, strict=True):
            if oid != _NAME_OIDS[name] or octets != text.encode():
                return Finding(code="lint.subject", message=f"{name} in the subject is not what was asked for")
            allowed = (_IA5_TAG,) if name == "DC" else (_PRINTABLE_TAG,) if name == "C" else (_PRINTABLE_TAG, _UTF8_TAG)
            if tag not in allowed or not _ALPHABETS[tag].issuperset(octets):
                return Finding(code="lint.subject", message=f"{name} has a string type RFC 5280 does not allow for it")
            if not octets or len(text) > UPPER_BOUNDS[name]:
                return Finding(code="lint.subject", message=f"{name} is empty or longer than {UPPER_BOUNDS[name]}")
        names = [name for name, _ in subject]
        if names.count("CN") != 1 or len(set(names)) != len(names):
            return Finding(code="lint.subject", message="the subject must name each part once and the CN always")
        if (component := self._profile.subject.domain_component) and ("DC", component) not in subject:
            return Finding(code="lint.domain_component", message=f"DC must be {component}")  # [V2G2-925]
        return None

    def _validity(self, tbs: DecodedTbs) -> Finding | None:
        moments = []
        for tag, octets in (tbs.not_before, tbs.not_after):
            moment = _read_time(tag, octets)
            if moment is None:
                return Finding(code="lint.time", message="a time is not in whole seconds UTC of RFC 5280 4.1.2.5")
            if (tag == GENERALIZED_TIME_TAG) != (
                self._profile.generalized_time_always or moment.year >= FIRST_GENERALIZED_YEAR
            ):
                return Finding(code="lint.time", message="a time has the wrong type for its year")
            moments.append(moment)
        if moments[0] >= moments[1]:
            return Finding(code="lint.validity", message="notAfter is not behind notBefore")
        if moments[0] < self._window[0] or moments[1] > self._window[1]:
            return Finding(code="lint.validity", message="the validity leaves the issuer's own")
        return None

    def _extensions(self, tbs: DecodedTbs, alternative_names: tuple[str, ...]) -> Finding | None:
        try:
            values = read_extensions(tbs.other_extensions)
        except MalformedError as error:
            return Finding(code="lint.extension", message=str(error))
        if bool(alternative_names) is not self._profile.extensions.subject_alternative_names:
            return Finding(code="lint.extension", message="alternative names are not what the profile says")
        expected = self._expected(alternative_names)
        for field in ExtensionValues.__slots__:
            if getattr(values, field) != getattr(expected, field):
                return Finding(code="lint.extension", message=f"{field.replace('_', ' ')} is not what the profile says")
        return None

    def _expected(self, alternative_names: tuple[str, ...]) -> ExtensionValues:
        wanted, label = self._profile.extensions, self._issuer.label
        critical = {BASIC_CONSTRAINTS, KEY_USAGE}  # [V2G2-009] and RFC 5280 4.2.1.3, 4.2.1.9
        if wanted.extended_key_usage and wanted.extended_key_usage_critical:
            critical.add(EXTENDED_KEY_USAGE)
        qualifiers = (wanted.cps_uri,) if wanted.cps_uri else ()
        return ExtensionValues(
            critical=frozenset(critical),
            basic_constraints=(wanted.ca, wanted.path_length),
            key_usage=frozenset(wanted.key_usage),
            extended_key_usage=wanted.extended_key_usage or None,
            authority_key_identifier=self._issuer.key_identifier if wanted.authority_key_identifier else None,
            ocsp_urls=(wanted.ocsp_url.format(issuer=label),) if wanted.ocsp_url else (),
            ca_issuers_urls=(wanted.ca_issuers_url.format(issuer=label),) if wanted.ca_issuers_url else (),
            crl_urls=(wanted.crl_url.format(issuer=label),) if wanted.crl_url else None,
            policies=tuple((oid, qualifiers) for oid in wanted.policy_oids) or None,
            ocsp_no_check=wanted.ocsp_no_check,
            alternative_names=alternative_names,
        )


def _keep(memory: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Put a key behind all others; when there are too many, the first one goes."""
    memory.pop(key, None)
    while len(memory) >= _REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value


def _values_at(tbs_der: bytes, places: Places) -> tuple[bytes, ...]:
    return tuple([tbs_der[start:end] for start, end in places])


def _skeleton(tbs_der: bytes, places: Places) -> bytes:
    pieces, last = [], 0
    for start, end in places:
        pieces.append(tbs_der[last:start])
        last = end
    pieces.append(tbs_der[last:])
    return b"\0".join(pieces)


def _read_time(tag: int, octets: bytes) -> datetime | None:
    formats = {UTC_TIME_TAG: (13, "%y%m%d%H%M%SZ"), GENERALIZED_TIME_TAG: (15, "%Y%m%d%H%M%SZ")}
    if tag not in formats or len(octets) != formats[tag][0]:
        return None
    try:
        return datetime.strptime(octets.decode("ascii"), formats[tag][1]).replace(tzinfo=UTC)
    except ValueError:
        return None
