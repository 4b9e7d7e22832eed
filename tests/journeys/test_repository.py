"""The repository: CA certificates at the addresses certificates name, fingerprints, and the certificate policy."""

import hashlib
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from cryptography import x509

from pki_core.issuance.load import load_profiles
from pki_core.model.errors import StoreUnavailableError
from pki_core.model.profiles import Level
from tests.journeys.acts import artefact, hold, sub2
from webapp.app import create_app
from webapp.policy import policy_html, policy_text

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture(scope="module")
def client(untouched):
    return create_app(untouched).test_client()


def test_every_ca_certificate_is_served_in_der_and_pem(client, untouched):
    for record in untouched.certificates.issuers():
        der = client.get(f"/aia/{record.label}.cer")
        assert (der.status_code, der.content_type) == (200, "application/pkix-cert")  # RFC 2585 4.1
        assert der.data == artefact(untouched, record.label)
        pem = client.get(f"/aia/{record.label}.pem")
        assert x509.load_pem_x509_certificate(pem.data) == x509.load_der_x509_certificate(der.data)


def test_the_address_of_the_settings_is_the_one_that_is_served(client, untouched):
    section = untouched.settings.certificates
    for url in (section.ca_issuers_url.format(issuer="mo-sub2"), section.cps_uri):
        assert client.get(url.removeprefix("http://127.0.0.1:8080")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/aia/nobody.cer", "/aia/mo-sub2", "/aia/mo-sub2.der", "/aia/../mo-sub2.cer", "/aia/"]
)
def test_what_is_no_ca_is_not_found_and_said_in_plain_text(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.content_type == "text/plain; charset=utf-8"


def test_a_new_ca_is_served_and_one_in_the_making_is_not(environment):
    client = create_app(environment).test_client()
    assert client.get("/aia/mo-sub2-b.cer").status_code == 404
    hold(environment, sub2())
    assert create_app(environment).test_client().get("/aia/mo-sub2-b.cer").status_code == 200


def test_what_was_read_is_served_while_the_store_is_away(environment, monkeypatch):
    def away():
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr("webapp.repository._LOOK_EVERY", 0)
    known, unknown = create_app(environment).test_client(), create_app(environment).test_client()
    assert known.get("/aia/mo-sub2.cer").status_code == 200
    monkeypatch.setattr(environment.store, "reading", away)
    assert known.get("/aia/mo-sub2.cer").status_code == 200
    answer = unknown.get("/aia/mo-sub2.cer")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")


# --- caching


@pytest.mark.parametrize("path", ["/aia/mo-sub2.cer", "/aia/mo-sub2.pem", "/pki/roots", "/pki", "/pki/policy.txt"])
def test_what_a_reader_has_is_not_sent_again(client, path):
    first = client.get(path)
    assert int(first.headers["Cache-Control"].rpartition("=")[2]) >= 3600
    tag = first.headers["ETag"]
    assert tag == f'"{hashlib.sha256(first.data).hexdigest()}"'
    again = client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).data == first.data


@pytest.mark.parametrize("path", ["/aia/mo-sub2.cer", "/pki/roots", "/pki"])
def test_head_is_get_without_the_body(client, path):
    head, get = client.head(path), client.get(path)
    assert head.data == b""
    assert head.headers["Content-Length"] == str(len(get.data))
    assert head.headers["ETag"] == get.headers["ETag"]


def test_only_reading_is_allowed(client):
    answer = client.post("/aia/mo-sub2.cer", data=b"x")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


# --- roots


def test_the_roots_page_has_the_fingerprint_of_every_root_as_openssl_prints_it(client, untouched, tmp_path):
    text = "".join(client.get("/pki/roots").text.split())
    roots = [record for record in untouched.certificates.issuers() if record.level is Level.ROOT]
    assert len(roots) == 4
    for record in roots:
        file = tmp_path / "root.der"
        file.write_bytes(record.certificate_der)
        command = ["openssl", "x509", "-inform", "DER", "-in", file, "-noout", "-fingerprint", "-sha256"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.strip().partition("=")[2] in text
        assert record.label in text


def test_programs_get_the_roots_as_json(client, untouched):
    answer = client.get("/pki/roots", headers={"Accept": "application/json"})
    assert answer.headers["Vary"] == "Accept"
    roots = {root["label"]: root for root in answer.json["roots"]}
    assert set(roots) == {"v2g-root", "v2g-root-20", "v2g-root-20-ed448", "tls-root"}
    assert roots["v2g-root"]["sha256"] == hashlib.sha256(artefact(untouched, "v2g-root")).hexdigest()
    assert client.get(roots["v2g-root"]["url"]).status_code == 200


# --- certificate policy


class _Checked(HTMLParser):
    """Notes tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.headings = [], []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002  # the parser's shape
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)


def test_the_policy_is_a_page_for_people_and_a_text_for_programs(client, untouched):
    page = client.get("/pki", headers={"Accept": "text/html"})
    assert page.content_type == "text/html; charset=utf-8"
    text = client.get("/pki", headers={"Accept": "text/plain"})
    assert text.data == client.get("/pki/policy.txt").data
    for answer in (page, text):
        assert untouched.settings.certificates.policy_oid in answer.text
        assert untouched.settings.policy.contact in answer.text


def test_the_policy_has_the_parts_of_rfc_3647(untouched):
    checked = _Checked()
    checked.feed(policy_html(untouched.settings, untouched.profiles))
    assert checked.open == []
    chapters = [heading for heading in checked.headings if re.match(r"\d\. ", heading)]
    assert [chapter[0] for chapter in chapters] == list("123456789")


def test_nothing_is_left_to_fill_in_and_names_cannot_become_markup(untouched):
    settings = untouched.settings
    named = settings.model_copy(update={"policy": settings.policy.model_copy(update={"operator": "<b>A & B</b>"})})
    assert "$" not in policy_text(settings, untouched.profiles)
    page = policy_html(named, untouched.profiles)
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in page
    assert "<b>" not in page


def test_the_policy_tells_the_validity_of_the_profiles_that_are_used(untouched):
    text = policy_text(untouched.settings, untouched.profiles)
    assert "- contract_leaf: 2 years" in text
    assert "- evse_leaf: 90 days" in text
    assert "- v2g_root: 40 years" in text
    short = load_profiles(
        replace(untouched.settings.environment_values, switches=frozenset({"annex_f_cps_leaf_validity"}))
    )
    assert policy_text(untouched.settings, short) != text
