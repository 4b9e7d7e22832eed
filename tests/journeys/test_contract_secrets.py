"""No contract's private key is anywhere but in its envelope: not in the store, a file, a log line, or an exception."""

import base64
import logging
import pickle
import traceback
import weakref
from sys import getrefcount

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import text

from pki_core.model.errors import HsmUnavailableError, InvariantError
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.enroll import NoHooks
from pki_core.wire import contract_key
from pki_core.wire.contract_key import NewContractKey
from tests.builders import spki
from tests.journeys.acts import rows
from tests.journeys.contract_acts import (
    ED448,
    EMAID,
    OTHER_EMAID,
    OTHER_PCID,
    P256,
    P521,
    PCID,
    Garage,
    make,
    signed_data,
    wanted,
)
from tests.journeys.contract_batch_acts import BEGINS, ENDS, emaid_of, pcid_of, sign, submit

pytest_plugins = ["tests.journeys.environments"]
_WINDOW, _STEP = 20, 7  # octets of a needle: unmistakable, and short enough for one to lie in a line of PEM


@pytest.fixture
def born(monkeypatch):
    """Every contract key that is made, as its maker knows it."""
    keys = []

    class Watched(NewContractKey):
        __slots__ = ()

        def __init__(self, algorithm):
            super().__init__(algorithm)
            keys.append(self._key)

    monkeypatch.setattr(contract_key, "NewContractKey", Watched)
    monkeypatch.setattr("pki_core.services.contracts.NewContractKey", Watched)
    return keys


