"""The relying party's side against our own front: what our OCSP and CRLs say is read by what reads other people's."""

import threading
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from pki_core.model.pools import ForeignStatus
from pki_core.model.revocations import Reason
from pki_core.runtime import open_runtime
from tests.journeys.acts import issue_leaf
from tests.journeys.crl_acts import lay_over
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
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield runtime
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        runtime.close()


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
