"""Errors in three families, each with one behaviour at every front.

A ``RequestError`` is the caller's: its text is safe to show and nothing is retried. An ``UnavailableError`` is a
dependency's: the caller may try again. An ``InvariantError`` is ours: the run stops and somebody is called.
"""

from typing import ClassVar

SHOWN_LIMIT = 64  # characters of a caller's own text that a message quotes


class PkiError(Exception):
    """Root of all errors raised on purpose; ``code`` is stable and appears in answers, rows and logs."""

    code: ClassVar[str] = "internal"


class RequestError(PkiError):
    """The caller is wrong; the text says how to mend it."""

    code = "request.rejected"


class MalformedError(RequestError):
    """The bytes are not what they should be."""

    code = "request.malformed"


class CsrRejectedError(RequestError):
    """A certificate signing request that may not become a certificate; ``reason`` is its stable code."""

    code = "csr.rejected"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotAuthorizedError(RequestError):
    """The partner may not do this."""

    code = "partner.not_authorized"


class NotAuthenticatedError(RequestError):
    """Nobody is known by what the caller shows, or he shows nothing."""

    code = "caller.not_authenticated"


class TooManyRequestsError(RequestError):
    """The caller has asked for more than he may at a time."""

    code = "request.too_many"


class NotFoundError(RequestError):
    """There is no such thing for this caller."""

    code = "request.not_found"


class ConflictError(RequestError):
    """The thing exists already, or is not in the state the act needs."""

    code = "request.conflict"


class RowsOpenError(ConflictError):
    """Rows of a batch have no verdict yet: the same call succeeds when they are signed."""


class ConstraintError(ConflictError):
    """The database refused a row; as a rule because somebody else wrote one since it was looked for."""


class LimitExceededError(RequestError):
    """An input is larger than the settings allow."""

    code = "request.too_large"


class FileUnusableError(RequestError):
    """A file or directory that somebody named cannot be read or written."""

    code = "file.unusable"


class ForbiddenAddressError(RequestError):
    """A URL that leads where our own calls to the outside may not go."""

    code = "outbound.forbidden"


class SettingsError(RequestError):
    """The environment's settings, directory or stamp contradict each other: refuse to start."""

    code = "settings.invalid"


class CeremonyError(RequestError):
    """A ceremony file that may not be run."""

    code = "ceremony.refused"


class UnavailableError(PkiError):
    """A dependency is away; the same call may succeed later."""

    code = "dependency.unavailable"


class HsmUnavailableError(UnavailableError):
    """The token or its session is away."""

    code = "hsm.unavailable"


class StoreUnavailableError(UnavailableError):
    """The database is away, locked or full."""

    code = "store.unavailable"


class WorkerLostError(UnavailableError):
    """A worker process died; what it held is taken over by the next run."""

    code = "worker.lost"


class ClockBehindError(UnavailableError):
    """The clock stands before what was signed already: nothing is signed until it is right again."""

    code = "clock.behind"


class ResponderUnavailableError(UnavailableError):
    """No delegated OCSP responder of a CA may sign now."""

    code = "ocsp.no_responder"


class WaitsForOperatorError(UnavailableError):
    """The same call succeeds when an operator has acted, and not before: trying again by itself is in vain."""


class IssuerRevokedError(WaitsForOperatorError):
    """A CA, or one above it, is revoked or on hold: it signs nothing until an operator puts another into service."""

    code = "issuer.revoked"


class IssuerEndedError(WaitsForOperatorError):
    """A CA, or one above it, has ended: what it would sign waits until an operator puts another into service."""

    code = "issuer.ended"


class PartnerSuspendedError(WaitsForOperatorError):
    """A partner is suspended: nothing is issued for him until he is resumed."""

    code = "partner.suspended"


class SignerUnavailableError(WaitsForOperatorError):
    """No signer of the provisioning service is in force: contract data waits until a ceremony makes the next one."""

    code = "cps.no_signer"


class OverloadedError(UnavailableError):
    """More is waiting than can be done in time."""

    code = "service.overloaded"


class OutboundUnavailableError(UnavailableError):
    """Somebody else's server does not answer, not in time, or with more than is read."""

    code = "outbound.unavailable"


class StatusUntellableError(OutboundUnavailableError):
    """Nobody may be asked about a certificate, today or tomorrow: whoever sends a new one should be told so."""

    code = "status.untellable"


class OrchestratorUnavailableError(UnavailableError):
    """The Prefect server does not answer."""

    code = "prefect.unavailable"


class LeaseLostError(UnavailableError):
    """Another runner took the work over, or its lease ran out: what was signed under it is void."""

    code = "lease.lost"


class LeaseExpiredError(LeaseLostError):
    """The lease ran out before the work was done, and nobody else had a hand in it."""

    code = "lease.expired"


class OvertakenError(UnavailableError):
    """A key was reported, or a CA revoked, while certificates were being signed: what was signed is void."""

    code = "issuance.overtaken"


class VehicleChangedError(UnavailableError):
    """A vehicle or its contract was changed by somebody else meanwhile; nothing was made, the next try will see it."""

    code = "contract.vehicle_changed"


class InvariantError(PkiError):
    """Our own fault: stop, keep the evidence, call somebody."""

    code = "invariant.broken"


class HsmPinRejectedError(InvariantError):
    """The token refused the PIN. Never retried: tokens lock after a few wrong PINs."""

    code = "hsm.pin_rejected"


class KeyRejectedError(InvariantError):
    """A key in the token is missing, doubled, extractable or not the one its certificate names."""

    code = "hsm.key_rejected"


class LintError(InvariantError):
    """Our own profile would make a certificate that breaks a rule."""

    code = "lint.profile"


class TbsMismatchError(InvariantError):
    """The signed bytes are not the ones that were linted and stored."""

    code = "issuance.tbs_mismatch"


class CrlGuardError(InvariantError):
    """A CRL that may not be published; the one before it stays. Each guard has a class and a code of its own."""

    code = "crl.guard"


class OverdueError(InvariantError):
    """Something that must happen again and again has not happened for too long; the sentence names all of it."""

    code = "ages.overdue"


class SignatureInvalidError(InvariantError):
    """The token returned a signature that does not verify."""

    code = "issuance.signature_invalid"
