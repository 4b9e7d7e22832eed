"""What a request shows about its caller: the certificate of its connection, Basic credentials (RFC 7617), a token."""

from flask import Request

from pki_core.model.credentials import Presented
from pki_core.model.tokens import SCOPE_OF_ISSUING
from pki_core.runtime import Runtime
from webapp.identity import PeerIdentity, PeerReader
from webapp.refusal_log import claim
from webapp.tokens import TokenReader


class CallerReader:
    """Reads what was shown. A token is verified here; all else is judged by the core."""

    def __init__(self, peers: PeerReader, tokens: TokenReader) -> None:
        self._peers = peers
        self._tokens = tokens

    def presented(self, request: Request, scope: str = SCOPE_OF_ISSUING) -> tuple[Presented, PeerIdentity]:
        """Return what was shown, and who is at the other end of the connection; a token of ours needs the scope.

        Raises:
            NotAuthenticatedError: the token is not good.
            MalformedError: a trusted proxy sent something unreadable.
            UnavailableError: the keys that tokens are signed with cannot be had now.
        """
        peer = self._peers.peer_identity(request.environ)
        authorization = request.authorization
        user, secret, token_partner = "", None, None
        if authorization is not None and authorization.type == "basic":
            user, secret = authorization.username or "", authorization.password or ""
        elif authorization is not None and authorization.type == "bearer" and authorization.token:
            token_partner = self._tokens.partner_of(authorization.token, scope)
        claim(token_partner or user)
        presented = Presented(
            certificate_der=peer.certificate_der, user=user, secret=secret, token_partner=token_partner
        )
        return presented, peer


def caller_reader(runtime: Runtime) -> CallerReader:
    """Return what reads callers in one environment.

    Raises:
        SettingsError: the settings of proxy, tokens or third parties cannot be followed: refuse to start.
    """
    _ = runtime.callers  # reads the trust anchors of third parties
    settings = runtime.settings.est
    peers = PeerReader(settings.proxy, runtime.home)
    call = runtime.access.identity_provider.call
    return CallerReader(peers, TokenReader(settings.bearer, runtime.home, runtime.clock, runtime.access.tokens, call))
