"""One transaction over all gateways; database faults become the project's errors here and nowhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pki_core.model.errors import ConstraintError, StoreUnavailableError
from pki_core.store.audit import AuditGateway
from pki_core.store.batches import BatchGateway
from pki_core.store.ceremonies import CeremonyGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.chunks import ChunkGateway
from pki_core.store.compromised_keys import CompromisedKeyGateway
from pki_core.store.contract_making import ContractMakingGateway
from pki_core.store.contract_pool import ContractPoolGateway
from pki_core.store.contract_signers import ContractSignerGateway
from pki_core.store.cps_signers import CpsSignerGateway
from pki_core.store.credentials import CredentialGateway
from pki_core.store.crls import CrlGateway
from pki_core.store.engine import FORGETTABLE, open_engine
from pki_core.store.est_requests import EstRequestGateway
from pki_core.store.faults import words_for
from pki_core.store.former_contracts import FormerContractGateway
from pki_core.store.issuances import IssuanceGateway
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

Gateway = TypeVar("Gateway")
Result = TypeVar("Result")


class _Made(Generic[Gateway]):
    """A gateway of a transaction, made when it is first asked for: most transactions need two of them."""

    def __init__(self, kind: Callable[[Connection], Gateway]) -> None:
        self._kind = kind
        self._name = ""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, work: "UnitOfWork", _owner: type) -> Gateway:
        gateway = self._kind(work._connection)  # noqa: SLF001  # a part of that class
        work.__dict__[self._name] = gateway  # found there from now on
        return gateway


class UnitOfWork:
    """The gateways of one transaction."""

    audit = _Made(AuditGateway)
    batches = _Made(BatchGateway)
    ceremonies = _Made(CeremonyGateway)
    certificates = _Made(CertificateGateway)
    chains = _Made(ChainGateway)
    chunks = _Made(ChunkGateway)
    compromised_keys = _Made(CompromisedKeyGateway)
    contract_pool = _Made(ContractPoolGateway)
    credentials = _Made(CredentialGateway)
    crls = _Made(CrlGateway)
    environment = _Made(EnvironmentGateway)
    est_requests = _Made(EstRequestGateway)
    issuances = _Made(IssuanceGateway)
    former_contracts = _Made(FormerContractGateway)
    issuers = _Made(IssuerGateway)
    ocsp = _Made(OcspGateway)
    outbox = _Made(OutboxGateway)
    partners = _Made(PartnerGateway)
    provisioning_pool = _Made(ProvisioningPoolGateway)
    registrations = _Made(RegistrationGateway)
    reservations = _Made(ReservationGateway)
    responders = _Made(ResponderGateway)
    revocations = _Made(RevocationGateway)
    root_pool = _Made(RootPoolGateway)
    token_keys = _Made(TokenKeyGateway)
    webhooks = _Made(WebhookGateway)
    marks = _Made(MarkGateway)
    cps_signers = _Made(CpsSignerGateway)
    contract_making = _Made(ContractMakingGateway)
    contract_signers = _Made(ContractSignerGateway)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


class Store:
    """The database of one environment. Connects at first use."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_engine(url)
        # SQLite's readers have connections of their own: what a connection may do is said once.
        self._reader = self._engine if self._engine.name == "postgresql" else open_engine(url, read_only=True)
        self._looker = self._reader  # its statements go to the driver without a BEGIN
        if self._engine.name == "postgresql":
            self._looker = self._engine.execution_options(isolation_level="AUTOCOMMIT")  # the same connections
        self._forgettable = self._engine.execution_options(**{FORGETTABLE: True})

    @contextmanager
    def transaction(self, *, forgettable: bool = False) -> Iterator[UnitOfWork]:
        """Open a transaction that commits at the end of the block and rolls back when it raises.

        A ``forgettable`` one does not wait for the disk: a power cut may undo it as a whole, never in part. Good for a
        claim, which only says who is working; never for anything a key or a caller relies on.

        Raises:
            StoreUnavailableError: the database is away, locked, full, or refused the statement.
            ConstraintError: a constraint was hit.
        """
        engine = self._forgettable if forgettable else self._engine
        with _translated(), engine.begin() as connection:
            yield UnitOfWork(connection)

    def with_second_look(self, act: Callable[[UnitOfWork], Result]) -> Result:
        """Do something in a transaction, and once more when a constraint was hit.

        PostgreSQL lets two look for a row at once, and refuses the second one that writes it. A second look finds what
        was written meanwhile, and says of it what is always said. Raises as ``transaction``.
        """
        try:
            with self.transaction() as work:
                return act(work)
        except ConstraintError:
            with self.transaction() as work:
                return act(work)

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

    @contextmanager
    def looking(self) -> Iterator[UnitOfWork]:
        """Open a look at what is committed: to read only, each statement by itself, the newest there is.

        One statement is one trip to PostgreSQL here, and three with a transaction around it.
        """
        with _translated(), self._looker.connect() as connection:
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
        raise ConstraintError("the database refused a row that breaks a constraint") from error
    except (DBAPIError, PoolTimeoutError) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreUnavailableError(words_for(cause)) from error
