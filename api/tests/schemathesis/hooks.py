"""What the description cannot say: a binary string is a picture, or is refused."""

import base64

import schemathesis
from hypothesis import strategies as st

# The smallest PNG: one black pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)

schemathesis.openapi.format("binary", st.just(PNG))
schemathesis.openapi.media_type("application/octet-stream", st.just(PNG))
schemathesis.openapi.media_type("image/*", st.just(PNG), aliases=["image/png"])

# A manifest, which every type of a batch's upload may hold.
MANIFEST = b'{"key": "a.jpg"}\n'
for kind in ("application/zip", "application/x-tar", "application/gzip", "application/x-ndjson", "text/csv"):
    schemathesis.openapi.media_type(kind, st.just(MANIFEST))


@schemathesis.hook
def before_call(context, case, kwargs):
    """A job that nobody runs is waited for as long as is asked: a second is enough here."""
    for name in case.headers or {}:
        if name.lower() == "prefer" and "wait=" in str(case.headers[name]):
            case.headers[name] = "wait=1"
