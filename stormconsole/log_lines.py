"""Log lines that stay lines, whatever a name in them holds."""

import logging

from storms.hostile import log_safe


class LineFormatter(logging.Formatter):
    """Escapes control characters in the message; a traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the base class named it)
        record.message = log_safe(record.message)
        return super().formatMessage(record)
