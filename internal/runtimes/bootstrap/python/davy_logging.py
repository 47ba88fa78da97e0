"""Logging in AWS's two formats, text and JSON, and what is written to stdout
and stderr.
https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

import io
import logging
import os
import sys
import time

import davy_channel as channel
import davy_errors as errors
import davy_json

_MAX_EVENT = 256 << 10  # bytes of one log event
_LEVELS = {"TRACE": "DEBUG", "FATAL": "CRITICAL"}

_request_id = ""


def set_request_id(request_id):
    global _request_id
    _request_id = request_id


def event(text):
    """Sends one log event."""
    body = text.encode("utf-8", "backslashreplace")
    for at in range(0, len(body), _MAX_EVENT):
        channel.send(channel.LOG, body[at : at + _MAX_EVENT])


class _Output(io.RawIOBase):
    """Writes of this process travel in the channel, so they keep their place
    among log events. Its children write to the pipes."""

    def __init__(self, descriptor):
        super().__init__()
        self._descriptor = descriptor

    def fileno(self):
        return self._descriptor

    def writable(self):
        return True

    def write(self, data):
        if not channel.is_ours():
            return os.write(self._descriptor, data)
        data = bytes(data)
        for at in range(0, len(data), _MAX_EVENT):
            channel.send(channel.OUTPUT, data[at : at + _MAX_EVENT])
        return len(data)


class _Handler(logging.Handler):
    def emit(self, record):
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if channel.is_ours():
            event(text)
        else:
            sys.stdout.write(text)


class _RequestID(logging.Filter):
    def filter(self, record):
        record.aws_request_id = _request_id
        record.tenant_id = None
        return True


def is_json():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


_JSON_TIME = "%Y-%m-%dT%H:%M:%SZ"

# Attributes that every record has. Others come from the function: extra.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "aws_request_id", "tenant_id"}


class _JSONFormatter(logging.Formatter):
    def __init__(self):
        super().__init__(datefmt=_JSON_TIME)

    def format(self, record):
        import json

        plain = isinstance(record.msg, dict) and not record.args
        record.levelno = min(50, max(0, record.levelno)) // 10 * 10
        record.levelname = logging.getLevelName(record.levelno)
        line = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": record.levelname,
            "message": record.msg if plain else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            kind, error, trace = record.exc_info
            if kind is not None:
                import traceback

                line["stackTrace"] = traceback.format_tb(trace)
                line["errorType"] = kind.__name__
                line["errorMessage"] = str(error)
        line["requestId"] = record.aws_request_id
        if record.exc_info:
            line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        extra = {k: v for k, v in vars(record).items() if k not in _USUAL and k not in line and v is not None}
        return json.dumps({**line, **extra}, ensure_ascii=False, default=str) + "\n"


def failure(result):
    """Writes the error that ended an invocation, or all."""
    if not is_json():
        event(errors.logged(result))
        return
    stamp = time.strftime(_JSON_TIME, time.gmtime())
    event(davy_json.dumps({"timestamp": stamp, "level": "ERROR", **result}))


def install():
    sys.stdout = io.TextIOWrapper(_Output(1), encoding="utf-8", errors="strict", newline="\n", write_through=True)
    sys.stderr = io.TextIOWrapper(_Output(2), encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
    logging.Formatter.converter = time.gmtime
    handler = _Handler()
    text = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n",
        "%Y-%m-%dT%H:%M:%S",
    )
    handler.setFormatter(_JSONFormatter() if is_json() else text)
    handler.addFilter(_RequestID())
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = _LEVELS.get(level, level)
    if level in ("DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL"):
        root.setLevel(level)
