"""How numbers, money, times and cards are written for people."""

import html
import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

DASH = "–"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

# 13 digits or more, spaced or dashed as people write them; in a word of letters they are part of a name.
_DIGITS = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,}(?![0-9A-Za-z])")
_DIGITS_ANYWHERE = re.compile(r"\d(?:[ -]?\d){12,}")
_CARD_SIZES = range(13, 20)  # ISO/IEC 7812


def count(value: float | None) -> str:
    """12,345."""
    return DASH if value is None else f"{value:,.0f}"


def money(value: float | None, currency: str = "$") -> str:
    """$1,234.50; from a hundred thousand on $123.5 K, $1.23 M, $4.57 B."""
    if value is None:
        return DASH
    sign, size = ("−" if value < 0 else ""), abs(value)
    for unit, name in ((1e9, " B"), (1e6, " M")):
        if size >= unit:
            return f"{sign}{currency}{size / unit:,.2f}{name}"
    if size >= 1e5:
        return f"{sign}{currency}{size / 1e3:,.1f} K"
    return f"{sign}{currency}{size:,.2f}"


def share(part: float | None, whole: float | None) -> str:
    """1.25 %."""
    return DASH if not whole or part is None else f"{100 * part / whole:.2f} %"


def kilometres(value: float | None) -> str:
    """1,234 km."""
    return f"{value or 0:,.0f} km"


def milliseconds(value: float | None) -> str:
    """8.3 ms, 1.20 s."""
    if value is None:
        return DASH
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def duration(seconds: float) -> str:
    """4 s, 2 min 5 s, 3 h 10 min, 2 d 4 h."""
    left = max(0, int(seconds))
    parts = []
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def ago(moment: datetime | None) -> str:
    """3 s ago."""
    return DASH if moment is None else f"{duration((datetime.now(UTC) - moment).total_seconds())} ago"


def clock(moment: datetime | None, zone: str) -> str:
    """14:03:09 CET; with the day if it is another one."""
    if moment is None:
        return DASH
    local = moment.astimezone(ZoneInfo(zone))
    today = datetime.now(ZoneInfo(zone)).date()
    return f"{local:%H:%M:%S %Z}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S %Z}"


def written(moment: str, zone: str) -> str:
    """What a record has for a time, ISO 8601, like `clock`; as it stands if it is none."""
    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return clock(read if read.tzinfo else read.replace(tzinfo=UTC), zone)


def card(last4: str | None) -> str:
    """•••• 1234."""
    return f"•••• {last4}" if last4 else DASH


def plain(text: object) -> str:
    """Text for a Plotly label, which would take `<b>` for a tag; card numbers in it masked."""
    return html.escape(masked(str(text)), quote=False)


def markdown(text: object) -> str:
    """Text for a place that reads Markdown: shown as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$~:&-])", r"\\\1", str(text))


def masked(value: Any) -> Any:
    """A cell with every card number in it masked but for its last four digits."""
    if isinstance(value, str):
        return _DIGITS.sub(_mask_cards, value)
    if isinstance(value, int) and not isinstance(value, bool) and _is_card(str(value)):
        return _stars(str(value))
    return value


def masked_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with every cell masked."""
    columns = []
    for column in frame.iter_columns():
        cells = column.to_list()
        hidden = [masked(cell) for cell in cells]
        columns.append(
            column if hidden == cells else pl.Series(column.name, [None if c is None else str(c) for c in hidden])
        )
    return pl.DataFrame(columns)


def masked_note(text: str) -> str:
    """What a person wrote, with all masked that may be a card number, be its check digit right or not."""
    return _DIGITS_ANYWHERE.sub(lambda match: _stars(re.sub(r"\D", "", match[0])), text)


def _mask_cards(match: re.Match[str]) -> str:
    """The groups of digits, with each card masked that one or several of them in a row make up."""
    groups = re.split(r"([ -])", match[0])  # groups and what stands between them, in turn
    at = 0
    while at < len(groups):
        # A card has no more groups than digits, and one separator less.
        for end in range(min(len(groups), at + 2 * _CARD_SIZES[-1] - 1), at, -2):
            digits = "".join(groups[at:end:2])
            if _is_card(digits):
                groups[at:end] = [_stars(digits)]
                break
        at += 2
    return "".join(groups)


def _is_card(digits: str) -> bool:
    """Whether the digits have a card number's length and check digit (Luhn, ISO/IEC 7812-1)."""
    if len(digits) not in _CARD_SIZES or not digits.isdecimal():
        return False
    doubled = [int(d) * 2 if i % 2 else int(d) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _stars(digits: str) -> str:
    return "*" * (len(digits) - 4) + digits[-4:]
