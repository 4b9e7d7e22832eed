"""The issuers of one environment, bound to their keys when first used."""

from collections.abc import Callable
from threading import Lock

from pki_core.issuance.issuer import Issuer
from pki_core.model.errors import ConflictError, IssuerRevokedError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.signer import KeyStore
from pki_core.store.unit_of_work import Store


def fallen(label: str) -> IssuerRevokedError:
    """Return the error of whoever would sign by a CA that does not stand."""
    return IssuerRevokedError(
        f"CA {label}, or one above it, is revoked or on hold: it signs nothing; another one is put into service by a "
        "ceremony"
    )


class Issuers:
    """Gives issuers by label. Start-up does not depend on how many there are: a key is bound at its first use."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], serial_prefix: int) -> None:
        self._store = store
        self._key_store = key_store
        self._prefix = serial_prefix
        self._bound: dict[str, Issuer] = {}
        self._lock = Lock()

    def get(self, label: str) -> Issuer:
        """Return an issuer that can sign.

        Raises:
            NotFoundError, ConflictError: there is none of that label, or it has no certificate yet.
            KeyRejectedError: its key is not the one its certificate names.
            HsmUnavailableError: the token is away.
        """
        with self._lock:
            issuer = self._bound.get(label)
            if issuer is None:
                with self._store.reading() as work:
                    record = work.issuers.get(label)
                if not record.certificate_der:
                    raise ConflictError(f"issuer {label!r} has no certificate yet")
                issuer = self.bind(record)
                self._bound[label] = issuer
            return issuer

    def bind(self, record: IssuerRecord) -> Issuer:
        """Return an issuer for a record as it stands, unremembered: a root before its own certificate exists."""
        return Issuer(record, self._key_store().bind(record.key_label), self._prefix)
