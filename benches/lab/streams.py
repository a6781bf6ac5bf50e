"""Prepared requests over HTTP/2: several streams on each of several connections, each request with its own user agent.

h2load can only repeat the same headers, and a gateway that remembers what its patterns said of a user agent (HAProxy) would
then answer from memory. As a browser does, a connection puts what all its requests share into the compression table once.
"""

import argparse
import pathlib
import random
import select
import socket
import ssl
import struct
import time

from lab import loops

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WIDEST = 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Of RFC 7541's static table.
METHOD_GET, SCHEME_HTTPS = b"\x82", b"\x87"
STATIC_PATH, STATIC_AUTHORITY, STATIC_COOKIE, STATIC_USER_AGENT, STATIC_ENTRIES = 4, 1, 32, 58, 61
STATUS_OK = 0x88
# The smallest table that every server has unless it says otherwise.
TABLE_BYTES = 4096
OF_EACH_REQUEST = {"cookie": STATIC_COOKIE, "user-agent": STATIC_USER_AGENT, "x-forwarded-for": 0}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    options = parser.parse_args()
    run = Run(options)
    run.go()
    run.tell()


class Run:
    def __init__(self, options):
        self.options = options
        self.context = loops.context("h2")
        self.primers, self.blocks = prepared(options.requests)
        self.dice = random.Random(7)
        self.latencies, self.bytes, self.refused, self.failed = [], 0, 0, 0

    def go(self):
        self.start = time.monotonic()
        self.end = self.start + self.options.seconds
        connections = {}
        with select.epoll() as poll:
            for _ in range(self.options.connections):
                connection = Connection(self, self.options.port)
                connections[connection.number] = connection
                poll.register(connection.number, select.EPOLLIN)
                connection.send(self.options.streams)
            while any(connection.waiting for connection in connections.values()) and time.monotonic() < self.end + 20:
                for number, _ in poll.poll(1):
                    connections[number].read()
        self.failed += sum(len(connection.waiting) for connection in connections.values())
        self.seconds = time.monotonic() - self.start

    def tell(self):
        loops.tell(
            requests=len(self.latencies), seconds=self.seconds, bytes=self.bytes, refused=self.refused, failed=self.failed,
            p50_us=loops.percentile(self.latencies, 0.5) * 1e6, p99_us=loops.percentile(self.latencies, 0.99) * 1e6,
        )


