"""The web server's certificate and the anchors of its clients: made, kept, renewed in time, replaced as a whole."""

import stat
import subprocess
from contextlib import closing
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import text

from pki_core.hsm.tls_key import certificate_with_key
from pki_core.model.clock import SystemClock
from pki_core.model.errors import HsmUnavailableError, SettingsError
from pki_core.runtime import open_runtime
from tests.builders import SetClock
from tests.journeys.acts import artefact, hold, rows, sub2
from tests.journeys.serving_acts import add_settings

pytest_plugins = ["tests.journeys.environments"]


def certificate_of(runtime):
    pem = runtime.server_certificate.place.server_file.read_bytes()
    return x509.load_der_x509_certificate(certificate_with_key(pem))


def openssl_verifies(place):
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", place.root_file]
    return subprocess.run([*command, place.server_file], capture_output=True, check=False).returncode == 0


def test_the_first_certificate_is_made_for_the_names_of_the_settings(any_environment):
    assert any_environment.server_certificate.ensure()
    certificate = certificate_of(any_environment)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["localhost", "127.0.0.1"]
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert openssl_verifies(any_environment.server_certificate.place)


def test_it_went_the_way_of_every_other_certificate(environment):
    environment.server_certificate.ensure()
    record = environment.certificates.show(f"{certificate_of(environment).serial_number:x}")
    assert (record.issuer_label, record.profile_name, record.partner_id) == ("tls-root", "tls_server", None)
    assert rows(environment, "SELECT count(*) FROM audit WHERE actor = 'web server'") == [(1,)]


def test_the_key_is_the_owners_alone(environment):
    environment.server_certificate.ensure()
    place = environment.server_certificate.place
    assert stat.S_IMODE(place.server_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.directory.stat().st_mode) == 0o700
    assert not list(place.directory.glob(".*"))


def test_a_good_certificate_is_kept(environment):
    environment.server_certificate.ensure()
    before = environment.server_certificate.place.server_file.read_bytes()
    assert not environment.server_certificate.ensure()
    assert environment.server_certificate.place.server_file.read_bytes() == before


@pytest.mark.parametrize(("days", "renewed"), [(59, False), (61, True), (100, True)])
def test_it_is_renewed_with_a_third_of_its_life_left(home, days, renewed):
    clock = SetClock(SystemClock().now())
    with closing(open_runtime(home, clock)) as runtime:
        runtime.server_certificate.ensure()
        old = certificate_of(runtime)
        clock.advance(days=days)
        assert runtime.server_certificate.ensure() is renewed
        assert (certificate_of(runtime).public_key() != old.public_key()) is renewed  # with a new key


def test_other_names_need_another_certificate(home):
    with closing(open_runtime(home)) as runtime:
        runtime.server_certificate.ensure()
    add_settings(home, '\n[serving]\nnames = ["pki.example", "2001:db8::1"]\n')
    with closing(open_runtime(home)) as runtime:
        assert runtime.server_certificate.ensure()
        names = certificate_of(runtime).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(name.value) for name in names] == ["pki.example", "2001:db8::1"]


def test_a_name_that_is_none_is_told_as_a_setting(home):
    add_settings(home, '\n[serving]\nnames = ["not a host"]\n')
    with closing(open_runtime(home)) as runtime, pytest.raises(SettingsError, match=r"serving\.names: .*not a host"):
        runtime.server_certificate.ensure()


def test_a_revoked_certificate_is_replaced(environment):
    environment.server_certificate.ensure()
    with environment.store.transaction() as work:
        newest = "(SELECT serial FROM certificate ORDER BY id DESC LIMIT 1)"  # the server's; its CA stays in force
        statement = f"UPDATE certificate_status SET status = 2 WHERE serial = {newest}"  # noqa: S608  # ours
        assert work.audit._connection.execute(text(statement)).rowcount == 1
    assert environment.server_certificate.ensure()


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\0\xff"])
def test_a_damaged_file_is_replaced(environment, damage):
    environment.server_certificate.ensure()
    file = environment.server_certificate.place.server_file
    file.write_bytes(damage)
    assert environment.server_certificate.ensure()
    assert certificate_of(environment)


def test_a_key_of_another_certificate_is_seen(environment):
    environment.server_certificate.ensure()
    file = environment.server_certificate.place.server_file
    key, _, old = file.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    environment.server_certificate.ensure(renew=True)
    other_key = file.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")[0]
    assert key != other_key
    file.write_bytes(other_key + b"-----BEGIN CERTIFICATE-----" + old)
    assert environment.server_certificate.ensure()


def test_while_the_token_is_away_the_old_certificate_stays(environment, monkeypatch):
    environment.server_certificate.ensure()
    before = environment.server_certificate.place.server_file.read_bytes()

    def away(_messages):
        raise HsmUnavailableError("the token is away")

    monkeypatch.setattr(environment.issuers.get("tls-root")._signer, "sign", away)
    with pytest.raises(HsmUnavailableError):
        environment.server_certificate.ensure(renew=True)
    assert environment.server_certificate.place.server_file.read_bytes() == before


# --- anchors


def anchors_of(runtime):
    pem = runtime.server_certificate.place.trust_file.read_bytes()
    return {one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(pem)}


def test_every_ca_of_ours_is_an_anchor_and_a_new_one_soon_too(environment):
    environment.server_certificate.ensure()
    before = anchors_of(environment)
    assert len(before) == len(environment.certificates.issuers())
    hold(environment, sub2())
    environment.server_certificate.ensure()
    assert len(anchors_of(environment)) == len(before) + 1


def test_anchors_that_did_not_change_are_not_written_again(environment):
    environment.server_certificate.ensure()
    file = environment.server_certificate.place.trust_file
    before = file.stat().st_ino
    environment.server_certificate.ensure()
    assert file.stat().st_ino == before


def test_anchors_of_third_parties_are_joined(home, tmp_path):
    with closing(open_runtime(home)) as runtime:
        foreign = x509.load_der_x509_certificate(artefact(runtime, "oem-sub1"))
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*made, "-subj", "/CN=Maker CA", "-keyout", tmp_path / "k", "-out", home / "maker.pem"],
        check=True,
        capture_output=True,
    )
    add_settings(home, '\n[est]\nthird_parties = [{ file = "maker.pem", partner = "demo-oem" }]\n')
    with closing(open_runtime(home)) as runtime:
        runtime.server_certificate.ensure()
        assert {"CN=Maker CA", foreign.subject.rfc4514_string()} <= anchors_of(runtime)


def test_a_third_party_s_file_that_is_none_is_told(home):
    (home / "maker.pem").write_text("no PEM")
    add_settings(home, '\n[est]\nthird_parties = [{ file = "maker.pem", partner = "demo-oem" }]\n')
    with closing(open_runtime(home)) as runtime, pytest.raises(SettingsError, match=r"maker\.pem"):
        runtime.server_certificate.ensure()


def test_an_environment_without_a_tls_root_is_told_how_to_get_one(environment):
    with environment.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE issuer SET label = 'old-root' WHERE label = 'tls-root'"))
    with pytest.raises(SettingsError, match="ceremony with profile tls_root"):
        environment.server_certificate.ensure()


def test_time_moves_the_certificate_not_the_root(home):
    with closing(open_runtime(home, SetClock(SystemClock().now() + timedelta(days=3650)))) as runtime:
        runtime.server_certificate.ensure()
        assert certificate_of(runtime).issuer.rfc4514_string().startswith("CN=TLS Root CA")
