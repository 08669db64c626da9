"""The text of an API key."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.api_key import RANDOM_BYTES, key_of, well_formed

LETTERS = string.ascii_letters + string.digits + "-_"
OLD = "mst_pl5wi_MZBlpuPiY1quAllrxsziRn_pHmaxaKB6Zhxm0"
NEW = key_of(bytes(range(32)))

randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


def test_what_a_key_looks_like() -> None:
    assert NEW == "mst_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8ST2xeQ"
    assert (len(NEW), len(OLD)) == (53, 47)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        pytest.param(NEW, True, id="with its check"),
        pytest.param(OLD, True, id="of before the check"),
        pytest.param(NEW[:47], True, id="without its check: as one of before"),
        pytest.param(OLD + NEW[47:], False, id="the check of another"),
        pytest.param(NEW[:-1], False, id="its last character lost"),
        pytest.param(NEW + "A", False, id="one more character"),
        pytest.param(OLD[:-1], False, id="of before, its last character lost"),
        pytest.param(OLD + "=", False, id="of before, padded"),
        pytest.param("", False, id="empty"),
        pytest.param("mst_", False, id="the prefix alone"),
        pytest.param("MST_" + OLD[4:], False, id="the prefix in capitals"),
        pytest.param("sk__" + OLD[4:], False, id="another prefix"),
        pytest.param(OLD[:-1] + " ", False, id="a space"),
        pytest.param(OLD[:-1] + "\n", False, id="a line break"),
        pytest.param(OLD[:-1] + "+", False, id="base64 of the other kind"),
        pytest.param(OLD[:-1] + "é", False, id="a letter that is not ASCII"),
        pytest.param(OLD[:-1] + "٣", False, id="a digit that is not ASCII"),
        pytest.param(NEW[:-1] + "é", False, id="a check that is not ASCII"),
        pytest.param(NEW[:-1] + "\ud800", False, id="half of a surrogate pair"),
        pytest.param("mst_" + "A" * 10_240, False, id="10 KB"),
    ],
)
def test_well_formed(text: str, good: bool) -> None:  # noqa: FBT001
    assert well_formed(text) is good


@given(randoms)
def test_every_key_that_is_made_is_well_formed(random: bytes) -> None:
    assert well_formed(key_of(random))


@given(randoms, st.integers(0, 52), st.sampled_from(LETTERS))
def test_one_wrong_character_is_noticed(random: bytes, place: int, letter: str) -> None:
    key = key_of(random)
    mistyped = key[:place] + letter + key[place + 1 :]
    assert well_formed(mistyped) is (mistyped == key)


@given(randoms, st.integers(4, 51))
def test_two_characters_in_the_wrong_order_are_noticed(random: bytes, place: int) -> None:
    key = key_of(random)
    mistyped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert well_formed(mistyped) is (mistyped == key)