def scalar_of(key):
    """The scalar of a key, most significant octet first."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes((key.curve.key_size + 7) // 8)
    return key.private_bytes_raw()[::-1]


def needles(key):
    """All that would give the key away, as octets to look for.

    PKCS8 and SEC 1 hold the scalar, so whatever holds them, in hexadecimal or base64, holds a needle, too.
    """
    scalar = scalar_of(key)
    found = {one for octets in (scalar, scalar[::-1]) for one in in_encodings(octets)}
    return {one[at : at + _WINDOW] for one in found for at in range(0, len(one) - _WINDOW + 1, _STEP)}


def in_encodings(octets):
    """Octets as they are, in hexadecimal, in decimal, and in base64 at each of three offsets in both alphabets."""
    yield octets
    yield octets.hex().encode()
    yield octets.hex().upper().encode()
    yield str(int.from_bytes(octets)).encode()
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(offset) + octets).rstrip(b"=")[4 if offset else 0 : -2]


def everything_stored(runtime):
    """The octets of every file of the environment, and of every row where they lie elsewhere."""
    for path in runtime.home.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    with runtime.store.reading() as work:
        connection = work.audit._connection
        if connection.dialect.name == "postgresql":
            names = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
            for table in names:
                for row in connection.scalars(text(f"SELECT t::text FROM {table} t")):  # noqa: S608  # names of ours
                    yield table, row.encode()
                    yield table, b"".join(octets_in(row))


def octets_in(row):
    """The octets of bytea columns in the text of a row."""
    for piece in row.split("\\x")[1:]:
        digits = "".join(character for character in piece.partition('"')[0] if character in "0123456789abcdef")
        yield bytes.fromhex(digits[: len(digits) // 2 * 2])


def places_of(keys, places):
    """Where any of the keys is found."""
    wanted_here = [one for key in keys for one in needles(key)]
    return {place for place, octets in places if any(one in octets for one in wanted_here)}


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_the_search_finds_what_is_there(environment, born, algorithm):
    Garage(environment).build(algorithm=algorithm)
    make(environment, wanted(environment), algorithm=algorithm)
    (key,) = born
    assert places_of(born, everything_stored(environment)) == set()
    scalar = scalar_of(key)
    planted = {
        "raw": b"x" + scalar,
        "reversed": b"x" + scalar[::-1],
        "hex": scalar.hex().encode(),
        "base64": base64.b64encode(b"12" + scalar + b"345"),
        "decimal": f"({int.from_bytes(scalar)})".encode(),
        "pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "der": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    }
    assert places_of(born, planted.items()) == set(planted)
    if algorithm is not ED448:
        certificate_key = spki(key)[-65:]  # the public half is what the search does find in the store
        assert any(certificate_key in octets for _, octets in everything_stored(environment))


@pytest.mark.parametrize("algorithm", [P256, P521])
def test_a_contracts_key_is_nowhere_in_the_store_or_the_directory(any_environment, born, algorithm, caplog):
    caplog.set_level(logging.DEBUG)
    Garage(any_environment).build(algorithm=algorithm)
    make(any_environment, wanted(any_environment), algorithm=algorithm)
    make(any_environment, wanted(any_environment), algorithm=algorithm)  # replaced: what was there goes to free pages
    assert len(born) == 2
    assert signed_data(any_environment)
    places = [*everything_stored(any_environment), ("log", caplog.text.encode())]
    assert places_of(born, places) == set()


def test_nor_are_the_keys_of_a_table_in_its_batch_or_bundle(environment, born):
    Garage(environment).build_many([pcid_of(number) for number in range(3)])
    batch = submit(environment, [(emaid_of(number), pcid_of(number), BEGINS, ENDS) for number in range(3)])
    assert sign(environment, batch).issued == 3
    environment.results.write(batch.id, environment.home / "bundle")
    assert len(born) == 3
    assert places_of(born, everything_stored(environment)) == set()


class Looking(NoHooks):
    """A caller that looks, whenever something is written, which keys are still in memory."""

    def __init__(self, holders, keys):
        self._holders, self._keys = holders, keys
        self.seen = []

    def reserved(self, work, reservation):  # noqa: ARG002  # as the protocol has it
        self._look("reserved")

    def recorded(self, work, outcomes):  # noqa: ARG002
        self._look("recorded")

    def _look(self, at):
        alive = [one for one in self._holders if one() is not None]
        held = [
            number for number in range(len(self._keys)) if getrefcount(self._keys[number]) > 2
        ]  # the list, the call
        self.seen.append((at, len(alive), len(held)))


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_keys_are_gone_before_anything_is_written(environment, monkeypatch, algorithm):
    holders, keys = [], []

    class Watched(NewContractKey):  # without slots of its own: weak references need that
        def __init__(self, algorithm):
            super().__init__(algorithm)
            holders.append(weakref.ref(self))
            keys.append(self._key)

    monkeypatch.setattr("pki_core.services.contracts.NewContractKey", Watched)
    Garage(environment).build_many([PCID, OTHER_PCID], algorithm)
    looking = Looking(holders, keys)
    orders = wanted(environment), wanted(environment, OTHER_EMAID, OTHER_PCID)
    make(environment, *orders, algorithm=algorithm, hooks=looking)
    assert len(keys) == 2
    assert looking.seen == [("reserved", 0, 0), ("recorded", 0, 0)]


@pytest.mark.parametrize("error", [HsmUnavailableError("away"), InvariantError("broken"), ValueError("unforeseen")])
def test_an_exception_while_contracts_are_made_tells_no_key(environment, born, monkeypatch, error):
    def broken(*_arguments):
        raise error

    Garage(environment).build()
    monkeypatch.setattr(ContractSigning, "signed", broken)
    with pytest.raises(type(error)) as caught:
        make(environment, wanted(environment))
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    said = "".join(told.format()).encode()
    assert len(born) == 1
    assert b"NewContractKey" in said or b"_Making" in said  # locals were looked at
    assert places_of(born, [("traceback", said)]) == set()
    assert places_of(born, everything_stored(environment)) == set()
    assert rows(environment, f"SELECT count(*) FROM contract WHERE emaid = '{EMAID}'") == [(0,)]  # noqa: S608  # ours


def test_a_new_key_cannot_be_pickled_and_shows_nothing_of_itself():
    key = NewContractKey(P256)
    with pytest.raises(InvariantError, match="does not leave its process"):
        pickle.dumps(key)
    assert places_of([key._key], [("shown", f"{key!r} {key!s}".encode())]) == set()
