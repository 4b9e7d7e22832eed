"""Issuers and the profiles that were ever used, stored by hash."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    exists,
    insert,
    or_,
    select,
    text,
    update,
)

from pki_core.model.errors import ConflictError, InvariantError, NotFoundError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.times import from_seconds, to_seconds


def is_fallen(issuer_id: ColumnElement[int] | BindParameter[int]) -> ColumnElement[bool]:
    """Return the condition that an issuer, or the CA above it, is revoked or on hold: seven looks by key.

    Above a Sub2 stand a Sub1 and a root, and a root is never revoked.
    """
    below, ca = tables.issuer.alias("below"), tables.issuer.alias("ca")
    its, state = tables.certificate.alias("its"), tables.certificate_status.alias("state")
    return exists(
        select(1)
        .select_from(below)
        .join(ca, or_(ca.c.id == below.c.id, ca.c.id == below.c.parent_id))
        .join(its, its.c.id == ca.c.certificate_id)
        .join(state, (state.c.issuer_id == its.c.issuer_id) & (state.c.serial == its.c.serial))
        .where(below.c.id == issuer_id, state.c.status != CertificateState.GOOD.value)
    )


# Built once: building a statement takes ten times as long as running it.
_STANDING = select(tables.issuer).where(~is_fallen(tables.issuer.c.id)).order_by(tables.issuer.c.id)
_STANDS = select(tables.issuer.c.id).where(tables.issuer.c.id == bindparam("wanted"), ~is_fallen(tables.issuer.c.id))
_FALLEN = select(
    exists().where(
        tables.issuer.c.certificate_der.in_(bindparam("ders", expanding=True)), is_fallen(tables.issuer.c.id)
    )
)


class IssuerGateway:
    """Rows of ``issuer`` and ``profile``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, **columns: object) -> int:
        """Add an issuer that has a key and a name but no certificate yet; return its id."""
        statement = insert(tables.issuer).values(**columns).returning(tables.issuer.c.id)
        return int(self._connection.execute(statement).scalar_one())

    def activate(
        self, issuer_id: int, certificate_id: int, certificate_der: bytes, validity: Sequence[datetime]
    ) -> None:
        """Give an issuer its certificate, once."""
        changed = self._connection.execute(
            update(tables.issuer)
            .where(tables.issuer.c.id == issuer_id, tables.issuer.c.certificate_id.is_(None))
            .values(
                certificate_id=certificate_id,
                certificate_der=certificate_der,
                not_before=to_seconds(validity[0]),
                not_after=to_seconds(validity[1]),
            )
        ).rowcount
        if changed != 1:
            raise ConflictError(f"issuer {issuer_id} has a certificate already")

    def get(self, label: str) -> IssuerRecord:
        """Return an issuer by label; NotFoundError when there is none."""
        record = self.find(label)
        if record is None:
            raise NotFoundError(f"there is no issuer {label!r}")
        return record

    def find(self, label: str) -> IssuerRecord | None:
        """Return an issuer by label, or None."""
        row = self._connection.execute(select(tables.issuer).where(tables.issuer.c.label == label)).first()
        return None if row is None else _record(row)

    def all(self) -> list[IssuerRecord]:
        """Return every issuer, roots first, in the order they were made."""
        return [_record(row) for row in self._connection.execute(select(tables.issuer).order_by(tables.issuer.c.id))]

    def standing(self) -> list[IssuerRecord]:
        """Return the issuers of ``all`` that may sign: neither they nor a CA above them is revoked or on hold."""
        return [_record(row) for row in self._connection.execute(_STANDING)]

    def stands(self, issuer_id: int) -> bool:
        """Tell whether an issuer is among the ``standing``."""
        return self._connection.scalar(_STANDS, {"wanted": issuer_id}) is not None

    def is_any_fallen(self, certificates: Sequence[bytes]) -> bool:
        """Tell whether one of these DER certificates is that of a CA of ours that is revoked or on hold."""
        return bool(self._connection.scalar(_FALLEN, {"ders": list(certificates)}))

    def pin_profile(self, profile: Profile, now: datetime) -> int:
        """Store a profile version under its hash when it is new; return its number."""
        by_hash = select(tables.profile.c.id).where(tables.profile.c.hash == profile.hash)
        number = self._connection.scalar(by_hash)
        if number is None:
            # Two processes may be the first to use it at once; the same clause on both databases.
            self._connection.execute(
                text(
                    "INSERT INTO profile (hash, name, document, first_used_at)"
                    " VALUES (:hash, :name, :document, :first_used_at) ON CONFLICT (hash) DO NOTHING"
                ),
                {
                    "hash": profile.hash,
                    "name": profile.id,
                    "document": profile.to_json(),
                    "first_used_at": to_seconds(now),
                },
            )
            number = self._connection.execute(by_hash).scalar_one()
        return int(number)

    def profile(self, number: int) -> Profile:
        """Return a pinned profile version.

        Raises:
            InvariantError: the stored document does not have the hash it is stored under.
        """
        row = self._connection.execute(select(tables.profile).where(tables.profile.c.id == number)).one()
        profile = Profile.from_json(row.document)
        if profile.hash != row.hash:
            raise InvariantError(f"profile {row.name} was changed in the database: its hash is not {row.hash[:16]}")
        return profile


def _record(row: Row[Any]) -> IssuerRecord:
    return IssuerRecord(
        id=row.id,
        label=row.label,
        branch=row.branch,
        edition=Edition(row.edition),
        level=Level(row.level),
        algorithm=KeyAlgorithm(row.algorithm),
        parent_id=row.parent_id,
        key_label=row.key_label,
        subject_der=bytes(row.subject_der),
        spki_der=bytes(row.spki_der),
        key_identifier=bytes(row.key_identifier),
        certificate_der=bytes(row.certificate_der or b""),
        not_before=None if row.not_before is None else from_seconds(row.not_before),
        not_after=None if row.not_after is None else from_seconds(row.not_after),
    )
