use proptest::{prelude::*, sample::Index};

use super::{
    super::tests::{messages, mutated},
    *,
};

/// What a scanner finds in bytes that come all at once: how many good heads, then what fault.
fn found(raw: &str) -> (usize, Option<Fault>) {
    let scan = HeadScanner::default().scan(raw.as_bytes());
    (scan.heads, scan.fault)
}

/// A good head after the one in question tells whether its end was found.
fn heads(raw: &str) -> (usize, Option<Fault>) {
    found(&format!("{raw}GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"))
}

fn post(lines: &str, body: &str) -> (usize, Option<Fault>) {
    heads(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{body}"))
}

#[test]
fn bodies_end_where_their_heads_say() {
    for (lines, body) in [
        ("", ""),
        ("Content-Length: 0\r\n", ""),
        ("Content-Length: 4\r\n", "\r\n\r\n"),
        ("content-length:\t 004 \t\r\n", "#\n#\n"),
        (
            "CONTENT-LENGTH:31\r\nConnection: x\r\n",
            "GET / HTTP/1.1\nHost: a.test\n\r\n\r",
        ),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("tRANSFER-eNCODING: \tCHUNKED \t\r\n", "4\r\n\r\n\r\n\r\n0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "00000a\r\n0\r\n\r\n0\r\n\r\n\r\n0000\r\n\r\n",
        ),
        ("Transfer-Encoding: chunked\r\n", "3;a=\"b\";c\r\nabc\r\n0 \t;x\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "1 \r\na\r\nB\r\n01234567890\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "0\r\nContent-Length: 7\r\nTransfer-Encoding: x\r\n\r\n",
        ),
    ] {
        assert_eq!(post(lines, body), (2, None), "{lines}{body}");
    }
}

#[test]
fn only_the_two_names_frame() {
    for line in [
        "Content-Lengt: 9",
        "Content-Lengths: 9",
        "X-Content-Length: 9",
        "Transfer-Encodin: chunked",
        "Transfer-Encoding-X: chunked",
        "C:",
        "T:",
        "Cookie: content-length: 9",
        "TE: Transfer-Encoding: chunked",
        "content-content-length: 9",
    ] {
        assert_eq!(post(&format!("{line}\r\n"), ""), (2, None), "{line}");
    }
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    assert_eq!(heads("\r\n\r\n"), (1, None));
    assert_eq!(post("Content-Length: 1\r\n", "a\r\n\r\n"), (2, None));
    assert_eq!(heads("\n"), (0, Some(BARE_LF)));
    assert_eq!(heads("\r"), (0, Some(BARE_CR)));
    assert_eq!(post("", "\n"), (1, Some(BARE_LF)));
}

#[test]
fn two_answers_to_where_a_body_ends_are_refused() {
    let (cl, te) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for (lines, fault) in [
        (format!("{cl}{te}"), BOTH),
        (format!("{te}{cl}"), BOTH),
        (format!("Content-Length: 0\r\n{te}"), BOTH),
        (format!("{te}content-length: x\r\n"), BOTH),
        (format!("{cl}transfer-encoding: identity\r\n"), BOTH),
        (format!("{cl}{cl}"), LENGTHS),
        (format!("{cl}Accept: */*\r\nContent-Length: 6\r\n"), LENGTHS),
        (format!("{te}{te}"), CODING),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            CODING,
        ),
    ] {
        assert_eq!(post(&lines, "0\r\n\r\n"), (0, Some(fault)), "{lines}");
    }
}

#[test]
fn framing_headers_say_one_thing_plainly() {
    for value in [
        "",
        " ",
        "+5",
        "-0",
        "5, 5",
        "5 5",
        "0x5",
        "5.0",
        "18446744073709551616",
        "\u{b}5",
        "５",
    ] {
        assert_eq!(
            post(&format!("Content-Length:{value}\r\n"), ""),
            (0, Some(LENGTH)),
            "{value:?}"
        );
    }
    for value in [
        "",
        " ",
        "x",
        "chunke",
        "chunkedd",
        "chunked,",
        ",chunked",
        "gzip, chunked",
        "chunked;q=1",
        "chunked x",
        "\"chunked\"",
        "\u{b}chunked",
        "chunked\u{b}",
        "x chunked",
    ] {
        assert_eq!(
            post(&format!("Transfer-Encoding:{value}\r\n"), ""),
            (0, Some(CODING)),
            "{value:?}"
        );
    }
}

