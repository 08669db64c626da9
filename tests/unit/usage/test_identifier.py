"""What an id may be, and what may be asked for as one."""

import pytest

from meterstone.usage.identifier import checked_id, is_text


@pytest.mark.parametrize("text", ["a", "a b", "é", "x" * 255, "a#b/%00", "-", "😀"])
def test_ids(text: str) -> None:
    assert checked_id(text) == text


@pytest.mark.parametrize("text", ["", " ", "a ", "\ta", "a\0b", "a\x7f", "\ud800", "x" * 256, "a\u2028b"])
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"must not|has 256"):
        checked_id(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "~", "\xa0", "é", "\ud7ff", "\ue000", "😀"])
def test_is_text(text: str) -> None:
    assert is_text(text)


@pytest.mark.parametrize(
    "char", ["\0", "\n", "\x1f", "\x7f", "\x80", "\x9f", chr(0xD800), chr(0xDFFF)], ids=ascii
)
def test_a_control_character_or_half_of_a_pair_is_no_text(char: str) -> None:
    assert not is_text(f"a{char}b")
