"""CRL readers that are not ours (L18, L19): OpenSSL, GnuTLS, NSS, pyHanko, pyca and pkilint's own program."""

import asyncio
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import crl as asn1_crl
from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import RevokedError

from bench.crl_jobs import fill
from pki_core.model.crls import crl_name
from pki_core.model.revocations import Reason, shard_of
from pki_core.services.crls import Approval
from tests.journeys.acts import artefact, copy_home
from tests.journeys.crl_acts import crl_of, der_of, leaves, listed, opened, revoke

pytest_plugins = ["tests.journeys.environments"]
LABEL = "cpo-sub2"
CHAIN_LISTS = (f"{LABEL}.crl", "cpo-sub1.crl", "v2g-root.crl")


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@dataclass
class World:
    """CRLs of every kind by file name, the CA behind each, and leafs of every state with their chain."""

    directory: Path
    crls: dict[str, bytes]
    issuers: dict[str, bytes]
    chain: list[bytes]
    good: bytes
    revoked: bytes
    later: bytes  # revoked behind the full list, told by the delta

    def file(self, name, der, kind=""):
        path = self.directory / name
        path.write_bytes(pem.armor(kind, der) if kind else der)
        return str(path)

    def crl(self, name):
        return self.file(name, self.crls[name])

    def issuer(self, name):
        return self.file(f"{name}.pem", self.issuers[name], "CERTIFICATE")


@pytest.fixture(scope="module")
def world(founded_home, tmp_path_factory):
    directory = tmp_path_factory.mktemp("crl-clients")
    home = copy_home(founded_home, directory / "home")
    with opened(home, certificates="crl_shards = 2", crl="delta_minutes = 15") as runtime:
        good, revoked, held, later = leaves(runtime, 4, "evse_leaf")
        revoke(runtime, revoked)
        revoke(runtime, held, Reason.CERTIFICATE_HOLD)
        sub1 = x509.load_der_x509_certificate(artefact(runtime, "mo-sub2-20-ed448"))
        revoke(runtime, f"{sub1.serial_number:x}", Reason.CESSATION_OF_OPERATION)
        assert not runtime.crls.publish_due(everything=True).failures
        revoke(runtime, later)  # from here on only in the deltas
        runtime.revocations.release(held, actor="test")
        record = next(one for one in runtime.certificates.issuers() if one.label == LABEL)
        for scope in runtime.crls.scopes(record):
            runtime.crls._publish(scope, "test", Approval(), with_complete=False)
        crls, issuers = {}, {}
        for age in runtime.crls.ages():
            name = crl_name(age.issuer_label, age.scope, age.kind)
            crls[name] = der_of(runtime, name.removesuffix(".crl"))
            issuers[name] = artefact(runtime, age.issuer_label)
        shown = {serial: runtime.certificates.show(serial).certificate_der for serial in (good, revoked, later)}
        assert {shard_of(int(one, 16), 2) for one in shown} <= {0, 1}
        chain = [artefact(runtime, label) for label in (LABEL, "cpo-sub1", "v2g-root")]
        yield World(directory, crls, issuers, chain, *shown.values())


def openssl(*arguments):
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def checked(world, leaf, names, *options):
    """What OpenSSL says of a leaf with some CRLs at hand."""
    lists = world.directory / "lists.pem"
    lists.write_bytes(b"".join(pem.armor("X509 CRL", world.crls[name]) for name in names))
    *between, root = world.chain
    above = world.directory / "between.pem"
    above.write_bytes(b"".join(pem.armor("CERTIFICATE", der) for der in between))
    files = ["-CAfile", world.file("root.pem", root, "CERTIFICATE"), "-untrusted", str(above), "-CRLfile", str(lists)]
    leaf = world.file("leaf.pem", leaf, "CERTIFICATE")
    return openssl("verify", "-x509_strict", *options, *files, leaf)


def test_there_are_lists_of_every_kind(world):
    assert {f"{LABEL}{kind}.crl" for kind in ("", "-00", "-01", "-delta", "-00-delta", "-01-delta")} <= set(world.crls)
    assert {"v2g-root.crl", "mo-sub1-20-ed448.crl", "mo-sub1-20.crl"} <= set(world.crls)


def test_l19_openssl_verifies_every_list_with_its_ca_and_with_no_other(world):
    for name in world.crls:
        code, output = openssl(
            "crl", "-inform", "DER", "-in", world.crl(name), "-CAfile", world.issuer(name), "-noout", "-verify"
        )
        assert (code, "verify OK" in output) == (0, True), f"{name}: {output}"
    other = world.file("other.pem", world.issuers["mo-sub2.crl"], "CERTIFICATE")
    _, output = openssl(
        "crl", "-inform", "DER", "-in", world.crl(f"{LABEL}.crl"), "-CAfile", other, "-noout", "-verify"
    )
    assert "verify OK" not in output


