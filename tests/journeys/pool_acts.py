"""What tests do with the pools: other people's CAs, vehicles, contracts, a status source, and looks at the tables."""

import hashlib
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.errors import UnavailableError
from pki_core.model.partners import Partner
from pki_core.model.pools import ContractUpload, ForeignStatus, Namespace, ProvisioningUpload, RootKind
from pki_core.model.requests import IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime.wiring import open_runtime
from pki_core.services.uploads import issuer_for
from tests.builders import SetClock, name, new_key, some_key, spki
from tests.journeys.acts import ROOT, operator_environment, order_for, rows
from tests.journeys.crl_acts import right_now

PCID, OTHER_PCID = "WPNFOREGN00000001", "WPNFOREGN00000002"
EMAID, OTHER_EMAID = "DEPNCC00000001", "DEPNCC00000002"
YEAR = timedelta(days=365)
NO_VEHICLE = "The OEM provisioning certificate with given PCID is not found."


def partner(*roles, wmis=("WPN",), providers=("DEPNC",), id="p"):  # noqa: A002  # as the model calls it
    return Partner(
        id=id,
        roles=frozenset(roles),
        provider_prefixes=frozenset(providers),
        operator_prefixes=frozenset({"DEPNC"}),
        wmis=frozenset(wmis),
    )


OEM, MO, CPS = partner("oem", id="oem"), partner("mo", id="mo"), partner("cps", id="cps")
OTHER_MO = partner("mo", providers=("FRXYZ",), id="other-mo")
OTHER_OEM = partner("oem", wmis=("VWX",), id="other-oem")


@dataclass
class ToldStatus:
    """A status source that says what a test tells it."""

    revoked: set = field(default_factory=set)
    unknown: set = field(default_factory=set)
    silent: set = field(default_factory=set)
    asked: list = field(default_factory=list)

    def status_of(self, certificate_der, issuer_der):  # noqa: ARG002  # the protocol
        self.asked.append(certificate_der)
        if certificate_der in self.silent:
            raise UnavailableError("nobody answers")
        if certificate_der in self.revoked:
            return ForeignStatus.REVOKED
        return ForeignStatus.UNKNOWN if certificate_der in self.unknown else ForeignStatus.GOOD


@contextmanager
def opened(home):
    """An open environment with a clock that is set and a status source that obeys."""
    with closing(open_runtime(home, SetClock(right_now()))) as runtime:
        runtime.pools.__dict__["status_source"] = ToldStatus()
        yield runtime


class ForeignCa:
    """Root, Sub1, Sub2 of somebody else."""

    def __init__(self, label, moment, root_years=40, sub_years=10, **changes):
        start = moment - timedelta(days=1)
        self.label, self.moment = label, moment
        root_end = changes.get("root_end", moment + root_years * YEAR + timedelta(days=11))
        sub_end = moment + sub_years * YEAR
        self.root = certificate(f"{label} root", None, (start, root_end), ca=True)
        self.sub1 = certificate(f"{label} sub1", self.root, (start, sub_end), ca=True, length=1)
        self.sub2 = certificate(f"{label} sub2", self.sub1, (start, sub_end), ca=True, length=0)

    def leaf(self, common_name, key=None, years=2, end=None, **more):
        """A leaf's DER; ``more``: its start, its extensions."""
        start = more.pop("start", None) or self.moment - timedelta(hours=1)
        return der(certificate(common_name, self.sub2, (start, end or self.moment + years * YEAR), key=key, **more))


@dataclass
class Held:
    key: object
    certificate: x509.Certificate


