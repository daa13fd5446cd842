"""`fraudflow dead-letters`: what could not be scored, why, and sending it again once it can be."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.dead_letters import DeadLetter, open_letters, originals, resend
from infra.errors import InputError
from infra.settings import get_settings
from infra.whole_file import part_of, written_whole

app = typer.Typer(invoke_without_command=True)

Reason = Annotated[str | None, typer.Option(help="Only those with this reason, as the list names it.")]
Key = Annotated[list[str] | None, typer.Option(help="Only this one, by its key; may be given more than once.")]


@app.callback()
def look(
    context: typer.Context,
    reason: Reason = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="All of them, one JSON object a line.")] = False,
) -> None:
    """Show the dead letters that were not sent again: their number by reason, and the newest ones.

    Card numbers are masked. `export` writes the originals, `resend` sends them to the input topic again.
    """
    if context.invoked_subcommand is not None:
        if reason:
            raise typer.BadParameter(f"put --reason behind {context.invoked_subcommand}: here it would do nothing")
        return
    letters = _chosen(reason, None)
    if as_json:
        for letter in letters:
            print(json.dumps(vars(letter) | {"at": letter.at.isoformat()}))
        return
    console = Console()
    if not letters:
        console.print("No dead letters are open.")
        return
    counts = Table("reason", "dead letters", box=None)
    for name, count in Counter(letter.reason for letter in letters).most_common():
        counts.add_row(name, f"{count:,}")
    newest = Table("key", "at (UTC)", "reason", "detail", "value", box=None)
    for letter in reversed(letters[-last:]):
        # As text: what strangers sent is no markup.
        cells = (letter.key, f"{letter.at:%Y-%m-%d %H:%M:%S}", letter.reason, letter.detail, letter.preview[:80])
        newest.add_row(*(Text(cell) for cell in cells))
    console.print(counts, "", newest)


@app.command("export")
def export(file: Path, reason: Reason = None, key: Key = None) -> None:
    """Write the originals to FILE, one JSON object {"key", "value"} a line, to be repaired.

    They are as they were sent: card numbers are not masked, and only you may read the file.
    """
    written = 0
    part = part_of(file)
    try:
        with written_whole(file):
            # Made anew, for one that is there may be for others to read.
            part.unlink(missing_ok=True)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                for original in originals(get_settings().kafka, _chosen(reason, key)):
                    value = original.value.decode(errors="surrogateescape")
                    out.write(json.dumps({"key": original.letter.key, "value": value}) + "\n")
                    written += 1
    except OSError as error:
        raise InputError(file, f"cannot be written: {error.strerror}") from error
    finally:
        if os.path.lexists(part):
            typer.echo(f"{part} is left, with card numbers in it", err=True)
    typer.echo(f"{written:,} originals written to {file}: repair the values, then `resend --repaired {file}`")


@app.command("resend")
def send_again(
    reason: Reason = None,
    key: Key = None,
    repaired: Annotated[
        Path | None,
        typer.Option(help="A file like those of `export`: its values are sent, and only those of its keys."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send the originals to the input topic again, each once, and close their dead letters.

    For what can be scored by now: after the features of an unknown customer were loaded, say.
    """
    values = _repaired(repaired) if repaired else {}
    letters = _chosen(reason, key)
    if repaired:
        letters = [letter for letter in letters if letter.key in values]
    if not letters:
        typer.echo("No dead letters to send again.")
        return
    if not yes:
        typer.confirm(f"Send {len(letters):,} transactions again?", abort=True)
    sent, gone = resend(get_settings().kafka, {letter.key for letter in letters}, values)
    typer.echo(f"{sent:,} transactions sent again")
    if gone:
        typer.echo(f"{len(gone):,} stay: the input topic has their originals no more, {gone[0].key} for one", err=True)
        raise typer.Exit(1)


def _chosen(reason: str | None, keys: list[str] | None) -> list[DeadLetter]:
    letters = open_letters(get_settings().kafka)
    return [x for x in letters if reason in (None, x.reason) and (not keys or x.key in keys)]


def _repaired(file: Path) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            value = row["value"]
            text = value if isinstance(value, str) else json.dumps(value)
            values[row["key"]] = text.encode(errors="surrogateescape")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(str(file), f'line {number}: is not {{"key": ..., "value": ...}}') from error
    return values
