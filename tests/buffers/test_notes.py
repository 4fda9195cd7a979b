"""Which records have ended: bits and sizes, in sectors that are told once when they change."""

from hypothesis import given
from hypothesis import strategies as st

from aiotrack.buffers.file.format import BITS, MOST_RECORDS
from aiotrack.buffers.file.notes import Notes

stretches = st.lists(st.tuples(st.integers(0, MOST_RECORDS - 1), st.integers(1, 3 * BITS)), min_size=1, max_size=6)


@given(stretches, st.booleans())
def test_what_has_ended_is_known_by_index_and_sector(stretches, as_lists):
    notes, ended, told = Notes(), set(), {}
    for first, length in stretches:
        new = range(first, min(first + length, MOST_RECORDS))
        if ended.intersection(new):
            continue
        indices = list(new)[::2] if as_lists else new
        notes.end(indices, [index % 7 for index in indices])
        ended.update(indices)
        changed = notes.changed()
        assert {sector.number for sector in changed} == {index // BITS for index in indices}
        told |= {sector.number: sector for sector in changed}
        assert notes.changed() == []
    again = Notes(list(told.values()))
    for one in (notes, again):
        assert one.ended == len(ended)
        assert one.size == sum(index % 7 for index in ended)
        assert one.between(0, MOST_RECORDS) == len(ended)
        first, last = min(ended), max(ended)
        assert one.between(first, last + 1) == len(ended)
        assert one.between(first + 1, last + 1) == len(ended) - 1
        assert all(one.has(index) for index in (first, last))
        assert not any(one.has(index) for index in (first - 1, last + 1) if 0 <= index < MOST_RECORDS)