class Connection:
    def __init__(self, run, port):
        self.run = run
        plain = socket.create_connection((loops.HOST, port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = run.context.wrap_socket(plain, server_hostname="localhost")
        if self.socket.selected_alpn_protocol() != "h2":
            raise SystemExit("no HTTP/2")
        # Windows so wide that the server never waits for them; no push.
        settings = struct.pack(">HIHI", 2, 0, 4, WIDEST)
        opening = PREFACE + frame(SETTINGS, 0, 0, settings) + struct.pack(">IBII", 4 << 8 | 8, 0, 0, WIDEST - 65535)
        self.socket.sendall(opening)
        self.socket.setblocking(False)
        self.number = self.socket.fileno()
        self.buffer, self.next_stream, self.taken = b"", 1, 0
        self.primers = list(run.primers)
        # {stream: [when it was sent, whether its status was 200]}
        self.waiting = {}

    def send(self, count):
        now = time.monotonic()
        out = []
        for _ in range(count):
            block = self.primers.pop(0) if self.primers else self.run.dice.choice(self.run.blocks)
            out.append(frame(HEADERS, END_HEADERS | END_STREAM, self.next_stream, block))
            self.waiting[self.next_stream] = [now, False]
            self.next_stream += 2
        self.write(b"".join(out))

    def write(self, data):
        while True:
            try:
                self.socket.send(data)
                return
            except ssl.SSLWantWriteError:
                select.select([], [self.socket], [], 10)

    def read(self):
        done = 0
        try:
            while True:
                more = self.socket.recv(65536)
                if not more:
                    return self.lost()
                done += self.frames(more)
                if not self.socket.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except OSError:
            return self.lost()
        if done and time.monotonic() < self.run.end:
            self.send(done)

    def lost(self):
        raise SystemExit("the server closed an HTTP/2 connection")

    def frames(self, more):
        """How many answers ended."""
        buffer = self.buffer + more if self.buffer else more
        at, end, done = 0, len(buffer), 0
        while end - at >= 9:
            first, flags, stream = struct.unpack_from(">IBI", buffer, at)
            length, kind = first >> 8, first & 255
            if end - at - 9 < length:
                break
            if kind == DATA:
                self.taken += length
                self.run.bytes += length
                done += flags & END_STREAM and self.ended(stream)
            elif kind == HEADERS:
                self.waiting[stream][1] = is_ok(buffer, at + 9)
                done += flags & END_STREAM and self.ended(stream)
            else:
                done += self.other(kind, flags, stream, buffer[at + 9: at + 9 + length])
            at += 9 + length
        self.buffer = buffer[at:]
        if self.taken > 2**30:
            self.write(struct.pack(">IBII", 4 << 8 | 8, 0, 0, self.taken))
            self.taken = 0
        return done

    def ended(self, stream):
        sent, right = self.waiting.pop(stream)
        self.run.latencies.append(time.monotonic() - sent)
        self.run.refused += not right
        return 1

    def other(self, kind, flags, stream, payload):
        if kind == GOAWAY:
            self.lost()
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                if name == 1 and value < TABLE_BYTES:
                    raise SystemExit("the server's compression table is too small for this generator of load")
            self.write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif kind == RESET:
            self.waiting.pop(stream)
            self.run.failed += 1
            return 1
        return 0


def is_ok(buffer, at):
    # Changes of the table's size may stand before the status.
    while buffer[at] & 0xE0 == 0x20:
        at += 1
    return buffer[at] == STATUS_OK


def frame(kind, flags, stream, payload):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def prepare(requests, path):
    """Writes the requests as header blocks: those that fill the table first, and how many they are before all."""
    table = Table(requests)
    blocks = [*table.primers, *(table.block(request) for request in requests)]
    lengths = struct.pack(f">HI{len(blocks)}H", len(table.primers), len(blocks), *map(len, blocks))
    path.write_bytes(lengths + b"".join(blocks))


def prepared(path):
    """Those that fill the table, and all others."""
    data = path.read_bytes()
    primers, count = struct.unpack_from(">HI", data)
    at, blocks = 6 + 2 * count, []
    for length in struct.unpack_from(f">{count}H", data, 6):
        blocks.append(data[at: at + length])
        at += length
    return blocks[:primers], blocks[primers:]


class Table:
    """What the requests share is put into the table by the first of each kind; from then on it is a number each."""

    def __init__(self, requests):
        kinds = {shared(request): request for request in requests}
        self.entries = []
        self.primers = [self.block(request, insert=True) for request in kinds.values()]

    def block(self, request, insert=False):
        out = METHOD_GET + SCHEME_HTTPS + literal(STATIC_PATH, "", request["target"])
        for name, value in shared(request):
            if (name, value) in self.entries:
                out += integer(STATIC_ENTRIES + len(self.entries) - self.entries.index((name, value)), 7, 0x80)
            elif insert:
                self.entries.append((name, value))
                out += b"\x40" + text(name) + text(value)
        for name, index in OF_EACH_REQUEST.items():
            if value := request["headers"].get(name):
                out += literal(index, name, value)
        return out


def shared(request):
    headers = {(":authority" if name == "host" else name): value for name, value in request["headers"].items()}
    found = tuple((name, value) for name, value in headers.items() if name not in OF_EACH_REQUEST)
    return tuple(sorted(found, key=lambda pair: not pair[0].startswith(":")))


def literal(index, name, value):
    """Not put into the table."""
    return (integer(index, 4, 0) if index else b"\x00" + text(name)) + text(value)


def text(value):
    raw = value.encode()
    return integer(len(raw), 7, 0) + raw


def integer(value, bits, first):
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


if __name__ == "__main__":
    main()
