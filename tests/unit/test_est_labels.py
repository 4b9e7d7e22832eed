"""EST labels as data: what a label may be called and hold (RFC 7030 3.2.2)."""

import pytest

from pki_core.model.errors import SettingsError
from pki_core.model.est import Authentication, EstLabel, Linking, algorithm_of, check_labels, edition_of
from pki_core.model.profiles import Edition
from pki_core.model.signer import KeyAlgorithm
from pki_core.settings import ENVIRONMENTS, check_settings, load_shipped


def settings_with(home, **est):
    return check_settings({"environment": "dev", "est": est}, home)


@pytest.mark.parametrize("name", ["cpo", "acme-cpo", "ca:7", "cpo:20", "a" * 64, "veh", "~x", "1.0"])
def test_labels_of_the_field_are_allowed(name):
    check_labels({name: EstLabel(branch="cpo")}, name)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a" * 65, "ä", "cacerts", "simpleenroll", "renewal-info", "%41"])
def test_a_label_is_one_segment_and_no_operation(name):
    with pytest.raises(SettingsError):
        check_labels({name: EstLabel(branch="cpo")}, "")


@pytest.mark.parametrize(
    "label",
    [
        EstLabel(branch="v2g"),
        EstLabel(branch="cpo", base64_line_length=65),
        EstLabel(branch="cpo", linking=Linking.REQUIRED, challenge_password="enrollment-code"),
    ],
)
def test_a_label_that_cannot_be_served_is_refused(label):
    with pytest.raises(SettingsError):
        check_labels({"cpo": label}, "")


def test_a_default_label_must_exist():
    with pytest.raises(SettingsError):
        check_labels({"cpo": EstLabel(branch="cpo")}, "mo")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_shipped_environment_has_the_four_roles_and_one_for_strongswan(environment):
    est = load_shipped(environment)["est"]
    assert {"cpo", "mo", "oem", "cps", "strongswan"} <= set(est["labels"])
    assert est["labels"]["strongswan"]["base64_line_length"] == 0
    assert est["default_label"] in est["labels"]
    assert est["server_side_keys"] is False


def test_settings_read_labels_strictly(tmp_path):
    read = settings_with(tmp_path, labels={"x": {"branch": "cpo", "authentication": ["basic"], "linking": "required"}})
    label = read.est.labels["x"]
    assert (label.authentication, label.linking) == (frozenset({Authentication.BASIC}), Linking.REQUIRED)
    assert label.edition is Edition.ISO_2
    for wrong in (
        {"branch": "cpo", "linkng": "required"},
        {"branch": "cpo", "linking": "off"},
        {"linking": "required"},
    ):
        with pytest.raises(SettingsError):
            settings_with(tmp_path, labels={"x": wrong})


@pytest.mark.parametrize("realm", ['quo"te', "line\nfeed", "back\\slash", ""])
def test_a_realm_cannot_break_its_header(tmp_path, realm):
    with pytest.raises(SettingsError):
        settings_with(tmp_path, realm=realm)


def test_editions_and_algorithms_are_read_in_any_case():
    assert (edition_of("ISO15118-20"), edition_of("iso15118-2"), edition_of("ISO15118")) == (
        Edition.ISO_20,
        Edition.ISO_2,
        None,
    )
    assert (algorithm_of("SECP521R1"), algorithm_of("rsa")) == (KeyAlgorithm.SECP521R1, None)