def certificate(common_name, issuer, validity, *, key=None, ca=False, **more):
    """A certificate with its key; ``issuer`` None = signed by itself. ``more``: length of its path, extensions."""
    key = key or new_key()
    subject = name(("O", "Foreign Ltd"), ("CN", common_name))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=more.get("length")), critical=True)
    )
    for extension in more.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    return Held(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


def der(held):
    return held.certificate.public_bytes(Encoding.DER)


@cache
def kept_ca(label, moment):
    return ForeignCa(label, moment)


def foreign_ca(runtime, label="foreign", *kinds):
    """A foreign CA whose root is in the RCP as these kinds."""
    ca = kept_ca(label, runtime.clock.now())
    for kind in kinds or (RootKind.OEM, RootKind.MO):
        runtime.pools.roots.add(der(ca.root), kind, by="alice", evidence="read over the telephone")
    return ca


def vehicle_of(ca, pcid=PCID, key=None, **leaf):
    """What an OEM publishes for a vehicle."""
    return ProvisioningUpload(
        leaf_der=ca.leaf(pcid, key or some_key(), **leaf), sub1_der=der(ca.sub1), sub2_der=der(ca.sub2)
    )


def contract_of(ca, emaid=EMAID, pcid=PCID, **leaf):
    """Signed contract data of an operator with a CA of his own."""
    return ContractUpload(
        emaid=emaid,
        pcid=pcid,
        algorithm=KeyAlgorithm.SECP256R1,
        leaf_der=ca.leaf(emaid, **leaf),
        sub1_der=der(ca.sub1),
        sub2_der=der(ca.sub2),
        signed_data=b"signed for " + emaid.encode(),
    )


def issue(runtime, profile_name, *common_names, keys=None, not_after=None):
    """Issue leafs by the one path; returns the outcomes."""
    profile = runtime.profiles[profile_name]
    record = issuer_for(profile, runtime.certificates.issuers())
    keys = keys or [new_key(record.algorithm) for _ in common_names]
    requests = [
        IssueRequest(
            reference=str(at),
            subject=RequestedSubject(common_name=one, organization="Test Mobility Ltd", country="DE"),
            spki_der=spki(key),
            proof=OwnKeyProof(),
            not_after=not_after,
        )
        for at, (one, key) in enumerate(zip(common_names, keys, strict=True))
    ]
    order = order_for(runtime, profile)
    return runtime.enrollment.issue(runtime.issuers.get(record.label), order, requests)


def own_contract(runtime, emaid=EMAID, pcid=PCID):
    """Signed contract data whose certificate our MO CA issued; returns it with the serial."""
    (issued,) = issue(runtime, "contract_leaf", emaid)
    chain = runtime.certificates.chain("mo-sub2")
    upload = ContractUpload(
        emaid=emaid,
        pcid=pcid,
        algorithm=KeyAlgorithm.SECP256R1,
        leaf_der=issued.certificate_der,
        sub2_der=chain[0].certificate_der,
        sub1_der=chain[1].certificate_der,
        signed_data=b"signed for " + emaid.encode(),
        namespace=Namespace.ISO_2_2013,
    )
    return upload, f"{issued.serial:x}"


def events(runtime):
    """(type, scope, pcid, emaid) of what waits in the outbox, in order."""
    with runtime.store.reading() as work:
        return [
            (str(one.event.type), one.event.scope, one.event.pcid, one.event.emaid)
            for one in work.outbox.waiting(0, 10_000)
            if not one.event.root_id
        ]


def forget_events(runtime):
    with runtime.store.transaction() as work:
        work.outbox.remove([one.number for one in work.outbox.waiting(0, 10_000)])


def pcids(runtime):
    return [row[0] for row in rows(runtime, "SELECT pcid FROM provisioning_certificate ORDER BY pcid")]


def emaids(runtime):
    """Contracts; each has its data."""
    found = [row[0] for row in rows(runtime, "SELECT emaid FROM contract ORDER BY emaid")]
    assert found == [row[0] for row in rows(runtime, "SELECT emaid FROM contract_data ORDER BY emaid")]
    return found


def audited(runtime):
    """(action, detail) of the pools' audit rows, in order."""
    return rows(runtime, "SELECT action, detail FROM audit WHERE stream = 'pools' ORDER BY id")


def everything(runtime):
    """All that a dry run must leave as it is."""
    tables = ("provisioning_certificate", "contract", "contract_data", "pool_root", "outbox_event", "audit")
    counts = [rows(runtime, f"SELECT count(*) FROM {table}")[0][0] for table in tables]  # noqa: S608  # ours
    states = rows(runtime, "SELECT serial, status FROM certificate_status ORDER BY serial")
    checked = rows(runtime, "SELECT pcid, checked_at FROM provisioning_certificate ORDER BY pcid")
    return counts, hashlib.sha256(repr((states, checked)).encode()).hexdigest()


_KILLED = """
import os, signal, sys
from pathlib import Path
from datetime import datetime, UTC
from pki_core.runtime.wiring import open_runtime
from pki_core.store.contract_pool import ContractPoolGateway
from tests.builders import SetClock
home, moment = sys.argv[1:]
clock = SetClock(datetime.fromtimestamp(int(moment), UTC)) if moment else None
runtime = open_runtime(Path(home), clock)
honest, calls = ContractPoolGateway.remove, []
def killed(gateway, emaids):
    calls.append(1)
    result = honest(gateway, emaids)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
ContractPoolGateway.remove = killed
runtime.pools.%s
"""


def killed_at_second_removal(home, work, moment=None):
    """Do some work of the pools in a process that is killed when contracts are removed for the second time."""
    at = "" if moment is None else str(int(moment.timestamp()))
    command = [sys.executable, "-c", _KILLED % work, str(home), at]
    killed = subprocess.run(command, cwd=ROOT, env=operator_environment(), check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
