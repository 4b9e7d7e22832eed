"""A key whose private half others may hold is certified never again, whoever asks and how (RFC 5280 5.3.1)."""

import base64
import json

import pytest
from alembic import command

from pki_core.model.revocations import Reason
from pki_core.store.schema import alembic_config
from tests.builders import new_key
from tests.journeys.acts import rows
from tests.journeys.crl_acts import issue_for, opened, revoke
from tests.journeys.est_acts import enrolled, est_client, station_csr
from tests.store.connections import connected

pytest_plugins = ["tests.journeys.environments"]
REFUSED = "key.compromised"


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


def codes(runtime, *keys):
    return [getattr(one, "code", "issued") for one in issue_for(runtime, keys)]


def revoked(runtime, key, reason):
    (one,) = issue_for(runtime, [key])
    revoke(runtime, f"{one.serial:x}", reason)
    return key


def test_a_partner_who_reports_a_key_gets_no_other_certificate_with_it(any_home):
    with est_client(any_home) as client:
        key = new_key()
        body = {"certificate": base64.b64encode(enrolled(client, key)).decode(), "revocationReason": "keyCompromise"}
        path = "/opnc/v1/pki/pki/revokeCertificate"
        assert client.post(path, json.dumps(body), content_type="application/json").status_code == 200
        answer = client.enroll(station_csr(key=key))
        assert (answer.status_code, answer.data.partition(b":")[0].decode()) == (400, REFUSED)
        assert client.enroll(station_csr("DEPNCE77777", key)).status_code == 400  # under another name as well
        assert client.enroll(station_csr()).status_code == 200
        assert rows(client.runtime, "SELECT count(*) FROM reservation") == [(0,)]


@pytest.mark.parametrize("reason", [Reason.KEY_COMPROMISE, Reason.AA_COMPROMISE])
def test_reasons_that_tell_of_the_key_refuse_it(runtime, reason):
    assert codes(runtime, revoked(runtime, new_key(), reason)) == [REFUSED]


@pytest.mark.parametrize("reason", [Reason.UNSPECIFIED, Reason.SUPERSEDED, Reason.PRIVILEGE_WITHDRAWN])
def test_other_reasons_say_nothing_about_the_key(runtime, reason):
    assert codes(runtime, revoked(runtime, new_key(), reason)) == ["issued"]


@pytest.mark.parametrize("count", [2, 12])
def test_in_a_list_it_stops_no_other(runtime, count):
    bad = [revoked(runtime, new_key(), Reason.KEY_COMPROMISE) for _ in range(2)]
    keys = [bad[0], *(new_key() for _ in range(count)), bad[1], bad[0]]
    assert codes(runtime, *keys) == [REFUSED, *["issued"] * count, REFUSED, REFUSED]
    assert codes(runtime, *bad) == [REFUSED] * 2


def test_a_set_of_revocations_tells_of_its_keys_as_well(runtime):
    keys = [new_key() for _ in range(3)]
    ids = [one.certificate_id for one in issue_for(runtime, keys)]
    with runtime.store.transaction() as work:
        runtime.revocations.revoke_leafs_within(work, ids[:1], Reason.SUPERSEDED, actor="test")
        runtime.revocations.revoke_leafs_within(work, ids[1:], Reason.KEY_COMPROMISE, actor="test")
    assert codes(runtime, *keys) == ["issued", REFUSED, REFUSED]


def test_a_hold_says_nothing_about_the_key_until_it_becomes_a_revocation(runtime):
    key = new_key()
    (one,) = issue_for(runtime, [key])
    serial = f"{one.serial:x}"
    revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    assert codes(runtime, key) == ["issued"]
    runtime.revocations.release(serial, actor="test")
    assert codes(runtime, key) == ["issued"]
    revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    revoke(runtime, serial, Reason.KEY_COMPROMISE)
    assert codes(runtime, key) == [REFUSED]


def test_keys_reported_before_they_were_remembered_come_with_the_migration(runtime):
    known, other = revoked(runtime, new_key(), Reason.KEY_COMPROMISE), revoked(runtime, new_key(), Reason.SUPERSEDED)
    again = revoked(runtime, new_key(), Reason.KEY_COMPROMISE)
    config = alembic_config()
    url = runtime.store._engine.url.render_as_string(hide_password=False)
    for act, revision in ((command.downgrade, "0013"), (command.upgrade, "head")):
        with connected(url) as connection:
            config.attributes["connection"] = connection
            act(config, revision)
    assert codes(runtime, known, other, again) == [REFUSED, "issued", REFUSED]
