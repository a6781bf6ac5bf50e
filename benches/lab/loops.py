"""What the generators of load that are written here share: TLS clients, prepared requests, and one line that says how it went."""

import json
import pathlib
import ssl

HOST = "127.0.0.1"


def context(*protocols):
    """A client that verifies nothing, and that never resumes a session: none is ever given to it."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    found.set_alpn_protocols(list(protocols))
    return found


def heads(path):
    """The requests of a file, as bytes."""
    return [head + b"\r\n\r\n" for head in pathlib.Path(path).read_bytes().split(b"\r\n\r\n")[:-1]]


def percentile(values, share):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def tell(**result):
    print("RESULT " + json.dumps(result), flush=True)
