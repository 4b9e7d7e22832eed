"""Other people's CAs that do not answer: they cost their own partner's requests time, and nobody else's."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID

from pki_core.runtime.wiring import open_runtime
from tests.builders import SetClock, name, some_key
from tests.journeys.acts import copy_home
from tests.journeys.crl_acts import lay_over, right_now
from tests.journeys.pool_acts import Held, der, foreign_ca
from tests.journeys.rest_acts import PCP, Api, b64

pytest_plugins = ["tests.journeys.rest_environments"]

_THREADS = 8  # of the front


@contextmanager
def hanging(count):
    """Servers that take connections and say nothing; their URLs."""
    servers = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(count)]
    try:
        yield [f"http://127.0.0.1:{one.getsockname()[1]}" for one in servers]
    finally:
        for one in servers:
            one.close()


def vehicle_told_at(ca, pcid, url):
    """What an OEM sends for a vehicle whose certificate names a responder and a CRL of its own."""
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{url}/ocsp/{pcid}")
    )
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{url}/crl/{pcid}")], None, None, None)
    template = x509.load_der_x509_certificate(ca.leaf(pcid, some_key()))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(("O", "Foreign Ltd"), ("CN", pcid)))
        .issuer_name(template.issuer)
        .public_key(template.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(template.not_valid_before_utc)
        .not_valid_after(template.not_valid_after_utc)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .add_extension(x509.CRLDistributionPoints([point]), critical=False)
    )
    leaf = Held(some_key(), builder.sign(ca.sub2.key, hashes.SHA256()))
    return {"vehicleCertificate": b64(der(leaf)), "subCA1Certificate": b64(der(ca.sub1))} | {
        "subCA2Certificate": b64(der(ca.sub2))
    }


def test_a_partner_whose_ca_hangs_holds_up_nobody_else(rest_home, tmp_path):
    founded, secrets = rest_home
    home = copy_home(founded, tmp_path / "home")
    lay_over(home, "outbound", "check_seconds = 4\ntotal_seconds = 6")
    with (
        closing(open_runtime(home, SetClock(right_now()))) as runtime,
        hanging(14) as urls,
        ThreadPoolExecutor(_THREADS) as front,
    ):
        api, ca = Api(runtime, secrets), foreign_ca(runtime)
        bodies = [vehicle_told_at(ca, f"WPNHANGS{at:09}", url) for at, url in enumerate(urls)]
        api.call("mo", "GET", f"{PCP}/WPNNOBODY0000000")  # first calls build things
        uploads = [front.submit(api.call, "oem", "PUT", PCP, json=body) for body in bodies]
        begun = time.monotonic()
        answer = front.submit(api.call, "mo", "GET", f"{PCP}/WPNHANGS000000000").result(timeout=30)
        assert answer.status_code == 404
        assert time.monotonic() - begun < 1.5
        refused = [one.result(timeout=30) for one in uploads]
        assert time.monotonic() - begun < 6
    assert {one.status_code for one in refused} == {503}
    assert all(int(one.headers["Retry-After"]) > 0 for one in refused)
