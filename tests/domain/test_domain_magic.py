from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain import magic

INSTANCES = st.integers(0, 999)
SEQUENCES = st.integers(1, 99_999_999)


def test_a_magic_is_base_then_instance_then_sequence_as_in_the_specification():
    assert magic.make(17, 123) == 445401700000123  # the example of engine.md D1


@given(instance=INSTANCES, sequence=SEQUENCES)
def test_a_magic_has_fifteen_digits_survives_a_json_reader_and_gives_its_parts_back(instance, sequence):
    number = magic.make(instance, sequence)
    assert len(str(number)) == 15
    assert int(float(number)) == number < 2**53
    assert magic.ours(number)
    assert magic.sequence_of(number, instance) == sequence


@given(a=st.tuples(INSTANCES, SEQUENCES), b=st.tuples(INSTANCES, SEQUENCES))
def test_no_two_intents_share_a_magic(a, b):
    assert (magic.make(*a) == magic.make(*b)) == (a == b)


def test_the_magic_of_another_database_is_ours_but_has_no_sequence_here():
    other = magic.make(18, 123)
    assert magic.ours(other)
    assert magic.sequence_of(other, 17) is None


@pytest.mark.parametrize("number", [0, 77, 4454, 445_300_000_000_001, 445_500_000_000_001, 4_454_017_000_001_230])
def test_the_magic_of_another_program_is_not_ours(number):
    assert not magic.ours(number)
    assert magic.sequence_of(number, 17) is None


@pytest.mark.parametrize(("instance", "sequence"), [(-1, 1), (1000, 1), (0, 0), (0, 100_000_000)])
def test_a_number_that_does_not_fit_is_refused(instance, sequence):
    with pytest.raises(ValueError, match="no magic"):
        magic.make(instance, sequence)
