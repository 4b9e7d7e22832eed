"""One transaction over all gateways; database faults become the project's errors here and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pki_core.model.errors import ConflictError, StoreUnavailableError
from pki_core.store.audit import AuditGateway
from pki_core.store.batches import BatchGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.chunks import ChunkGateway
from pki_core.store.contract_making import ContractMakingGateway
from pki_core.store.contract_pool import ContractPoolGateway
from pki_core.store.cps_signers import CpsSignerGateway
from pki_core.store.credentials import CredentialGateway
from pki_core.store.crls import CrlGateway
from pki_core.store.engine import FORGETTABLE, open_engine
from pki_core.store.est_requests import EstRequestGateway
from pki_core.store.issuers import IssuerGateway
from pki_core.store.marks import MarkGateway
from pki_core.store.ocsp import OcspGateway
from pki_core.store.outbox import OutboxGateway
from pki_core.store.partners import EnvironmentGateway, PartnerGateway
from pki_core.store.pool_chains import ChainGateway
from pki_core.store.provisioning_pool import ProvisioningPoolGateway
from pki_core.store.registrations import RegistrationGateway
from pki_core.store.reservations import ReservationGateway
from pki_core.store.responders import ResponderGateway
from pki_core.store.revocations import RevocationGateway
from pki_core.store.root_pool import RootPoolGateway
from pki_core.store.token_keys import TokenKeyGateway
from pki_core.store.webhooks import WebhookGateway


class UnitOfWork:
    """The gateways of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.audit = AuditGateway(connection)
        self.batches = BatchGateway(connection)
        self.certificates = CertificateGateway(connection)
        self.chains = ChainGateway(connection)
        self.chunks = ChunkGateway(connection)
        self.contract_making = ContractMakingGateway(connection)
        self.contract_pool = ContractPoolGateway(connection)
        self.cps_signers = CpsSignerGateway(connection)
        self.credentials = CredentialGateway(connection)
        self.crls = CrlGateway(connection)
        self.environment = EnvironmentGateway(connection)
        self.est_requests = EstRequestGateway(connection)
        self.issuers = IssuerGateway(connection)
        self.ocsp = OcspGateway(connection)
        self.marks = MarkGateway(connection)
        self.outbox = OutboxGateway(connection)
        self.partners = PartnerGateway(connection)
        self.provisioning_pool = ProvisioningPoolGateway(connection)
        self.registrations = RegistrationGateway(connection)
        self.reservations = ReservationGateway(connection)
        self.responders = ResponderGateway(connection)
        self.revocations = RevocationGateway(connection)
        self.root_pool = RootPoolGateway(connection)
        self.token_keys = TokenKeyGateway(connection)
        self.webhooks = WebhookGateway(connection)


class Store:
    """The database of one environment. Connects at first use."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_engine(url)
        # SQLite's readers have connections of their own: what a connection may do is said once.
        self._reader = self._engine if self._engine.name == "postgresql" else open_engine(url, read_only=True)
        self._forgettable = self._engine.execution_options(**{FORGETTABLE: True})

    @contextmanager
    def transaction(self, *, forgettable: bool = False) -> Iterator[UnitOfWork]:
        """Open a transaction that commits at the end of the block and rolls back when it raises.

        A ``forgettable`` one does not wait for the disk: a power cut may undo it as a whole, never in part. Good for a
        claim, which only says who is working; never for anything a key or a caller relies on.

        Raises:
            StoreUnavailableError: the database is away, locked, full, or refused the statement.
            ConflictError: a constraint was hit.
        """
        engine = self._forgettable if forgettable else self._engine
        with _translated(), engine.begin() as connection:
            yield UnitOfWork(connection)

    @contextmanager
    def reading(self) -> Iterator[UnitOfWork]:
        """Open a read-only transaction with one consistent snapshot."""
        with _translated(), self._reader.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(  # noqa: PLW2901  # same connection, options set before begin
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield UnitOfWork(connection)

    def close(self) -> None:
        """Give connections back."""
        self._engine.dispose()
        self._reader.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise ConflictError("the database refused a row that breaks a constraint") from error
    except (DBAPIError, PoolTimeoutError) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreUnavailableError(f"the database did not answer: {type(cause).__name__}") from error
