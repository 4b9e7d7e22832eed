"""Bearer tokens (RFC 6750, RFC 7519, RFC 8725): whose partner does a signed token name?

Tokens of our own, and those of an identity provider, told apart by the issuer they claim; each is then held against
the keys, issuer and audience of that one. Keys are our own, or an identity provider's (``webapp/provider_keys.py``).
Only asymmetric algorithms are believed, and the time comes from our clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from pki_core.model.clock import Clock
from pki_core.model.errors import NotAuthenticatedError, NotAuthorizedError
from pki_core.model.est import BearerTokens
from pki_core.services.tokens import CREDENTIAL_CLAIM, Tokens
from webapp.provider_keys import Call, ProviderKeys

_ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
_LEEWAY_SECONDS = 30
_MAX_TOKEN = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class _Provider:
    """Who issues tokens, and how they are read."""

    issuer: str | None  # None = not looked at
    audiences: Sequence[str] | None  # None = not looked at
    scope: str | None  # a word that must be in the claim; None = the one each route asks for
    partner_claim: str
    partners: Mapping[str, str]
    key: Callable[[str], jwt.PyJWK]
    check: Callable[[str, dict[str, Any]], None] | None = None  # what else must hold for a partner and the claims


class TokenReader:
    """Reads tokens of one environment."""

    def __init__(
        self, settings: BearerTokens, home: Path, clock: Clock, own: Tokens | None = None, call: Call | None = None
    ) -> None:
        self._clock = clock
        keys = ProviderKeys(settings.jwks, home, clock, call) if settings.jwks else None
        self._foreign = None if keys is None else _of_settings(settings, keys)
        self._own = None if own is None else _of_ourselves(own)

    def partner_of(self, token: str, scope: str = "") -> str:
        """Return the partner id a token names; a token of ours must carry ``scope``, where one is asked for.

        Raises:
            NotAuthenticatedError: tokens are not accepted, or this one is not good.
            NotAuthorizedError: it lacks the scope.
            UnavailableError: the keys of the issuer cannot be had now.
        """
        if len(token) > _MAX_TOKEN:
            raise NotAuthenticatedError("tokens are not accepted")
        try:
            provider = self._provider(token)
            if provider is None:
                raise NotAuthenticatedError("tokens are not accepted")
            head = jwt.get_unverified_header(token)
            key = provider.key(str(head.get("kid", "")))
            options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp"]}
            options["verify_aud"] = provider.audiences is not None
            claims = jwt.decode(
                token,
                key,
                algorithms=list(_ALGORITHMS),
                issuer=provider.issuer,
                audience=provider.audiences,
                options=options,
            )
        except jwt.PyJWTError as error:
            raise NotAuthenticatedError(f"the token is not good: {type(error).__name__}") from error
        self._check_time(claims)
        if provider.scope is not None and not _has_scope(claims, provider.scope):
            raise NotAuthenticatedError(f"the token has no scope {provider.scope}")  # it is not for us
        if provider.scope is None and not _has_scope(claims, scope):
            raise NotAuthorizedError(f"the token has no scope {scope}")  # RFC 6750 3.1: insufficient_scope
        claim = claims.get(provider.partner_claim)
        if not isinstance(claim, str) or not claim:
            raise NotAuthenticatedError("the token names no partner")
        if provider.check is not None:
            provider.check(claim, claims)
        return provider.partners.get(claim, claim)

    def _provider(self, token: str) -> _Provider | None:
        """Return whom a token says it is from; nothing of it is believed before its signature is verified."""
        if self._own is None:
            return self._foreign
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
        return self._own if claimed == self._own.issuer else self._foreign

    def _check_time(self, claims: dict[str, Any]) -> None:
        now = self._clock.now().timestamp()
        until, since = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(until, int | float) or not isinstance(since, int | float):
            raise NotAuthenticatedError("the token's times cannot be read")
        if not since - _LEEWAY_SECONDS <= now < until + _LEEWAY_SECONDS:
            raise NotAuthenticatedError("the token is not valid now")


def _of_settings(settings: BearerTokens, keys: ProviderKeys) -> _Provider:
    return _Provider(
        issuer=settings.issuer or None,
        audiences=[settings.audience] if settings.audience else None,
        scope=settings.scope,
        partner_claim=settings.partner_claim,
        partners=dict(settings.partners),
        key=keys.key,
    )


def _of_ourselves(tokens: Tokens) -> _Provider:
    """Return ourselves as an issuer; the service behind the keys looks at the store anew by itself."""

    def key(key_id: str) -> jwt.PyJWK:
        for published in tokens.jwks()["keys"]:
            if published["kid"] == key_id:
                return jwt.PyJWK(published)
        raise NotAuthenticatedError("the token is signed by a key that is not known")

    return _Provider(
        issuer=tokens.policy.issuer,
        audiences=tokens.policy.audiences,
        scope=None,
        partner_claim="sub",
        partners={},
        key=key,
        check=lambda partner_id, claims: tokens.check_credential(partner_id, claims.get(CREDENTIAL_CLAIM)),
    )


def _has_scope(claims: dict[str, Any], wanted: str) -> bool:
    scope = claims.get("scope", "")
    words = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
    return not wanted or wanted in words
