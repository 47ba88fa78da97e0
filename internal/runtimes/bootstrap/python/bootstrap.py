"""Davy's bootstrap of the managed Python runtimes. Booted, it waits to be
assigned a function (INIT), loads its handler and runs one INVOKE at a time.
"""

import json
import logging
import os
import sys
import time

import davy_channel as channel
import davy_errors as errors
import davy_handler
import davy_json
import davy_logging
import davy_trust
from davy_context import LambdaContext

MAX_RESPONSE = 6291556  # bytes; 6 MB and AWS's allowance for the envelope

# AWS's own words, which tools look for.
WARNING = (
    "LAMBDA_WARNING: Unhandled exception. The most likely cause is an issue in the function code. "
    "However, in rare cases, a Lambda runtime update can cause unexpected function behavior. "
    "For functions using managed runtimes, runtime updates can be triggered by a function change, or can be applied automatically. "
    "To determine if the runtime has been updated, check the runtime version in the INIT_START log entry. "
    "If this error correlates with a change in the runtime version, you may be able to mitigate this error by temporarily rolling back to the previous runtime version. "
    "For more information, see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html\r"
)


def init(env, handler, taskRoot, caFile="", trustedSuffixes=(), **_):
    os.environ.update(env)
    time.tzset()
    os.chdir(taskRoot)
    davy_handler.set_path(taskRoot)
    davy_logging.install()
    if caFile:
        davy_trust.install(caFile, tuple(trustedSuffixes))
    try:
        return davy_handler.load(handler)
    except Exception as e:
        result = errors.describe(e)
    logging.warning(WARNING)
    davy_logging.failure(result)
    channel.send(channel.INIT_ERROR, davy_json.dumps(result).encode("utf-8", "backslashreplace"))
    sys.exit(1)


def client_context(text):
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as e:
        raise errors.Fault("LambdaContextUnmarshalError", f"Unable to parse Client Context JSON: {e}")


def answer(handler, meta, payload):
    """Runs the handler and returns the bytes of its response."""
    context = LambdaContext(
        meta["id"], meta["arn"], meta["deadline"], client_context(meta.get("clientContext")), davy_logging.event
    )
    try:
        event = davy_json.loads(payload)
    except Exception as e:
        raise errors.Fault("UnmarshalError", f"Unable to unmarshal input: {e}")
    response = handler(event, context)
    if isinstance(response, bytes):
        return response
    try:
        return davy_json.dumps(response).encode()
    except Exception as e:
        raise errors.Fault("MarshalError", f"Unable to marshal response: {e}")


def invoke(handler, meta, payload):
    request_id = meta["id"]
    davy_logging.set_request_id(request_id)
    if meta.get("trace"):
        os.environ["_X_AMZN_TRACE_ID"] = meta["trace"]
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    try:
        response = answer(handler, meta, payload)
    except Exception as e:
        if not channel.is_ours():
            raise  # a forked child came back from the handler
        result = errors.describe(e, request_id)
        davy_logging.failure(result)
        text = davy_json.dumps(result).encode("utf-8", "backslashreplace")
        channel.send_with(channel.ERROR, {"id": request_id}, text)
        return
    if not channel.is_ours():
        os._exit(0)  # as above
    if len(response) > MAX_RESPONSE:
        davy_logging.event("[ERROR] [%d] %s\n" % (time.time() * 1000, errors.REFUSED))
        channel.send(channel.TOO_LARGE, json.dumps({"id": request_id, "size": len(response)}).encode())
    else:
        channel.send_with(channel.RESPONSE, {"id": request_id}, response)


def main():
    channel.start()
    channel.send(channel.BOOTED, json.dumps({"python": sys.version.split()[0]}).encode())
    _, meta, _ = channel.receive()
    handler = init(**meta)
    channel.send(channel.READY, b"{}")
    while True:
        kind, meta, payload = channel.receive()
        if kind == channel.INVOKE:
            invoke(handler, meta, payload)
        elif kind == channel.TERMINATE:
            os.kill(os.getpid(), 15)  # SIGTERM


main()
