"""Certificates for measurements: orders, requests and issuing as every job has them, by the one path there is."""

from collections.abc import Iterable, Sequence

from pki_core.issuance.issuer import Issuer
from pki_core.model.requests import Issued, IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.runtime import Runtime
from pki_core.services.orders import Order
from pki_core.services.runners import runner_token
from pki_core.services.uploads import issuer_for


def order_of(runtime: Runtime, profile_name: str) -> tuple[Issuer, Order]:
    """Return the issuer of a profile, and an order of the operator's own by it."""
    profile = runtime.profiles[profile_name]
    with runtime.store.transaction() as work:
        order = Order.pinned(work, profile, runtime.clock.now(), runner=runner_token(), actor="bench")
    return runtime.issuers.get(issuer_for(profile, runtime.certificates.issuers()).label), order


def requests_of(named: Iterable[tuple[str, bytes]]) -> list[IssueRequest]:
    """Return a request for each common name and key (DER of its SubjectPublicKeyInfo)."""
    return [
        IssueRequest(
            reference=name,
            subject=RequestedSubject(common_name=name, organization="bench", country="DE"),
            spki_der=spki_der,
            proof=OwnKeyProof(),
        )
        for name, spki_der in named
    ]


def issue(runtime: Runtime, given: tuple[Issuer, Order], requests: Sequence[IssueRequest]) -> list[Issued]:
    """Issue what was asked for. Refusals are an error: a measurement of them would be one of something else."""
    outcomes = runtime.enrollment.issue(*given, requests)
    issued = [one for one in outcomes if isinstance(one, Issued)]
    if len(issued) != len(requests):
        refused = next(one for one in outcomes if not isinstance(one, Issued))
        raise RuntimeError(f"{len(requests) - len(issued)} of {len(requests)} were refused: {refused}")
    return issued
