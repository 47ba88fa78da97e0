"""The control channel to Davy: frames over two inherited pipes.

    +----------------+---------+---------------------------------------+
    | length, u32 BE | type u8 | body (length bytes)                   |
    +----------------+---------+---------------------------------------+

A body is text, or JSON metadata and bytes: u32 BE length of the metadata, the
metadata, the bytes. What was written before a crash or an exit arrives, in the
order it was written, whichever thread wrote it.
"""

import json
import os
from _thread import RLock

INIT = 1
INVOKE = 2
TERMINATE = 4
BOOTED = 16
READY = 17
INIT_ERROR = 18
RESPONSE = 19
ERROR = 20
LOG = 21
OUTPUT = 22
TOO_LARGE = 23

_IN = 3
_OUT = 4
_HEADER = 5
_CHUNK = 64 << 10

_lock = RLock()
_buffer = bytearray()
_ours = True  # False in a forked child: the channel belongs to its parent


def start():
    """Keeps the channel from this process's children."""
    os.set_inheritable(_IN, False)
    os.set_inheritable(_OUT, False)
    os.register_at_fork(after_in_child=_forked)


def _forked():
    global _ours, _lock
    _ours = False
    _lock = RLock()


def is_ours():
    return _ours


def _fill(size):
    while len(_buffer) < size:
        chunk = os.read(_IN, max(_CHUNK, size - len(_buffer)))
        if not chunk:
            os._exit(0)  # Davy is gone: nothing is left to run for
        _buffer.extend(chunk)


def receive():
    """Waits for a frame: its type, metadata and bytes."""
    _fill(_HEADER)
    end = _HEADER + int.from_bytes(_buffer[:4], "big")
    kind = _buffer[4]
    _fill(end)
    start = _HEADER + 4 + int.from_bytes(_buffer[_HEADER : _HEADER + 4], "big")
    meta = json.loads(_buffer[_HEADER + 4 : start])
    payload = bytes(_buffer[start:end])
    del _buffer[:end]
    return kind, meta, payload


def send(kind, body):
    """Writes a frame whose body is bytes."""
    frame = len(body).to_bytes(4, "big") + bytes((kind,)) + body
    with _lock:
        written = os.write(_OUT, frame)
        while written < len(frame):
            rest = memoryview(frame)[written:]
            written += os.write(_OUT, rest)


def send_with(kind, meta, payload):
    """Writes a frame of metadata and bytes."""
    text = json.dumps(meta).encode()
    send(kind, len(text).to_bytes(4, "big") + text + payload)
