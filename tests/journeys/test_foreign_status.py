"""The relying party's side against our own front: what our OCSP and CRLs say is read by what reads other people's."""

from contextlib import closing, contextmanager
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from cryptography import x509

from pki_core.model.ceremonies import Act
from pki_core.model.pools import ForeignStatus
from pki_core.model.revocations import Reason
from pki_core.runtime import open_runtime
from tests.journeys.acts import artefact, copy_home, hold, issue_leaf, plan_for
from tests.journeys.crl_acts import lay_over
from tests.journeys.est_acts import est_client, station_csr
from tests.listening import listening
from webapp.app import wsgi_application
from webapp.listeners import PLAIN

pytest_plugins = ["tests.journeys.environments"]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class _Server(WSGIServer):
    application = None


@contextmanager
def own_front(home, ocsp_path="ocsp"):
    """An environment whose certificates name the front that serves it."""
    server = make_server("127.0.0.1", 0, None, server_class=_Server, handler_class=_Quiet)
    url = f"http://127.0.0.1:{server.server_port}"
    lay_over(home, "certificates", f'ocsp_url = "{url}/{ocsp_path}"\ncrl_url = "{url}/crl/{{issuer}}.crl"')
    runtime = open_runtime(home)
    server.set_app(wsgi_application(runtime, listener=PLAIN))
    with closing(runtime), listening(server):
        yield runtime


def revoke(runtime, issued):
    runtime.revocations.revoke(f"{issued.serial:x}", Reason.KEY_COMPROMISE, actor="test", witnesses=("a", "b"))


@pytest.mark.parametrize("profile", ["contract_leaf", "contract_leaf_20", "contract_leaf_20_ed448"])
def test_our_own_ocsp_answers_pass_as_those_of_a_foreign_ca(home, profile):
    with own_front(home) as runtime:
        record, good = issue_leaf(runtime, profile)
        _, bad = issue_leaf(runtime, profile)
        revoke(runtime, bad)
        look = runtime.access.foreign_status.look
        report = look(good.certificate_der, record.certificate_der)
        assert (report.standing, report.source.endswith("/ocsp"), report.reason) == (ForeignStatus.GOOD, True, "")
        report = look(bad.certificate_der, record.certificate_der)
        assert (report.standing, report.reason) == (ForeignStatus.REVOKED, "keyCompromise")
        assert report.revoked_at is not None


def test_our_own_crl_passes_as_that_of_a_foreign_ca(home):
    with own_front(home, ocsp_path="gone") as runtime:
        record, good = issue_leaf(runtime, "evse_leaf")
        _, bad = issue_leaf(runtime, "evse_leaf")
        revoke(runtime, bad)
        runtime.crls.publish(record.label)
        look = runtime.access.foreign_status.look
        reports = [look(one.certificate_der, record.certificate_der) for one in (good, bad)]
        assert [report.standing for report in reports] == [ForeignStatus.GOOD, ForeignStatus.REVOKED]
        assert [report.source.endswith(f"/crl/{record.label}.crl") for report in reports] == [True, True]


# --- clients with certificates of other people's CAs


@pytest.fixture
def maker(home, tmp_path):
    """A manufacturer with a PKI of its own, and a home that trusts its CAs for ``demo-cpo``."""
    ours = copy_home(home, tmp_path / "ours")
    with own_front(home) as runtime:
        # CAs that name the running front: those of the founding name another one
        for act, label, profile, parent in (
            (Act.CREATE_ROOT, "maker-root", "v2g_root", ""),
            (Act.CREATE_SUB_CA, "maker-sub1", "oem_sub1", "maker-root"),
            (Act.CREATE_SUB_CA, "maker-sub2", "oem_sub2", "maker-sub1"),
        ):
            hold(runtime, plan_for(act, label, profile, parent))
            hold(runtime, plan_for(Act.CREATE_RESPONDER, f"ocsp-{label}", "ocsp_responder", label))
        trust(ours, runtime, "maker-root", "maker-sub1", "maker-sub2")
        yield runtime, ours


def trust(ours, maker, *labels):
    (ours / "maker.pem").write_bytes(b"".join((maker.home / "ca" / f"{label}.pem").read_bytes() for label in labels))


def enrols(ours, certificate_der, check="when_named"):
    third = f'{{ file = "maker.pem", partner = "demo-cpo", revocation = "{check}" }}'
    with est_client(ours, more=f"\n[est]\nthird_parties = [{third}]\n") as client:
        answer = client.with_certificate(certificate_der).enroll(station_csr())
        return answer.status_code, answer.headers.get("Retry-After")


def test_a_device_enrols_while_its_own_ca_says_that_it_is_good(maker):
    runtime, ours = maker
    _, good = issue_leaf(runtime, "oem_provisioning_leaf")
    assert enrols(ours, good.certificate_der) == (200, None)


def test_a_device_that_its_own_ca_revoked_may_not_enrol(maker):
    runtime, ours = maker
    _, bad = issue_leaf(runtime, "oem_provisioning_leaf")
    revoke(runtime, bad)
    assert enrols(ours, bad.certificate_der) == (403, None)


def test_a_device_below_a_revoked_ca_may_not_enrol(maker):
    runtime, ours = maker
    _, leaf = issue_leaf(runtime, "oem_provisioning_leaf")
    sub2 = x509.load_der_x509_certificate(artefact(runtime, "maker-sub2"))
    runtime.revocations.revoke(f"{sub2.serial_number:x}", Reason.CA_COMPROMISE, actor="test", witnesses=("a", "b"))
    assert enrols(ours, leaf.certificate_der) == (403, None)


def test_while_nobody_tells_of_a_device_it_is_asked_to_come_again(home, tmp_path):
    ours = copy_home(home, tmp_path / "ours")
    with own_front(home, ocsp_path="nothing") as runtime:
        _, leaf = issue_leaf(runtime, "oem_provisioning_leaf")
        trust(ours, runtime, "v2g-root", "oem-sub1", "oem-sub2")
    status, again = enrols(ours, leaf.certificate_der)
    assert status == 503
    assert int(again) > 0