@pytest.mark.parametrize(
    ("names", "options"),
    [
        ([f"{LABEL}.crl"], []),
        ([f"{LABEL}-00.crl", f"{LABEL}-01.crl"], ["-extended_crl"]),
    ],
    ids=["full", "shards"],
)
def test_openssl_finds_the_revoked_and_lets_the_good_pass(world, names, options):
    code, output = checked(world, world.good, names, "-crl_check", *options)
    assert code == 0, output
    code, output = checked(world, world.revoked, names, "-crl_check", *options)
    assert (code, "certificate revoked" in output) == (2, True), output


def test_openssl_joins_base_and_delta(world):
    full, delta = f"{LABEL}.crl", f"{LABEL}-delta.crl"
    assert checked(world, world.later, [full], "-crl_check")[0] == 0
    options = ("-crl_check", "-extended_crl", "-use_deltas")
    code, output = checked(world, world.later, [full, delta], *options)
    assert (code, "certificate revoked" in output) == (2, True), output
    assert checked(world, world.good, [full, delta], *options)[0] == 0


def test_openssl_checks_a_whole_chain(world):
    code, output = checked(world, world.good, CHAIN_LISTS, "-crl_check_all")
    assert code == 0, output


@needs("certtool")
def test_l19_gnutls_verifies_every_list(world):
    for name in world.crls:
        command = ["certtool", "--verify-crl", "--load-ca-certificate", world.issuer(name)]
        command += ["--infile", world.file("list.pem", world.crls[name], "X509 CRL")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        output = result.stdout + result.stderr
        # A delta's critical extensions are not GnuTLS's; the signature is what it is asked for.
        assert "Verification output: Verified" in output, f"{name}: {output}"


@needs("crlutil")
def test_nss_takes_the_full_list_and_refuses_what_has_critical_extensions(world, tmp_path):
    database = f"sql:{tmp_path}"
    subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True, capture_output=True)
    for at, der in enumerate(reversed(world.chain)):
        pem_file = world.file(f"nss-{at}.pem", der, "CERTIFICATE")
        trust = ["certutil", "-A", "-d", database, "-n", f"ca-{at}", "-t", "CT,C,C", "-a", "-i", pem_file]
        subprocess.run(trust, check=True, capture_output=True)
    outcomes = {}
    for name in (f"{LABEL}.crl", f"{LABEL}-00.crl", f"{LABEL}-delta.crl"):
        command = ["crlutil", "-I", "-i", world.crl(name), "-d", database, "-B"]
        outcomes[name] = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcomes[f"{LABEL}.crl"].returncode == 0, outcomes[f"{LABEL}.crl"].stderr
    for name in (f"{LABEL}-00.crl", f"{LABEL}-delta.crl"):  # why the full list stands beside the others
        assert "critical extension" in outcomes[name].stderr, outcomes[name].stderr


def test_l19_pyhanko_finds_the_revoked_and_lets_the_good_pass(world):
    lists = [asn1_crl.CertificateList.load(world.crls[name]) for name in world.crls]
    *between, root = [asn1_x509.Certificate.load(der) for der in world.chain]
    latest = max(one["tbs_cert_list"]["this_update"].native for one in lists)
    moment = latest + timedelta(minutes=1)  # behind the revocation

    def validate(leaf):
        context = ValidationContext(
            trust_roots=[root],
            crls=lists,
            allow_fetching=False,
            revocation_mode="require",
            moment=moment,
            best_signature_time=moment,
        )
        validator = CertificateValidator(asn1_x509.Certificate.load(leaf), between, validation_context=context)
        return asyncio.run(validator.async_validate_path())

    assert validate(world.good)
    with pytest.raises(RevokedError):
        validate(world.revoked)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [f"{LABEL}.crl", f"{LABEL}-00.crl", f"{LABEL}-delta.crl", f"{LABEL}-01-delta.crl", "mo-sub1-20-ed448.crl"],
)
def test_l19_pkilints_program_finds_nothing(world, name):
    program = str(Path(sys.executable).with_name("lint_crl"))
    kind = "ARL" if "sub1" in name else "CRL"
    command = [program, "lint", "-t", kind, "-p", "PKIX", "-s", "NOTICE", world.crl(name)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 10_000, 100_000])
def test_l18_lists_of_every_length_verify_and_hold_all_entries(founded_home, tmp_path, count):
    home = copy_home(founded_home, tmp_path / "home")
    fill(str(home), count)
    with opened(home) as runtime:
        runtime.crls.publish("mo-sub2", approval=Approval(guards=frozenset({"g9"})))
        der = der_of(runtime, "mo-sub2")
        assert len(listed(crl_of(runtime, "mo-sub2"))) == count
        assert len(der) <= 500 + 51 * count
        (tmp_path / "ca.pem").write_bytes(pem.armor("CERTIFICATE", artefact(runtime, "mo-sub2")))
    (tmp_path / "list.crl").write_bytes(der)
    files = ["-in", str(tmp_path / "list.crl"), "-CAfile", str(tmp_path / "ca.pem")]
    code, output = openssl("crl", "-inform", "DER", *files, "-noout", "-verify")
    assert (code, "verify OK" in output) == (0, True), output
