"""ECDSA-Sig-Value from r and s side by side, against the encoder of ``cryptography``."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from pki_core.hsm.ecdsa_value import encode_ecdsa_values

P256_OCTETS = 32
P521_OCTETS = 66


def raw(r, s, octets):
    return r.to_bytes(octets) + s.to_bytes(octets)


@pytest.mark.parametrize("octets", [P256_OCTETS, P521_OCTETS])
@pytest.mark.parametrize("r_bits", [1, 7, 8, 9, 127, 128, 247, 248, 255, 256])
@pytest.mark.parametrize("s_bits", [1, 8, 255, 256])
def test_high_bits_and_leading_zeros_are_encoded_as_der_wants(octets, r_bits, s_bits):
    r, s = 2**r_bits - 1, 1 << (s_bits - 1)
    assert encode_ecdsa_values([raw(r, s, octets)]) == [encode_dss_signature(r, s)]


@pytest.mark.parametrize("bits", [519, 520, 521])
def test_a_p521_value_takes_the_long_length_form(bits):
    value = 2**bits - 1
    assert encode_ecdsa_values([raw(value, value, P521_OCTETS)]) == [encode_dss_signature(value, value)]


@given(st.lists(st.tuples(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1)), max_size=5))
def test_any_two_numbers_are_encoded_as_the_reference_does(pairs):
    assert encode_ecdsa_values([raw(r, s, P256_OCTETS) for r, s in pairs]) == [
        encode_dss_signature(r, s) for r, s in pairs
    ]


@given(st.integers(0, 2**521 - 1), st.integers(0, 2**521 - 1))
def test_any_two_p521_numbers_are_encoded_as_the_reference_does(r, s):
    assert encode_ecdsa_values([raw(r, s, P521_OCTETS)]) == [encode_dss_signature(r, s)]
