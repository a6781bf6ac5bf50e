"""Load on a gateway, and what it cost: wrk and h2load, and the generators written here where those cannot do it."""

import dataclasses
import json
import pathlib
import re
import sys

from lab import access_log, loops, traffic
from lab.contestants import LOAD_ADDRESS, TO_ORIGIN

CONNECTIONS = 64
H2_CONNECTIONS, STREAMS = 32, 8
HANDSHAKES_AT_ONCE = 32
PACED_CONNECTIONS, PACED_STREAMS = 128, 4
# At least so much of the pace must be kept, or the latencies are those of something else.
PACE_KEPT = 0.97
# Of the requests of a paced run, those before connections are open and after the first of them have sent all theirs do not count.
STEADY = (0.2, 0.9)
# wire: (tls, form of the prepared requests)
WIRES = {
    "h1 plain": (False, "heads"),
    "h1 TLS": (True, "heads"),
    "h2 TLS": (True, "blocks"),
    "new connections": (False, "closing"),
    "handshakes": (True, "closing"),
}
STATUS = {"allowed": 200, "large": 200, "locked": 403, "listed": 403}
LEAST_BYTES = {"allowed": 1024, "large": 100 * 1024, "locked": 1024, "listed": 1024}


@dataclasses.dataclass
class Result:
    """What a generator of load says, in seconds, bytes and microseconds."""

    requests: int
    seconds: float
    bytes: float
    refused: int
    failed: int
    p50_us: float
    p99_us: float
    # Requests that were under way when it ended, which the gateway may have logged.
    in_flight: int = 0
    resumed: int = 0
    negotiated: dict = dataclasses.field(default_factory=dict)
    faults: list = dataclasses.field(default_factory=list)


def send(lab, gateway, wire, path, seconds, halfway=None):
    """All that fits into so many seconds."""
    tls = WIRES[wire][0]
    if wire == "h2 TLS":
        command = [sys.executable, "-m", "lab.streams", gateway.tls, path, "--seconds", seconds,
                   "--connections", H2_CONNECTIONS, "--streams", STREAMS]
    elif wire == "handshakes":
        command = [sys.executable, "-m", "lab.handshakes", gateway.tls, path, "--seconds", seconds, "--connections", HANDSHAKES_AT_ONCE]
    else:
        script = pathlib.Path(__file__).with_name("requests.lua")
        url = f"{'https' if tls else 'http'}://{LOAD_ADDRESS}:{gateway.port(tls)}/"
        command = ["wrk", "-t", 1, "-c", CONNECTIONS, "-d", f"{seconds}s", "--timeout", "30s", "-s", script, url, "--", path]
    out, messages = lab.run(command, seconds, seconds + 60, halfway)
    found = re.search(r"^RESULT (.*)$", out, re.MULTILINE)
    if not found:
        return Result(0, seconds, 0, 0, 0, 0, 0, faults=[f"{command[0]}: {(out + messages)[-1500:]}"])
    in_flight = CONNECTIONS if command[0] == "wrk" else 0
    return Result(**json.loads(found[1]), in_flight=in_flight)


def paced(lab, gateway, wire, requests, rate, halfway=None):
    """h2load at a pace, or as fast as it can without one.

    A request goes out when its turn has come and its connection has a place free; with 128 connections one nearly always has.
    The time is that from sending to the end of the answer.
    """
    tls = WIRES[wire][0]
    log = lab.folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-n", requests, "-c", PACED_CONNECTIONS, "-t", 1, "--log-file", log]
    command += ["-m", PACED_STREAMS] if wire == "h2 TLS" else ["--h1"]
    command += ["--rps", f"{rate / PACED_CONNECTIONS:.3f}"] if rate else []
    for name, value in PACED_HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    url = f"{'https' if tls else 'http'}://{LOAD_ADDRESS}:{gateway.port(tls)}/products/lamps?color=black"
    expected = requests / rate if rate else 1
    out, messages = lab.run([*command, url], expected, expected * 3 + 60, halfway)
    done = re.search(r"status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx", out)
    if not done or not log.exists():
        return Result(0, expected, 0, 0, 0, 0, 0, faults=[f"h2load: {(out + messages)[-1500:]}"])
    return of_log(log, int(done[1]), int(done[2]), requests, rate)


PACED_HEADERS = {
    **traffic.PAGE, "cookie": "session=6f1b0c64d2a97e10; theme=dark", "x-forwarded-for": "11.22.33.44",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}


def of_log(log, right, refused, requests, rate):
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    begun = sorted(int(row[0]) for row in rows)
    ended = max(int(row[0]) + int(row[2]) for row in rows)
    first, last = (begun[int(len(begun) * share)] for share in STEADY)
    taken = [int(row[2]) for row in rows if first <= int(row[0]) < last]
    seconds = (ended - begun[0]) / 1e6
    kept = len(taken) / max(last - first, 1) * 1e6
    result = Result(
        right + refused, seconds, 0, refused, requests - right - refused,
        loops.percentile(taken, 0.5), loops.percentile(taken, 0.99),
    )
    if rate and kept < rate * PACE_KEPT:
        result.faults.append(f"a pace of {kept:.0f} instead of {rate:.0f} requests/s")
    return result


def measure(lab, gateway, wire, load, facts, sending):
    """One run: what it cost, and why it does not count, if so. `sending(halfway)` makes the load and returns its result."""
    gateway.forget_log()
    accepted = lab.origin.connections_accepted()
    memory = []
    before = gateway.cpu()
    result = sending(lambda: memory.append(gateway.proportional_kib()))
    # The work is not done before the log is written.
    access_log.wait_until_written(gateway, result.requests)
    spent = gateway.cpu() - before
    status = STATUS[load]
    faults = result.faults + result_faults(result, wire, load)
    if not faults:
        faults = access_log.faults(gateway, result, status, facts)
        if wire == "handshakes" and gateway.log_resumed and access_log.count(gateway, gateway.log_resumed.encode()):
            faults.append("the server resumed TLS sessions")
    new = lab.origin.connections_accepted() - accepted - 1
    if new > max(TO_ORIGIN, result.requests / 20):
        faults.append(f"{new} new connections to the origin for {result.requests} requests")
    user, system = spent.split()
    requests = max(result.requests, 1)
    return {
        "requests": result.requests, "cpu_us": spent.total / requests * 1e6, "user_us": user / requests * 1e6,
        "system_us": system / requests * 1e6, "requests_per_second": result.requests / result.seconds,
        "p50_us": result.p50_us, "p99_us": result.p99_us, "busy": spent.total / result.seconds,
        "memory_mib": max(memory, default=0) / 1024, "connections_to_origin": new, "tls": result.negotiated,
    }, faults


def result_faults(result, wire, load):
    found = []
    if not result.requests or result.failed:
        found.append(f"{result.failed} requests failed, {result.requests} did not")
    if result.refused != (result.requests if STATUS[load] >= 400 else 0):
        found.append(f"{result.refused} of {result.requests} refused")
    if result.bytes and result.bytes < result.requests * LEAST_BYTES[load]:
        found.append(f"{result.bytes:.0f} bytes are too few")
    if result.resumed:
        found.append(f"{result.resumed} of {result.requests} handshakes resumed a session")
    return found