#[test]
fn lines_end_in_crlf() {
    for raw in [
        "GET / HTTP/1.1\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\n",
        "GET / HTTP/1.1\r\nHost:\n\r\n",
        "GET / HTTP/1.1\r\nX\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length\n: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\n 5\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\n\r\n",
    ] {
        assert_eq!(found(raw), (0, Some(BARE_LF)), "{raw:?}");
    }
    for raw in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\rX",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\rX\r\n\r\n",
    ] {
        assert_eq!(found(raw), (0, Some(BARE_CR)), "{raw:?}");
    }
}

#[test]
fn a_fragment_is_refused() {
    for target in [
        "/a#b",
        "/#",
        "#",
        "/a?b#c",
        "http://a.test/#x",
        "http://a.test#x",
        "/a%23#",
    ] {
        assert_eq!(
            heads(&format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")),
            (0, Some(FRAGMENT)),
            "{target}"
        );
    }
    assert_eq!(heads("G#T /a%23 HTTP/1.1\r\nReferer: /#x\r\n\r\n"), (2, None));
}

#[test]
fn a_line_that_is_no_request_is_refused() {
    for raw in ["GET\r\n", "GET /\r\n", "GET \n", "\u{16}\u{3}\u{1}\u{2}\n"] {
        assert_eq!(found(raw), (0, Some(REQUEST_LINE)), "{raw:?}");
    }
}

#[test]
fn a_malformed_chunk_stops() {
    for body in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x1\r\n",
        "1\n",
        "1\ra",
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rb",
        "1;\n",
        "1;a\rb",
        "1 1\r\n",
        "10000000000000000\r\n",
    ] {
        assert_eq!(
            post("Transfer-Encoding: chunked\r\n", body),
            (1, Some(CHUNK)),
            "{body:?}"
        );
    }
    for (body, fault) in [
        ("0\r\n\n", BARE_LF),
        ("0\r\na: b\n\r\n", BARE_LF),
        ("0\r\n\rx", BARE_CR),
    ] {
        assert_eq!(
            post("Transfer-Encoding: chunked\r\n", body),
            (1, Some(fault)),
            "{body:?}"
        );
    }
}

#[test]
fn nothing_is_read_after_a_fault() {
    let good = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut scanner = HeadScanner::default();
    let scan = scanner.scan(b"GET / HTTP/1.1\r\n\r\nGET /#a HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!((scan.heads, scan.fault), (1, Some(FRAGMENT)));
    assert_eq!(scanner.scan(good), Scan::default());
}

#[test]
fn a_huge_length_is_skipped_by_arithmetic() {
    let mut scanner = HeadScanner::default();
    let scan = scanner.scan(b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n");
    assert_eq!((scan.heads, scan.fault), (1, None));
    assert_eq!(scanner.scan(&[b'\n'; 100_000]), Scan::default());
}

proptest! {
    #[test]
    fn however_the_input_is_cut_the_verdicts_are_the_same(
        raw in prop_oneof![messages().prop_map(|messages| messages.concat()), mutated()],
        cuts in proptest::collection::vec(any::<Index>(), 0..20),
    ) {
        let whole = HeadScanner::default().scan(&raw);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(raw.len() + 1)).collect();
        cuts.extend([0, raw.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(whole, in_pieces(cuts.windows(2).map(|cut| &raw[cut[0]..cut[1]])));
        prop_assert_eq!(whole, in_pieces(raw.chunks(1)));
    }
}

fn in_pieces<'r>(pieces: impl Iterator<Item = &'r [u8]>) -> Scan {
    let mut scanner = HeadScanner::default();
    pieces
        .map(|piece| scanner.scan(piece))
        .fold(Scan::default(), |all, scan| Scan {
            heads: all.heads + scan.heads,
            fault: all.fault.or(scan.fault),
        })
}
