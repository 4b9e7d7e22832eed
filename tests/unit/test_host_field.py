"""The Host field: what RFC 3986 allows for host and port, and nothing else."""

import pytest

from webapp.host_field import is_host_field


@pytest.mark.parametrize(
    "value",
    [
        "pki.example",
        "PKI.example.",
        "pki.example:8443",
        "pki.example:",  # RFC 3986 3.2.3: a port may be empty
        "localhost",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:DB8::1]:8443",
        "[::ffff:192.0.2.1]",
        "[v7.a:b]",
        "under_score",
        "a%20b",
        "a~!$&'()*+;=b",
    ],
)
def test_a_host_with_or_without_a_port_is_taken(value):
    assert is_host_field(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":8443",
        "a b/c",
        "a/b",
        "u@h",
        "a?b",
        "a#b",
        "a\\b",
        "a,b",
        "a,",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:٣",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[::1]x",
        "[1:2]",
        "[:::]",
        "[fe80::1%25eth0]",
        "[192.0.2.1]",
        "[v7.]",
        "[v.a]",
        "a%2",
        "a%zz",
        "a%",
        "[v7.%zz]",
        "\xff\xfe",
        "é",
        "a\n",
        "a\x00",
        "a\t",
        "<a>",
        '"a"',
    ],
)
def test_anything_else_is_no_host(value):
    assert not is_host_field(value)
