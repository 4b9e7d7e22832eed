"""What tests do with the REST calls of partners: partners of every role with a client each, and what they send."""

import base64
from contextlib import closing, contextmanager

from pki_core.model.partners import Partner
from pki_core.runtime.wiring import open_runtime
from tests.builders import SetClock
from tests.journeys.crl_acts import right_now
from tests.journeys.pool_acts import PCID, ToldStatus, der, vehicle_of
from webapp import create_app

PCP, PCP_OPNC = "/v1/oem/provCerts", "/opnc/v1/pcp/provisioningcertificates"
RCP, RCP_OPNC = "/v1/root/rootCerts", "/opnc/v1/rcp/rootcertificates"
CCP, CCP_OPNC = "/v1/ccp/signedContractData", "/opnc/v1/ccp/signedcontractdata"
VRA = "/v1/vra/cpo/endEntities"
_PREFIXES = {  # id -> roles, provider prefixes, operator prefixes, WMIs
    "oem": ("oem", (), (), ("WPN",)),
    "other-oem": ("oem", (), (), ("VWX",)),
    "mo": ("mo", ("DEPNC",), (), ()),
    "other-mo": ("mo", ("FRXYZ",), (), ()),
    "cpo": ("cpo", (), ("DEPNC",), ()),
    "other-cpo": ("cpo", (), ("FRXYZ",), ()),
    "cps": ("cps", (), (), ()),
    "alice": ("operator", (), (), ()),
    "bob": ("operator", (), (), ()),
    # Of two roles: what the one may read, the other must not touch.
    "oem-mo": ("oem mo", ("NLABC",), (), ("XYZ",)),
    "oem-cps": ("oem cps", (), (), ("XYY",)),
}


def enrol(runtime):
    """Add the partners; returns the secret of each."""
    for name, (roles, providers, operators, wmis) in _PREFIXES.items():
        runtime.partners.add(
            Partner(
                id=name,
                roles=frozenset(roles.split()),
                provider_prefixes=frozenset(providers),
                operator_prefixes=frozenset(operators),
                wmis=frozenset(wmis),
            )
        )
    return {name: runtime.credentials.make_secret(name) for name in _PREFIXES}


class Api:
    """An application and a client for each partner; a status source that obeys."""

    def __init__(self, runtime, secrets):
        self.runtime = runtime
        self.secrets = secrets
        self.app = create_app(runtime)
        self._headers = {"nobody": {}, **{name: basic(name, secret) for name, secret in secrets.items()}}

    def headers_of(self, who):
        """The credentials of somebody."""
        return dict(self._headers[who])

    def call(self, who, method, path, headers=(), **more):
        """Send a request as somebody."""
        return self.app.test_client().open(path, method=method, headers={**self._headers[who], **dict(headers)}, **more)

    def good(self, who, method, path, status=200, **more):
        """Send a request that has to succeed; returns its JSON."""
        answer = self.call(who, method, path, **more)
        assert answer.status_code == status, (answer.status_code, answer.data)
        assert answer.mimetype == "application/json"
        return answer.json

    def refused(self, who, method, path, **more):
        """Send a request that has to fail; returns its status and its one sentence."""
        answer = self.call(who, method, path, **more)
        assert answer.mimetype == "application/json", answer.data
        assert set(answer.json) == {"errorMessages", "traceId"}
        (message,) = answer.json["errorMessages"]
        return answer.status_code, message


def basic(user, secret):
    text = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


class PartnerClient:
    """One partner's client, with a secret of its own."""

    def __init__(self, runtime, partner="demo-mo", app=None):
        self.runtime = runtime
        self.app = app or create_app(runtime)
        self.headers = basic(partner, runtime.credentials.make_secret(partner))

    def call(self, method, path, headers=(), **more):
        return self.app.test_client().open(
            path, method=method, headers={**self.headers, **dict(headers)}, buffered=True, **more
        )


@contextmanager
def api_of(home, secrets):
    """An application on an environment whose clock is set and whose other CAs obey."""
    with closing(open_runtime(home, SetClock(right_now()))) as runtime:
        runtime.pools.__dict__["status_source"] = ToldStatus()
        yield Api(runtime, secrets)


def b64(octets):
    return base64.b64encode(octets).decode()


def pem(octets):
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(octets).decode()}-----END CERTIFICATE-----\n"


def vehicle_body(ca, pcid=PCID, encode=b64, **leaf):
    """What an OEM sends in OPCP for a vehicle."""
    upload = vehicle_of(ca, pcid, **leaf)
    return {
        "vehicleCertificate": encode(upload.leaf_der),
        "subCA1Certificate": encode(upload.sub1_der),
        "subCA2Certificate": encode(upload.sub2_der),
    }


def root_body(ca, kind="OEM", evidence="read over the telephone"):
    """What a person of the operator's sends to add a root."""
    return {"caCertificate": b64(der(ca.root)), "rootType": kind, "evidence": evidence}
