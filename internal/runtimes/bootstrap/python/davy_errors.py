"""Errors in the shapes that AWS's Python runtime gives them: to the caller and
in the log. https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
"""

import os
import traceback

_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + "/"
_INDENT = "\u00a0"  # no-break space: log viewers keep it

# In the log, when Lambda takes no response of that size.
REFUSED = "LAMBDA_RUNTIME Failed to post handler success response. Http response code: 413."


class Fault(Exception):
    """An error that the runtime, not the function, words."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind = "Runtime." + kind
        self.trace = list(trace)


def describe(error, request_id=""):
    """The error as its caller receives it."""
    if isinstance(error, Fault):
        return _result(str(error), error.kind, request_id, error.trace)
    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
    own = 0
    while own < len(frames) and frames[own][0].startswith(_OWN_FOLDER):
        own += 1
    if own < len(frames):
        frames = frames[own:]
    return _result(str(error), type(error).__name__, request_id, traceback.format_list(frames))


def _result(message, kind, request_id, trace):
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}


def logged(result):
    """The error as it appears in the log: one event."""
    head = "[ERROR] " + result["errorType"]
    if result["errorMessage"]:
        head += ": " + result["errorMessage"]
    lines = [head, "Traceback (most recent call last):"]
    for element in result["stackTrace"]:
        for line in element.splitlines():
            text = line.lstrip(" ")
            lines.append(_INDENT * (len(line) - len(text)) + text)
    return "\n".join(lines)
