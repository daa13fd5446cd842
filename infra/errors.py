"""The two kinds of error: one worth another try, one that a person must mend."""


class FraudflowError(Exception):
    """Root of every error that fraudflow raises on purpose. The message says what to do next."""


class TransientError(FraudflowError):
    """The same call may work in a moment: a broker restarts, a member is busy. Tasks retry these."""


class TerminalError(FraudflowError):
    """Trying again changes nothing until somebody mends the input or the settings. Told at once."""


class InputError(TerminalError):
    """A file or a row of it cannot be used."""

    def __init__(self, path: object, problem: str, *, line: int | None = None, column: str | None = None):
        """Args: `line` counts from 1 with the header as line 1; `column` is the header's name."""
        self.path, self.line, self.column, self.problem = path, line, column, problem
        where = f"{path}" + (f", line {line}" if line else "") + (f", column {column}" if column else "")
        super().__init__(f"{where}: {problem}")


def passes(status: int) -> bool:
    """Whether HTTP's answer of this status may be another one in a moment: the server fails, or says "not now"."""
    return status >= 500 or status in {408, 429}
