"""What is reported while the token signs: nothing that was signed leaves, and only whom it concerns is refused."""

import pytest

from pki_core.issuance.issuer import Issuer
from pki_core.model.errors import IssuerRevokedError, OvertakenError
from pki_core.model.revocations import Reason
from pki_core.model.states import BatchState, CertificateState
from pki_core.services.enroll import NoHooks
from pki_core.services.runners import runner_token
from tests.builders import make_csr, new_key
from tests.journeys.acts import in_base64, rows, upload_of, uploads_with, write_rows
from tests.journeys.contract_acts import Garage, contract, make, wanted
from tests.journeys.crash_points import Point, interposed
from tests.journeys.crl_acts import issue_for, opened
from tests.journeys.est_acts import enrolled, est_client, station_csr
from tests.journeys.pool_acts import OTHER_PCID, PCID
from tests.journeys.pool_acts import issue as issue_vehicles

pytest_plugins = ["tests.journeys.environments"]
REFUSED = "key.compromised"
SIGNED = Point(Issuer, "sign", "after")


class Meanwhile(NoHooks):
    """Does one thing after another, each time something was signed."""

    def __init__(self, *acts):
        self.acts = list(acts)
        self.told = []

    def signed(self, outcomes, keep):  # noqa: ARG002  # the protocol
        if self.acts:
            self.acts.pop(0)()

    def recorded(self, work, outcomes):  # noqa: ARG002  # the protocol
        self.told.append([getattr(one, "code", "issued") for one in outcomes])


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


def codes(outcomes):
    return [getattr(one, "code", "issued") for one in outcomes]


def reporting(runtime, key):
    """Issue a certificate with a key; return the act that reports it."""
    (one,) = issue_for(runtime, [key])
    return lambda: runtime.revocations.revoke(f"{one.serial:x}", Reason.KEY_COMPROMISE, actor="test")


def falling(runtime, label, reason=Reason.CA_COMPROMISE):
    found = rows(runtime, "SELECT i.label, c.serial FROM certificate c JOIN issuer i ON i.certificate_id = c.id")
    return lambda: runtime.revocations.revoke(dict(found)[label], reason, actor="test", witnesses=("a", "b"))


def counts(runtime):
    """Certificates, their lines in the audit, open reservations, serials drawn for nothing."""
    told = rows(
        runtime,
        """SELECT (SELECT count(*) FROM certificate),
        (SELECT count(*) FROM audit WHERE action = 'certificate.issued'), (SELECT count(*) FROM reservation),
        (SELECT count(*) FROM certificate_status WHERE status = 9)""",
    )
    return list(told[0])


@pytest.mark.parametrize("count", [0, 2, 12])
def test_a_key_reported_while_it_is_signed_is_refused_and_the_others_go_through(runtime, count):
    bad = new_key()
    hooks = Meanwhile(reporting(runtime, bad))
    certificates, audited, _, void = counts(runtime)
    outcomes = issue_for(runtime, [*(new_key() for _ in range(count)), bad], hooks)
    assert codes(outcomes) == [*["issued"] * count, REFUSED]
    assert hooks.told[-1] == codes(outcomes)
    assert counts(runtime) == [certificates + count, audited + count, 0, void + count + 1]
    for one in outcomes[:-1]:
        assert runtime.certificates.show(f"{one.serial:x}").state is CertificateState.GOOD


@pytest.mark.parametrize("label", ["mo-sub2", "mo-sub1"])
@pytest.mark.parametrize("count", [1, 12])
def test_a_ca_revoked_while_it_signs_has_signed_nothing(runtime, label, count):
    before = counts(runtime)
    with pytest.raises(IssuerRevokedError, match="CA mo-sub2, or one above it, is revoked"):
        issue_for(runtime, [new_key() for _ in range(count)], Meanwhile(falling(runtime, label)))
    assert counts(runtime) == [*before[:3], before[3] + count]


