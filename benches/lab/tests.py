"""The bench's own judgement: what makes a round void, what is sent, what a figure is. `benches/run compare` runs them first."""

import ipaddress
import pathlib
import tempfile
import types
import unittest

from lab import access_log, findings, plots, rows, streams, traffic
from lab.findings import Work
from lab.load import Result

NAMES = {"status": "status", "agent": "agent"}


def result(requests, in_flight=0):
    return Result(requests, 1, 0, 0, 0, 0, 0, in_flight=in_flight)


class AccessLogs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.gateway = types.SimpleNamespace(log=pathlib.Path(self.folder.name) / "log", log_start=0, log_names=NAMES)
        self.patience, access_log.PATIENCE = access_log.PATIENCE, 0
        self.addCleanup(setattr, access_log, "PATIENCE", self.patience)

    def faults(self, lines, requests=100, in_flight=0, start=0):
        self.gateway.log.write_bytes(b"\0" * start + b"".join(line + b"\n" for line in lines))
        self.gateway.log_start = start
        return access_log.faults(self.gateway, result(requests, in_flight), 200, {"agent": {"a"}})

    def test_a_line_a_request_is_right(self):
        self.assertEqual(self.faults([b'{"status":200,"agent":"a"}'] * 100), [])

    def test_lines_behind_a_hole_are_found(self):
        self.assertEqual(self.faults([b'{"status":200,"agent":"a"}'] * 100, start=5_000_000), [])

    def test_a_dropped_line_is_a_fault(self):
        self.assertEqual(self.faults([b'{"status":200,"agent":"a"}'] * 99), ["99 log lines for 100 requests"])

    def test_more_lines_than_requests_are_a_fault_unless_they_were_under_way(self):
        lines = [b'{"status":200,"agent":"a"}'] * 103
        self.assertEqual(self.faults(lines, in_flight=3), [])
        self.assertEqual(self.faults(lines, in_flight=2), ["103 log lines for 100 requests"])

    def test_another_status_is_a_fault(self):
        lines = [b'{"status":200,"agent":"a"}'] * 99 + [b'{"status":502,"agent":"a"}']
        self.assertEqual(self.faults(lines), ["99 of 100 log lines say status 200"])

    def test_a_fact_that_is_missing_or_was_not_sent_is_a_fault(self):
        self.assertIn("a log line without agent", self.faults([b'{"status":200}'] * 100)[0])
        self.assertEqual(self.faults([b'{"status":200,"agent":"b"}'] * 100)[0], "a log line says agent 'b'")

    def test_what_lies_across_two_pieces_is_counted_once(self):
        text = b'"status":200'
        self.gateway.log.write_bytes((b"x" * (access_log.PIECE - 5)) + text + b"y" + text)
        self.assertEqual(access_log.count(self.gateway, text), 2)


