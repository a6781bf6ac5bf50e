"""Whether a contestant wrote down what it did: a line a request, with the status it gave and the facts that all contestants log."""

import json
import time

SAMPLES = 40
PATIENCE = 8
PIECE = 1 << 22


def wait_until_written(gateway, requests):
    """How many lines there are once all requests have theirs, or patience ends."""
    deadline = time.monotonic() + PATIENCE
    while (found := count(gateway, b"\n")) < requests and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def count(gateway, text):
    found, rest = 0, b""
    with gateway.log.open("rb") as file:
        file.seek(gateway.log_start)
        while piece := file.read(PIECE):
            found += (rest + piece).count(text)
            # What may be the beginning of one, and is too short to be one.
            rest = piece[len(piece) - len(text) + 1:] if len(text) > 1 else b""
    return found


def faults(gateway, result, status, facts):
    """What is wrong with the lines of a run; nothing, most of the time.

    `result.in_flight` requests may have begun and not counted: when wrk has enough it hangs up.
    """
    lines = wait_until_written(gateway, result.requests)
    right = count(gateway, f'"{gateway.log_names["status"]}":{status}'.encode())
    if not result.requests <= lines <= result.requests + result.in_flight:
        return [f"{lines} log lines for {result.requests} requests"]
    if right < result.requests:
        return [f"{right} of {lines} log lines say status {status}"]
    return sample_faults(gateway, status, facts)


def sample_faults(gateway, status, facts):
    """`facts`: {name: a set of what may stand there, or a function that says whether it may}"""
    size = gateway.log.stat().st_size - gateway.log_start
    found = []
    with gateway.log.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(gateway.log_start + size * number // (SAMPLES + 10))
            if number:
                file.readline()
            found += line_faults(file.readline(), gateway.log_names, {"status": {status}} | facts)
    return found[:3]


def line_faults(line, names, facts):
    try:
        record = json.loads(line)
    except ValueError:
        return [f"no JSON: {line[:200]!r}"]
    missing = [name for name in names.values() if record.get(name) in (None, "", "-")]
    if missing:
        return [f"a log line without {', '.join(missing)}: {line[:300]!r}"]
    return [
        f"a log line says {name} {record[names[name]]!r}"
        for name, allowed in facts.items()
        if not (allowed(record[names[name]]) if callable(allowed) else record[names[name]] in allowed)
    ]
