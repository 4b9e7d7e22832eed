"""Rules of RFC 7030 about single requests: who may ask, binding to the connection, what a renewal must repeat."""

import base64
import hmac

from pki_core.model.credentials import Caller, Presented
from pki_core.model.errors import CsrRejectedError, NotAuthenticatedError, NotAuthorizedError, NotFoundError
from pki_core.model.est import Authentication, EstLabel, Linking, PasswordMeaning
from pki_core.model.requests import IssueRequest
from pki_core.wire.csr_body import CsrAttributes, alternative_names_of, changed_subject, same_names


def accepted(presented: Presented, label: EstLabel, *, renews: bool) -> Presented:
    """Return what of the shown counts under a label. A renewal may always be shown by the certificate it renews."""
    basic = Authentication.BASIC in label.authentication
    bearer = Authentication.BEARER in label.authentication
    certificate = renews or Authentication.CERTIFICATE in label.authentication
    return Presented(
        certificate_der=presented.certificate_der if certificate else None,
        user=presented.user if basic else "",
        secret=presented.secret if basic else None,
        token_partner=presented.token_partner if bearer else None,
    )


def check_authority(caller: Caller | None, label: EstLabel, *, renews: bool) -> Caller:
    """Refuse a caller who may not ask this of a label.

    Raises:
        NotAuthenticatedError, NotAuthorizedError, NotFoundError: nobody, without the role, or a label of others.
    """
    if caller is None:
        raise NotAuthenticatedError("credentials are needed")
    if label.partners and caller.partner.id not in label.partners:
        raise NotFoundError("there is no EST service under this label")
    if label.branch not in caller.partner.roles:
        raise NotAuthorizedError(f"partner {caller.partner.id} has no role that allows {label.branch} certificates")
    if caller.is_own_leaf and not caller.speaks_for_partner:
        if not renews:
            raise NotAuthorizedError("this client certificate may renew itself and nothing else")
        if not label.leaf_renews:
            raise NotAuthorizedError("under this label a renewal needs a credential of the partner's beside")
    return caller


def check_linking(label: EstLabel, password: str, tls_unique: bytes | None, *, is_registrar: bool) -> bool:
    """Tell whether a request is bound to its connection (RFC 7030 3.5), having checked that.

    Raises:
        CsrRejectedError: ``linking.required`` or ``linking.mismatch``.
    """
    if label.challenge_password is not PasswordMeaning.CHANNEL_BINDING:
        return False
    if not password:
        if label.linking is Linking.REQUIRED:
            message = "Linking is required: put base64 of tls-unique (RFC 5929) into challengePassword, over TLS 1.2."
            raise CsrRejectedError("linking.required", message)
        return False
    if is_registrar:
        return False  # RFC 7030 3.7: the value is that of the registrar's own client
    # RFC 9266 3: there is no tls-unique in TLS 1.3, and then nothing that the value could be compared with.
    expected = b"" if tls_unique is None else base64.b64encode(tls_unique)
    if not expected or not hmac.compare_digest(password.encode("utf-8", "replace"), expected):
        message = "The challengePassword is not the tls-unique of this connection (TLS 1.2 only)."
        raise CsrRejectedError("linking.mismatch", message)
    return True


def check_renewal(caller: Caller, csr_der: bytes, attributes: CsrAttributes) -> None:
    """Refuse a renewal that names another subject than the certificate it renews (RFC 7030 4.2.2).

    Raises:
        CsrRejectedError: ``renewal.no_certificate``, ``renewal.subject_differs`` or ``renewal.names_differ``.
    """
    if caller.certificate_der is None or not caller.is_own_leaf:
        message = "A renewal is authenticated by the certificate that is renewed, as TLS client certificate."
        raise CsrRejectedError("renewal.no_certificate", message)
    if not same_names(csr_der, caller.certificate_der):
        message = "The subject is not that of the certificate being renewed; ChangeSubjectName asks for another one."
        raise CsrRejectedError("renewal.subject_differs", message)
    if attributes.alternative_names != alternative_names_of(caller.certificate_der):
        message = "The subject alternative names are not those of the certificate being renewed."
        raise CsrRejectedError("renewal.names_differ", message)


def with_new_name(caller: Caller, request: IssueRequest, attributes: CsrAttributes, *, renews: bool) -> IssueRequest:
    """Return a request with the name its ChangeSubjectName asks for (RFC 6402 2.8).

    Another name is the partner's to give: the key of a leaf alone would buy every name the partner may use.

    Raises:
        CsrRejectedError: ``change.not_allowed``.
    """
    if attributes.changes_alternative_names:
        message = "ISO 15118 certificates carry no alternative names; they cannot be changed."
        raise CsrRejectedError("change.not_allowed", message)
    if not attributes.new_subject_der:
        return request
    if not renews:
        raise CsrRejectedError("change.not_allowed", "ChangeSubjectName belongs into a renewal.")
    if not caller.speaks_for_partner:
        message = "A new name is given to the partner, not to the certificate: show a credential of the partner's too."
        raise CsrRejectedError("change.not_allowed", message)
    return request._replace(subject=changed_subject(attributes))