class Streams(unittest.TestCase):
    REQUESTS = [
        {"target": "/a", "headers": {"host": "h", "accept": "x", "user-agent": "one", "cookie": "c", "x-forwarded-for": "11.1.1.1"}},
        {"target": "/b", "headers": {"host": "h", "accept": "y", "user-agent": "two", "cookie": "d", "x-forwarded-for": "11.1.1.2"}},
    ]

    def test_integers_are_those_of_the_rfc(self):
        # RFC 7541, C.1
        self.assertEqual(streams.integer(10, 5, 0), b"\x0a")
        self.assertEqual(streams.integer(1337, 5, 0), b"\x1f\x9a\x0a")

    def test_blocks_decode_to_what_was_asked(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "blocks"
            streams.prepare(self.REQUESTS, path)
            primers, blocks = streams.prepared(path)
        table = []
        decoded = [decode(block, table) for block in [*primers, *blocks]]
        wanted = [
            {":method": "GET", ":scheme": "https", ":path": each["target"], ":authority": "h"}
            | {name: value for name, value in each["headers"].items() if name != "host"}
            for each in self.REQUESTS
        ]
        self.assertEqual(decoded, wanted * 2)

    def test_answers_are_counted_across_reads(self):
        run = types.SimpleNamespace(latencies=[], refused=0, bytes=0, failed=0)
        connection = object.__new__(streams.Connection)
        connection.run, connection.buffer, connection.taken, connection.waiting = run, b"", 0, {1: [0, False], 3: [0, False]}
        sent = (
            streams.frame(streams.HEADERS, streams.END_HEADERS, 1, b"\x20\x88") + streams.frame(streams.DATA, streams.END_STREAM, 1, b"body")
            + streams.frame(streams.HEADERS, streams.END_HEADERS | streams.END_STREAM, 3, b"\x48\x03403")
        )
        self.assertEqual(sum(connection.frames(sent[at: at + 7]) for at in range(0, len(sent), 7)), 2)
        self.assertEqual((len(run.latencies), run.refused, run.bytes), (2, 1, 4))


STATIC = {1: ":authority", 4: ":path", 32: "cookie", 58: "user-agent"}


def decode(block, table):
    """What RFC 7541 makes of the few forms that are sent here."""
    found, at = {}, 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = number(block, at, 7)
            name, value = {2: (":method", "GET"), 7: (":scheme", "https")}.get(index) or table[index - 62]
        else:
            index, at = number(block, at, 6 if first & 0x40 else 4)
            name, at = (STATIC[index], at) if index else string(block, at)
            value, at = string(block, at)
            if first & 0x40:
                table.insert(0, (name, value))
        found[name] = value
    return found


def number(block, at, bits):
    value = block[at] & (1 << bits) - 1
    at += 1
    if value == (1 << bits) - 1:
        shift = 0
        while True:
            value += (block[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not block[at - 1] & 128:
                break
    return value, at


def string(block, at):
    length, at = number(block, at, 7)
    return block[at: at + length].decode(), at + length


class Traffic(unittest.TestCase):
    def test_networks_neither_overlap_nor_touch(self):
        networks = traffic.Networks.made(2_000)
        for version in (4, 6):
            ends = sorted((int(each[0]), int(each[-1])) for each in networks.networks if each.version == version)
            self.assertTrue(all(before[1] + 1 < after[0] for before, after in zip(ends, ends[1:])))

    def test_what_is_in_a_network_is_found(self):
        networks = traffic.Networks.made(500)
        for network in networks.networks:
            self.assertIn(network[0], networks)
            self.assertIn(network[-1], networks)
            self.assertNotIn(network[-1] + 1, networks)
        self.assertNotIn(ipaddress.ip_address("9.9.9.9"), networks)

    def test_a_country_covers_its_block(self):
        countries = traffic.Countries()
        for block, country in countries.blocks[::997]:
            self.assertEqual((countries.of(block[0]), countries.of(block[-1])), (country, country))


class Figures(unittest.TestCase):
    WORK = Work("allowed", "h1 plain", "shipped", "allowed")

    def document(self, costs):
        rounds = [
            {**self.WORK.as_json(), "contestant": name, "round": number, "cpu_us": cost, "memory_mib": 1}
            for name, each in costs.items() for number, cost in enumerate(each)
        ]
        return {"rounds": rounds, "memory": [], "parts": ["allowed"], "quick": True}

    def test_the_better_peer_is_the_one_with_the_lower_median(self):
        found = findings.Findings(self.document({"portcullis": [8, 9, 40], "nginx": [10, 10, 10], "haproxy": [9, 20, 20]}))
        row = found.allowed_rows()[0]
        self.assertEqual((row.against, row.rounds, row.value, row.holds), ("nginx", [0.8, 0.9, 4.0], 0.9, True))

    def test_what_was_given_up_is_missing_and_missed(self):
        found = findings.Findings(self.document({}))
        row = found.allowed_rows()[0]
        self.assertEqual((row.value, row.holds, row.cells()[1]), (None, False, "missing"))
        self.assertEqual(row.as_json()["holds"], False)

    def test_quartiles_of_one_round_are_that_round(self):
        self.assertEqual(rows.quartiles([3]), [3, 3, 3])

    def test_plots_have_ticks_inside(self):
        self.assertEqual(plots.ticks(0, 210, False), [0, 50, 100, 150, 200])
        self.assertEqual(plots.ticks(12, 600, True), [20, 50, 100, 200, 500])


if __name__ == "__main__":
    unittest.main()
