"""Records in a file that only grows: cut it anywhere, change any byte, and no wrong record is ever read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodelink_agent import records
from nodelink_agent.records import MAX_PAYLOAD, Damage, Format, Record, Scan, UnknownFormat, encode, scan

FORMAT = Format(b"tst", 1)
RECORDS = [Record(1, b'{"a":1}'), Record(2, b""), Record(255, b"x" * 40), Record(3, b'{"end":true}')]
FRAMES = [encode(record.kind, record.payload) for record in RECORDS]
WHOLE = FORMAT.header + b"".join(FRAMES)
ENDS = [len(FORMAT.header) + sum(map(len, FRAMES[:count])) for count in range(len(FRAMES) + 1)]
"""Where the file ends with no record, with one, and so on."""


def test_what_was_written_is_read() -> None:
    assert scan(WHOLE, FORMAT) == Scan(RECORDS, len(WHOLE), Damage.NONE)


def test_an_empty_file_is_whole_and_needs_its_header() -> None:
    assert scan(b"", FORMAT) == Scan()


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_file_cut_anywhere_keeps_every_record_before_the_cut(length: int) -> None:
    found = scan(WHOLE[:length], FORMAT)
    whole = [count for count, end in enumerate(ENDS) if end <= length]
    assert list(found.records) == RECORDS[: max(whole, default=0)]
    assert found.end == max((end for end in ENDS if end <= length), default=0)
    assert found.damage is (Damage.NONE if length in ENDS else Damage.TORN)
    assert not found.rescued


@pytest.mark.parametrize("place", range(len(WHOLE)))
def test_a_changed_byte_loses_its_own_record_and_no_other(place: int) -> None:
    hit = sum(end <= place for end in ENDS) - 1  # -1: the header
    for mask in (0x01, 0x80, 0xFF):
        data = bytearray(WHOLE)
        data[place] ^= mask
        found = scan(bytes(data), FORMAT)
        assert list(found.records) == RECORDS[: max(hit, 0)]
        assert found.end == (ENDS[hit] if hit >= 0 else 0)
        assert list(found.rescued) == RECORDS[hit + 1 :]
        assert found.damage is (Damage.TORN if hit == len(RECORDS) - 1 else Damage.MIDDLE)


def test_two_damages_are_both_stepped_over() -> None:
    data = bytearray(WHOLE)
    data[ENDS[0]] ^= 1
    data[ENDS[2]] ^= 1
    found = scan(bytes(data), FORMAT)
    assert (found.damage, list(found.records)) == (Damage.MIDDLE, [])
    assert list(found.rescued) == [RECORDS[1], RECORDS[3]]


def test_zeros_behind_the_end_are_a_torn_tail() -> None:
    found = scan(WHOLE + bytes(4096), FORMAT)
    assert (list(found.records), found.end, found.damage) == (RECORDS, len(WHOLE), Damage.TORN)


def test_a_header_of_another_version_or_name_is_refused() -> None:
    for other in (Format(b"tst", 2), Format(b"oth", 1)):
        with pytest.raises(UnknownFormat):
            scan(WHOLE, other)


def test_a_record_that_no_reader_would_accept_is_not_written() -> None:
    largest = encode(1, b"x" * MAX_PAYLOAD)
    assert scan(FORMAT.header + largest, FORMAT).damage is Damage.NONE
    with pytest.raises(ValueError, match="too large"):
        encode(1, b"x" * (MAX_PAYLOAD + 1))


def test_a_record_that_is_too_large_is_not_read_whatever_its_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as generous:
        generous.setattr(records, "MAX_PAYLOAD", MAX_PAYLOAD + 1)
        data = FORMAT.header + encode(1, b"x" * (MAX_PAYLOAD + 1))
        assert scan(data, FORMAT).damage is Damage.NONE
    assert scan(data, FORMAT).damage is Damage.TORN


def test_a_record_within_the_text_of_a_damaged_one_is_not_believed() -> None:
    text = encode(1, b"{}").decode("latin-1")
    outer = encode(2, text.encode("ascii", "backslashreplace").replace(b"\0", b"\\u0000"))
    data = bytearray(FORMAT.header + outer + FRAMES[0])
    data[len(FORMAT.header)] ^= 1
    assert list(scan(bytes(data), FORMAT).rescued) == [RECORDS[0]]


@given(st.binary(max_size=300))
def test_anything_can_be_scanned(data: bytes) -> None:
    found = scan(FORMAT.header + data, FORMAT)
    kept = b"".join(encode(record.kind, record.payload) for record in found.records)
    assert data.startswith(kept)
    assert found.end == len(FORMAT.header) + len(kept)
