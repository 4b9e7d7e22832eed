"""Uploads to the pools that can never be taken: the sender is told what to mend, not to ask again."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from pki_core.model.errors import OutboundUnavailableError, StatusUntellableError
from tests.builders import some_key
from tests.journeys.pool_acts import PCID, foreign_ca, vehicle_of
from tests.journeys.rest_acts import PCP, b64

pytest_plugins = ["tests.journeys.rest_environments"]


def body_of(upload):
    return {
        "vehicleCertificate": b64(upload.leaf_der),
        "subCA1Certificate": b64(upload.sub1_der),
        "subCA2Certificate": b64(upload.sub2_der),
    }


@pytest.mark.parametrize("wrong", ["leaf", "subs"])
def test_a_chain_whose_parts_do_not_sign_each_other_is_refused_before_anybody_is_asked(api, ca, wrong):
    upload = vehicle_of(ca)
    if wrong == "leaf":
        upload = replace(upload, leaf_der=foreign_ca(api.runtime, "stranger").leaf(PCID, some_key()))
    else:
        upload = replace(upload, sub1_der=upload.sub2_der, sub2_der=upload.sub1_der)
    status, sentence = api.refused("oem", "PUT", PCP, json=body_of(upload))
    assert (status, "is not signed by" in sentence) == (400, True), sentence
    assert api.runtime.pools.status_source.asked == []


def ask_for_real(api):
    """Take the source that obeys out of the pools."""
    api.runtime.pools.checks._source = api.runtime.access.foreign_status


def naming(*urls):
    """Extensions that say where a status is told."""
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url)) for url in urls
    ]
    return [x509.AuthorityInformationAccess(access)] if urls else []


@pytest.mark.parametrize(
    "urls",
    [
        (),
        ("ldap://ca.example.com/cn=ca",),
        ("http://user:secret@ca.example.com/ocsp",),
        ("http://10.1.2.3/ocsp", "http://[fd00::1]/ocsp"),
    ],
)
def test_a_vehicle_whose_status_nobody_may_be_asked_for_is_refused_for_good(api, ca, urls):
    ask_for_real(api)
    status, sentence = api.refused("oem", "PUT", PCP, json=body_of(vehicle_of(ca, extensions=naming(*urls))))
    assert (status, sentence.startswith(f"The status of '{PCID}' cannot be asked")) == (400, True), sentence
    assert "secret" not in sentence


def test_a_responder_that_is_away_is_another_matter(api, ca, monkeypatch):
    ask_for_real(api)

    def away(_fetcher, url, _request_der):
        raise OutboundUnavailableError(f"{url} cannot be reached")

    monkeypatch.setattr("pki_core.outbound.status.StatusFetcher.ocsp", away)
    upload = vehicle_of(ca, extensions=naming("http://ocsp.example.com/"))
    assert api.refused("oem", "PUT", PCP, json=body_of(upload))[0] == 503


def test_what_is_in_the_pools_already_is_asked_about_again_whatever_its_certificate_names(api, ca):
    """A check of stored rows postpones them, as before: a refusal would end the run of everybody else's."""
    pools = api.runtime.pools
    pools.provisioning.publish(next(one for one in api.runtime.partners.all() if one.id == "oem"), vehicle_of(ca))

    class Untellable:
        def status_of(self, _certificate_der, _issuer_der):
            raise StatusUntellableError("it names nobody")

    pools.__dict__["status_source"] = Untellable()
    api.runtime.clock.advance(days=2)
    report = pools.check.run()
    assert (report.provisioning, report.postponed > 0) == (0, True)
