import json
from datetime import UTC, datetime, timedelta

import pytest

from core.cache.entry import Entry, Mark, seal, unseal, unseal_mark

SOON = datetime(2026, 11, 21, 12, 0, 0, 123_456, tzinfo=UTC)
ENTRY = Entry(7, 41, '{"busy": false}', SOON)
BODIES = ["", "{}", "ünïcödé 🎉", "a\x00b", "\ud800 alone", '"\\"', "x" * 200_000, "\n\r\t", "]", '["'] + [
    chr(code) for code in range(32)
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_what_was_sealed_comes_out_as_it_was(body: str) -> None:
    entry = Entry(2**53 + 1, 2**63, body, SOON)
    sealed = seal("session:1", entry)
    assert sealed.isascii()
    assert unseal("session:1", sealed) == entry


def test_a_sealed_entry_begins_with_its_numbers_for_scripts_to_read() -> None:
    assert seal("k", ENTRY).startswith(f"[7,41,{ENTRY.good_until_us},")


def test_time_keeps_its_microseconds_whatever_its_zone() -> None:
    from datetime import timezone

    there = Entry(1, 1, "", SOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    found = unseal("k", seal("k", there))
    assert found is not None
    assert found.good_until == SOON
    assert found.good_until.utcoffset() == timedelta(0)


def test_no_flipped_bit_goes_unseen() -> None:
    sealed = seal("session:1", ENTRY).encode()
    for place in range(len(sealed)):
        for bit in range(8):
            garbled = bytearray(sealed)
            garbled[place] ^= 1 << bit
            assert unseal("session:1", garbled.decode(errors="replace")) is None, (place, bit)


def test_no_cut_value_is_believed() -> None:
    sealed = seal("session:1", ENTRY)
    assert not [length for length in range(len(sealed)) if unseal("session:1", sealed[:length])]
    assert unseal("session:1", sealed + sealed) is None


def test_the_value_of_another_key_is_not_believed() -> None:
    assert unseal("session:2", seal("session:1", ENTRY)) is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        17,
        [1],
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        "1" * 10_000,
        "[NaN,1,1,1,1]",
        '[1,2,3,"x"]',
        '[1,2,3,"x","y","z"]',
        '["1",2,3,"x","y"]',
        '[true,2,3,"x","y"]',
        "\ud800",
    ],
    ids=range(15),
)
def test_garbage_is_nothing_and_raises_nothing(text: object) -> None:
    assert unseal("k", text) is None
    assert unseal_mark(text) is None


@pytest.mark.parametrize("until", [-1, 10**18, 10**30])
def test_a_well_sealed_time_that_cannot_be_is_nothing(until: int) -> None:
    from core.cache.entry import _digest

    assert unseal("k", json.dumps([1, 1, until, _digest("k", 1, 1, until, "b"), "b"])) is None


@pytest.mark.parametrize(
    ("epoch", "version", "until"),
    [(-1, 0, SOON), (0, -1, SOON), (0, 0, datetime(2026, 1, 1))],  # noqa: DTZ001
)
def test_an_entry_that_no_script_could_compare_cannot_be_made(
    epoch: int, version: int, until: datetime
) -> None:
    with pytest.raises(ValueError, match="aware"):
        Entry(epoch, version, "", until)


def test_marks_come_together_to_the_same_whichever_came_first() -> None:
    marks = [Mark(epoch, version, ended) for epoch in (1, 2) for version in (1, 2) for ended in (False, True)]
    for one in marks:
        for other in marks:
            assert one.joined(other) == other.joined(one)
            for third in marks:
                assert one.joined(other).joined(third) == one.joined(other.joined(third))


def forbidden(mark: Mark, *places: tuple[int, int]) -> list[bool]:
    return [mark.forbids(Entry(epoch, version, "", SOON)) for epoch, version in places]


def test_a_mark_forbids_what_is_older_and_not_what_is_as_new() -> None:
    mark = Mark(5, 10, ended=False)
    assert forbidden(mark, (4, 99), (5, 9), (5, 10), (6, 0)) == [True, True, False, False]


def test_an_end_forbids_its_whole_epoch() -> None:
    mark = Mark(5, 10, ended=True)
    assert forbidden(mark, (4, 99), (5, 10), (5, 11), (6, 0)) == [True, True, True, False]
