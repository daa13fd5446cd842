"""Card numbers on pages and in notes: masked however they are written, and other numbers left alone."""

import pytest

from dashboard.show import masked, masked_note

CARD = "4000001234567899"
HIDDEN = "************7899"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CARD, HIDDEN),
        ("4000 0012 3456 7899", HIDDEN),
        ("4000-0012-3456-7899", HIDDEN),
        (f"{CARD} 12/27", f"{HIDDEN} 12/27"),
        (f"12 {CARD}", f"12 {HIDDEN}"),
        (f"5 {CARD}", f"5 {HIDDEN}"),
        ("7 4000 0012 3456 7899 12", f"7 {HIDDEN} 12"),
        (f"{CARD} {CARD}", f"{HIDDEN} {HIDDEN}"),
        ("1764490000001", "1764490000001"),
        ("2025 03 04 05 06 07", "2025 03 04 05 06 07"),
        (f"a{CARD}", f"a{CARD}"),  # of a transaction's name
        (int(CARD), HIDDEN),
        (1_234_567_890_123, 1_234_567_890_123),
        (None, None),
    ],
)
def test_a_card_number_is_masked(text: object, shown: object):
    assert masked(text) == shown


@pytest.mark.parametrize("text", [CARD, f"cc{CARD}", f"{CARD}12/27", "4000 0012 3456 7890", f"{CARD}0"])
def test_in_a_note_whatever_may_be_one_is(text: str):
    assert "40000012" not in masked_note(text).replace(" ", "")
    assert masked_note("call 555 0123 at 10:30") == "call 555 0123 at 10:30"


def test_a_long_row_of_digits_takes_no_longer_than_it_must():
    row = "1 " * 20_000
    assert masked(row) == row
    assert masked(f"{row}{CARD}").endswith(HIDDEN)
