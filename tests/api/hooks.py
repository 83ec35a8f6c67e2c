"""What schemathesis has to know of kproxy's own media types."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """The document describes the lines as an array."""
    if isinstance(value, list):
        return "".join(json.dumps(line) + "\n" for line in value).encode()
    return json.dumps(value).encode()


@schemathesis.serializer("application/vnd.kproxy.records")
def prefixed(ctx, value):
    """Any text makes one record without a key."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"\xff\xff\xff\xff" + len(body).to_bytes(4, "big") + body


@schemathesis.hook
def map_body(context, body):
    """JSON Schema calls 1.0 an integer; kproxy takes digits only."""
    return digits(body)


def digits(value):
    if isinstance(value, dict):
        return {key: digits(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [digits(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
