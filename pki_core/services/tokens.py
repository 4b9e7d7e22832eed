"""Access tokens (RFC 6749 4.4, RFC 7519): a machine secret in, a token out that costs one signature of a key store key.

The claims are those that clients of existing gateways read, under a namespace that is the audience.
"""

import secrets
from collections.abc import Iterable, Mapping

from pki_core.model.clock import Clock
from pki_core.model.credentials import Presented
from pki_core.model.errors import (
    MalformedError,
    NotAuthenticatedError,
    NotAuthorizedError,
    SignatureInvalidError,
    TooManyRequestsError,
)
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.partners import Partner
from pki_core.model.tokens import Grant, TokenPolicy, TokenRequest
from pki_core.services.attempts import Attempts
from pki_core.services.credentials import sha256_text
from pki_core.services.est_callers import Callers
from pki_core.services.token_keys import TokenKeys
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.public_key import load_public_key
from pki_core.wire.token import compact, jwk_of, signing_input

CREDENTIAL_CLAIM = "pncpki_credential"  # the number of the secret that bought the token
_FAILURES_A_MINUTE = 10


class UnknownAudienceError(MalformedError):
    """A token for somebody else is not ours to give."""


class UnknownScopeError(MalformedError):
    """A scope this client may not have."""


class Tokens:
    """Grants tokens."""

    def __init__(self, store: Store, clock: Clock, callers: Callers, keys: TokenKeys, policy: TokenPolicy) -> None:
        self._store = store
        self._clock = clock
        self._callers = callers
        self._keys = keys
        self._policy = policy
        self._attempts = Attempts(_FAILURES_A_MINUTE)

    @property
    def policy(self) -> TokenPolicy:
        """How tokens are granted."""
        return self._policy

    def grant(self, request: TokenRequest) -> Grant:
        """Return a token for a partner.

        Raises:
            NotAuthenticatedError: the client or its secret is wrong.
            TooManyRequestsError: the same, too often within a minute.
            UnknownAudienceError, UnknownScopeError: nothing this client can have.
            NotAuthorizedError: the partner has no role that a service is for.
            UnavailableError: store or token are away.
        """
        partner = self._identify(request)
        audience = request.audience or self._policy.audiences[0]
        if audience not in self._policy.audiences:
            raise UnknownAudienceError("there is no service of that audience here")
        scope = self._scope(partner, request.scope)
        now = self._clock.now()
        token_id = secrets.token_hex(16)
        issued_at, lifetime = int(now.timestamp()), int(self._policy.lifetime.total_seconds())
        claims = {
            "iss": self._policy.issuer,
            "sub": partner.id,
            "aud": audience,
            "azp": partner.id,
            "iat": issued_at,
            "exp": issued_at + lifetime,
            "jti": token_id,
            CREDENTIAL_CLAIM: self._number_of(request),
            "gty": "client-credentials",
            "scope": " ".join(scope),
            "permissions": scope,
            f"{audience}/role": _words(partner.roles, self._policy.roles),
            f"{audience}/pcid": sorted(partner.wmis),
            f"{audience}/emaid": sorted(partner.provider_prefixes),
            f"{audience}/client_name": partner.id,
        }
        token, key_id = self._signed(claims)
        detail = f"{token_id} key {key_id} scope {' '.join(scope)}"
        with self._store.transaction() as work:
            work.audit.append("partners", now, [AuditEntry(actor=partner.id, action="token.granted", detail=detail)])
        return Grant(access_token=token, scope=" ".join(scope), expires_in=lifetime)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the keys tokens are verified with (RFC 7517 5)."""
        return {"keys": [jwk_of(key.key_label, key.spki_der) for key in self._keys.published()]}

    def check_credential(self, partner_id: str, number: object) -> None:
        """Check that the secret a token was bought with is still in force: the token ends with it.

        Raises:
            NotAuthenticatedError: it was withdrawn, or has ended.
        """
        now = self._clock.now()
        with self._store.reading() as work:
            held = [one for one in work.credentials.of_partner(partner_id) if one.id == number]
        if not any(one.ended_at is None and (one.not_after is None or now < one.not_after) for one in held):
            raise NotAuthenticatedError("the secret this token was bought with is withdrawn")

    def _number_of(self, request: TokenRequest) -> int:
        """Return the number of the secret that has just been found right."""
        with self._store.reading() as work:
            credential = work.credentials.find(sha256_text(request.client_secret.encode()))
        if credential is None:
            raise NotAuthenticatedError("credentials are needed")
        return credential.id

    def _identify(self, request: TokenRequest) -> Partner:
        presented = Presented(user=request.client_id, secret=request.client_secret)
        try:
            caller = self._callers.identify(presented)
        except NotAuthenticatedError:
            if self._attempts.fail((request.client_id[:NAME_LIMIT], request.address), self._clock.now()):
                raise TooManyRequestsError("too many wrong secrets; try again in a minute") from None
            raise
        if caller is None:
            raise NotAuthenticatedError("credentials are needed")
        return caller.partner

    def _scope(self, partner: Partner, asked: str) -> list[str]:
        allowed = _words(partner.roles, self._policy.scopes)
        wanted = asked.split()
        if not set(wanted) <= set(allowed):
            raise UnknownScopeError("this client may not have that scope")
        if not allowed:
            raise NotAuthorizedError("this client has no role that any service is for")
        return [word for word in allowed if word in wanted] if wanted else allowed

    def _signed(self, claims: Mapping[str, object]) -> tuple[str, str]:
        signer = self._keys.signing()
        signed = signing_input(signer.label, claims)
        (signature,) = signer.sign([signed])
        algorithm, key = load_public_key(signer.spki_der)
        if not signature_is_valid(key, algorithm, signed, signature):
            raise SignatureInvalidError(f"key {signer.label!r} returned a signature that does not verify")
        return compact(signed, signature), signer.label


def _words(roles: Iterable[str], table: Mapping[str, tuple[str, ...]]) -> list[str]:
    return sorted({word for role in roles for word in table.get(role, ())})