def test_a_ca_put_on_hold_while_it_signs_issues_when_it_is_released(runtime):
    keys, hold = [new_key()], falling(runtime, "mo-sub2", Reason.CERTIFICATE_HOLD)
    with pytest.raises(IssuerRevokedError):
        issue_for(runtime, keys, Meanwhile(hold))
    (held,) = rows(runtime, "SELECT serial FROM revocation WHERE released_at IS NULL")
    runtime.revocations.release(*held, actor="test")
    assert codes(issue_for(runtime, keys)) == ["issued"]


@pytest.mark.parametrize("count", [1, 12])
def test_a_list_starts_over_once(runtime, count):
    bad = [new_key(), new_key()]
    acts = [reporting(runtime, key) for key in bad]
    before = counts(runtime)
    with pytest.raises(OvertakenError):
        issue_for(runtime, [*bad, *(new_key() for _ in range(count))], Meanwhile(*acts))
    assert counts(runtime) == [*before[:3], before[3] + 2 * count + 3]  # all of it, then without the first
    assert codes(issue_for(runtime, [*bad, new_key()])) == [REFUSED, REFUSED, "issued"]


def test_a_station_whose_key_is_reported_meanwhile_gets_nothing(any_home):
    with est_client(any_home) as client:
        key = new_key()
        enrolled(client, key)
        serial = rows(client.runtime, "SELECT serial FROM certificate ORDER BY id DESC LIMIT 1")[0][0]

        def report():
            client.runtime.revocations.revoke(serial, Reason.KEY_COMPROMISE, actor="test")

        with interposed(SIGNED, report):
            answer = client.enroll(station_csr(key=key))
        assert (answer.status_code, answer.data.partition(b":")[0].decode()) == (400, REFUSED)
        assert counts(client.runtime)[2:] == [0, 1]
        told = rows(client.runtime, "SELECT detail FROM audit WHERE action = 'est.refused'")
        assert told == [(f"cpo {REFUSED}",)]


def test_a_chunk_of_a_batch_is_done_in_the_same_run(runtime, tmp_path):
    bad, good = new_key(), [new_key() for _ in range(6)]
    act = reporting(runtime, bad)
    table = [(f"row-{at}", in_base64(make_csr(f"DEPNC00000020{at}", key)), "") for at, key in enumerate([bad, *good])]
    batch, _ = uploads_with(runtime).submit(upload_of(write_rows(tmp_path / "batch.csv", table)))
    with interposed(SIGNED, act):
        report = runtime.batches.sign_next_chunk(batch.id, runner_token())
    assert (report.issued, report.refused) == (6, 1)
    assert runtime.batches.sign_next_chunk(batch.id, runner_token()) is None
    assert runtime.batches.get(batch.id).state is BatchState.DONE
    found = rows(runtime, "SELECT seq, code FROM batch_verdict ORDER BY seq")
    assert found == [(0, REFUSED), *((at, "issued") for at in range(1, 7))]
    assert counts(runtime)[2] == 0


def test_only_vehicles_that_were_certified_in_the_end_stand_in_the_pool(runtime):
    bad = new_key()
    act = reporting(runtime, bad)
    with interposed(SIGNED, act):
        outcomes = issue_vehicles(runtime, "oem_provisioning_leaf", PCID, OTHER_PCID, keys=[bad, new_key()])
    assert codes(outcomes) == [REFUSED, "issued"]
    found = rows(runtime, "SELECT pcid, certificate_id FROM provisioning_certificate")
    assert found == [(OTHER_PCID, outcomes[1].certificate_id)]


def test_of_contracts_whose_ca_is_revoked_meanwhile_none_is_made(runtime):
    Garage(runtime).build()
    hooks = Meanwhile(falling(runtime, "mo-sub2"))
    with pytest.raises(IssuerRevokedError):
        make(runtime, wanted(runtime), hooks=hooks)
    assert hooks.told == [["issued"]]  # and rolled back
    assert contract(runtime) is None
