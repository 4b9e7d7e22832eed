"""The machine behind the EXI tables: counts, choices, and what is in a schema but not used."""

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.exi_bits import BitReader, BitWriter
from pki_core.wire.exi_grammar import Child, Element, element_of
from pki_core.wire.exi_values import SmallNumber

NUMBER = element_of(SmallNumber(8))


def many(limit):
    """A list the schema does not bound, of which so many are taken."""
    return Element(None, Child("Number", "value", NUMBER, 1, 0, limit))


def written(element, value):
    writer = BitWriter()
    element.write(writer, value, "List")
    return writer.finish()


def test_a_list_without_a_bound_in_the_schema_has_ours():
    numbers = tuple(range(9))
    exi = written(many(9), numbers)
    assert many(9).read(BitReader(exi), "List") == numbers
    with pytest.raises(MalformedError, match="List holds more than 8 Number"):
        many(8).read(BitReader(exi), "List")
    with pytest.raises(MalformedError, match="List holds 9 Number; 8 are allowed"):
        written(many(8), numbers)


def test_a_list_of_at_most_n_ends_after_the_nth_without_being_asked():
    """EXI 8.5.4.1.5: the state behind the last one has one production, so its code takes one bit, not two."""
    bounded = Element(None, Child("Number", "value", NUMBER, 1, 2))
    one, two, unbounded = written(bounded, (1,)), written(bounded, (1, 2)), written(many(2), (1, 2))
    # Each number takes 10 bits behind its code; codes take 1 bit, then 2, then 1.
    assert [len(exi) for exi in (one, two, unbounded)] == [2, 3, 4]
    assert bounded.read(BitReader(two), "List") == (1, 2)


def test_an_element_that_lacks_a_part_is_not_written():
    with pytest.raises(MalformedError, match="List needs Number here"):
        written(many(2), ())
