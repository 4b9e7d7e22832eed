"""What tests do with CRLs: an environment whose clock is set, leafs of chosen length, lists read back."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from cryptography import x509

from pki_core.model.crls import FULL
from pki_core.model.errors import ConflictError
from pki_core.model.requests import IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.model.revocations import Reason
from pki_core.runtime.wiring import open_runtime
from pki_core.services.uploads import issuer_for
from tests.builders import EMAID, SetClock, new_key, spki
from tests.journeys.acts import LEAF_NAMES, order_for

LABEL = "mo-sub2"


def right_now():
    return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251  # environments are founded by the machine's clock


@contextmanager
def opened(home, **sections):
    """An open environment whose clock stands still until it is moved; sections are laid over its settings."""
    for section, lines in sections.items():
        lay_over(home, section, lines)
    with closing(open_runtime(home, SetClock(right_now()))) as runtime:
        yield runtime


def lay_over(home, section, lines):
    file = home / "pncpki.toml"
    text, head = file.read_text(), f"[{section}]\n"
    text = text.replace(head, f"{head}{lines}\n") if head in text else f"{text}\n{head}{lines}\n"
    file.write_text(text)


def leaf(runtime, not_after=None, partner=None, profile_name="contract_leaf"):
    """Issue a leaf; returns its serial in hex and its DER."""
    profile = runtime.profiles[profile_name]
    record = issuer_for(profile, runtime.certificates.issuers())
    subject = RequestedSubject(common_name=LEAF_NAMES[profile_name], organization="Test Mobility Ltd", country="DE")
    request = IssueRequest(
        reference="1",
        subject=subject,
        spki_der=spki(new_key(record.algorithm)),
        proof=OwnKeyProof(),
        not_after=not_after,
    )
    order = order_for(runtime, profile, partner)
    (issued,) = runtime.enrollment.issue(runtime.issuers.get(record.label), order, [request])
    return f"{issued.serial:x}", issued.certificate_der


def leaves(runtime, count, profile_name="contract_leaf"):
    """Issue several leafs in one go; returns their serials in hex."""
    profile = runtime.profiles[profile_name]
    record = issuer_for(profile, runtime.certificates.issuers())
    subject = RequestedSubject(common_name=LEAF_NAMES[profile_name], organization="Test Mobility Ltd", country="DE")
    requests = [
        IssueRequest(reference=str(at), subject=subject, spki_der=spki(new_key()), proof=OwnKeyProof())
        for at in range(count)
    ]
    outcomes = runtime.enrollment.issue(runtime.issuers.get(record.label), order_for(runtime, profile), requests)
    return [f"{one.serial:x}" for one in outcomes]


def issue_for(runtime, keys, hooks=None, not_after=None):
    """What becomes of a list of requests for contract certificates with these keys."""
    profile = runtime.profiles["contract_leaf"]
    record = issuer_for(profile, runtime.certificates.issuers())
    subject = RequestedSubject(common_name=EMAID, organization="Test Mobility Ltd", country="DE")
    requests = [
        IssueRequest(reference=str(at), subject=subject, spki_der=spki(key), proof=OwnKeyProof(), not_after=not_after)
        for at, key in enumerate(keys)
    ]
    return runtime.enrollment.issue(runtime.issuers.get(record.label), order_for(runtime, profile), requests, hooks)


def winners(runtime, serial):
    """How many of four that revoke a certificate at once are told that they did."""

    def attempt(_number):
        try:
            revoke(runtime, serial)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(attempt, range(4)))


def revoke(runtime, serial, reason=Reason.KEY_COMPROMISE, **more):
    return runtime.revocations.revoke(serial, reason, actor="test", **more)


def der_of(runtime, name):
    """A published CRL by its file name without .crl."""
    return b"".join(runtime.crl_shelf.octets(runtime.crl_shelf.find(name).record))


def crl_of(runtime, name=LABEL):
    return x509.load_der_x509_crl(der_of(runtime, name))


def listed(crl):
    """Serials in hex, in the order of the list."""
    return [f"{entry.serial_number:x}" for entry in crl]


def content(crl):
    """What a list says of each serial."""
    return {entry.serial_number: (entry.revocation_date_utc, reason_of(entry)) for entry in crl}


def reason_of(entry):
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None


def extension(crl, kind):
    try:
        return crl.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def number_of(crl):
    return extension(crl, x509.CRLNumber).value.crl_number


def combined(base, delta):
    """A base and a delta as a client joins them (RFC 5280 5.2.4)."""
    assert extension(delta, x509.DeltaCRLIndicator).value.crl_number <= number_of(base)
    joined = content(base)
    for serial, said in content(delta).items():
        if said[1] is x509.ReasonFlags.remove_from_crl:
            joined.pop(serial, None)
        else:
            joined[serial] = said
    return joined


def published(runtime, label=LABEL, scope=FULL, kind=None):
    from pki_core.model.crls import CrlKind

    with runtime.store.reading() as work:
        return work.crls.published(work.issuers.get(label).id, scope, kind or CrlKind.COMPLETE)
