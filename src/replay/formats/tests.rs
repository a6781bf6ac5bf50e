//! Lines as real servers write them.

use super::*;
use crate::replay::record::{Client, Hidden, OtherHeaders, Said, Then};

/// What a line says, in a line: what is unknown as `?`, what was not sent as `-`.
fn said(line: &str, format: Format) -> String {
    let record = match format.read(line) {
        Ok(record) => record,
        Err(unreadable) => return format!("unreadable: {}", unreadable.0),
    };
    let time = record.time.map_or("?".to_owned(), |time| time.0.to_string());
    let client = match record.client {
        Client::Unknown => "?".to_owned(),
        Client::Is(address) => format!("={address}"),
        Client::Connected(address) => address.to_string(),
    };
    let then = match record.then {
        Then::NotJudged => String::new(),
        then => format!(" {then:?}"),
    };
    let request = match record.request {
        Ok(request) => request,
        Err(detail) => return format!("{time} {client}{then} malformed: {detail}"),
    };
    let header = |said: &Said<'_>| match said {
        Said::Unknown => "?".to_owned(),
        Said::Nothing => "-".to_owned(),
        Said::Whole(text) => format!("`{text}`"),
        Said::Place(text) => format!("`{text}…`"),
    };
    let host = request.host.as_ref().map_or("?".to_owned(), |host| {
        format!("{}{}", host.authority, if host.says_port { "" } else { ":?" })
    });
    let tls = request.tls.map_or("?", |tls| if tls { "https" } else { "http" });
    let version = request.version.map_or("?", |version| version.as_str());
    let mut more: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!(" {name}=`{value}`"))
        .collect();
    if let OtherHeaders::NotSent { but } = &request.other_headers {
        more.push(format!(" all but {}", but.join(",")));
    }
    let hidden = match request.target.hidden {
        Hidden::Nothing => "",
        Hidden::Query => " (query hidden)",
        Hidden::All => " (hidden)",
    };
    format!(
        "{time} {client}{then} {} {tls}://{host} {}{hidden} {version} agent={} referer={}{}",
        request.method,
        request.target.raw,
        header(&request.user_agent),
        header(&request.referer),
        more.concat()
    )
}

/// Lines, each with its format and what it says.
const CASES: &[(Format, &str, &str)] = &[
    // nginx 1.22, `combined`.
    (
        Format::Combined,
        r#"127.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET /admin/x?token=abc&b=1 HTTP/1.1" 200 3 "https://evil.example/x?y=1" "sqlmap/1.8 \x22q\x22 \x5C \xC3\xA9""#,
        r#"1795668505 127.0.0.1 GET ?://? /admin/x?token=abc&b=1 HTTP/1.1 agent=`sqlmap/1.8 "q" \ é` referer=`https://evil.example/x?y=1`"#,
    ),
    (
        Format::Combined,
        r#"2001:db8::1 - a [b] c [26/Nov/2026:04:48:25 +0100] "POST /xmlrpc.php HTTP/2.0" 200 3 "-" "-""#,
        "1795664905 2001:db8::1 POST ?://? /xmlrpc.php HTTP/2 agent=- referer=-",
    ),
    // nginx, `main`: the last field is X-Forwarded-For.
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET / HTTP/1.0" 200 3 "-" "curl/7.88.1" "203.0.113.9, 10.0.0.2""#,
        "1795668505 10.0.0.1 GET ?://? / HTTP/1.0 agent=`curl/7.88.1` referer=- x-forwarded-for=`203.0.113.9, 10.0.0.2`",
    ),
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET http://other.example:81/abs?x HTTP/1.1" 200 3 "-" "-" "-" 0.003"#,
        "1795668505 10.0.0.1 GET ?://other.example:81 /abs?x HTTP/1.1 agent=- referer=-",
    ),
    // TLS on a plain port, nothing at all, HTTP/0.9, bytes that are no UTF-8.
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "\x16\x03\x01\x02\x00\x01\x00\x01\xFC" 400 157 "-" "-""#,
        "1795668505 10.0.0.1 malformed: bytes that are no UTF-8",
    ),
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "" 400 0 "-" "-""#,
        "1795668505 10.0.0.1 malformed: the connection ended before a request came",
    ),
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET /09" 200 3 "-" "-""#,
        "1795668505 10.0.0.1 malformed: not an HTTP request line",
    ),
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET / HTTP/1.1" 200 3 "-" "a\xFFb""#,
        "1795668505 10.0.0.1 GET ?://? / HTTP/1.1 agent=? referer=-",
    ),
    // HTTP/3: whatever such a client would speak to us.
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET / HTTP/3.0" 200 3 "-" "x""#,
        "1795668505 10.0.0.1 GET ?://? / ? agent=`x` referer=-",
    ),
    // Apache: common, vhost_combined, its escapes, a host name as the client.
    (
        Format::Combined,
        r#"192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#,
        "971211336 192.0.2.1 GET ?://? /apache_pb.gif HTTP/1.0 agent=? referer=?",
    ),
    (
        Format::Combined,
        r#"www.example.com:443 192.0.2.1 - - [26/Nov/2026:04:48:25 +0000] "GET /a\"b\\c HTTP/1.1" 200 - "-" "a\tb""#,
        "1795668505 192.0.2.1 GET ?://www.example.com:? /a\"b\\c HTTP/1.1 agent=`a\tb` referer=-",
    ),
    (
        Format::Combined,
        r#"client.example - - [26/Nov/2026:04:48:25 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#,
        "1795668505 ? GET ?://? / HTTP/1.1 agent=`x` referer=-",
    ),
    // Traefik as text; HAProxy as CLF, which has nothing in the places of Referer and User-Agent.
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET /x HTTP/1.1" 200 12 "-" "-" 1 "app@docker" "http://10.0.0.2:80" 2ms"#,
        "1795668505 10.0.0.1 GET ?://? /x HTTP/1.1 agent=- referer=-",
    ),
    (
        Format::Combined,
        r#"10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] "GET /x HTTP/1.1" 200 12 "" "" 49302 444 "web" "app" "a" 0 0 0 0 0 ----"#,
        "1795668505 10.0.0.1 GET ?://? /x HTTP/1.1 agent=? referer=?",
    ),
    (
        Format::Combined,
        "10.0.0.1 - - [26/Nov/2026:04:48:25 +0000] \"GET /x HTTP/1.1",
        "unreadable: no request between quotes",
    ),
    // HAProxy 2.6, as it comes from its socket, from a file of rsyslog, and bare.
    (
        Format::Haproxy,
        r#"<134>Nov 26 04:48:25 localhost haproxy[8621]: 127.0.0.1:49310 [26/Nov/2026:04:48:25.453] web app/a 0/0/0/0/0 200 125 - - ---- 1/1/0/0/0 0/0 {sqlmap/1.8 #22q#22 \ #C3#A9} "GET /admin/x?token=abc&b=1 HTTP/1.1""#,
        "1795668505 127.0.0.1 GET http://? /admin/x?token=abc&b=1 HTTP/1.1 agent=? referer=?",
    ),
    (
        Format::Haproxy,
        r#"2026-11-26T04:48:25.500+00:00 lb haproxy[1]: 2001:db8::1:49310 [26/Nov/2026:04:48:25.453] web~ app/a 0/0/0/0/0 200 125 - - ---- 1/1/0/0/0 0/0 "GET https://example.com/h#22q HTTP/2.0""#,
        "1795668505 2001:db8::1 GET https://example.com /h\"q HTTP/2 agent=? referer=?",
    ),
    (
        Format::Haproxy,
        r#"<134>1 2026-11-26T04:48:25Z lb haproxy 1 - - 10.0.0.1:1 [26/Nov/2026:04:48:25.453] web web/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#,
        "1795668505 10.0.0.1 malformed: not an HTTP request line",
    ),
    (
        Format::Haproxy,
        r#"10.0.0.1:1 [26/Nov/2026:04:48:25.453] web app/a 0/0/0/0/0 200 125 - - ---- 1/1/0/0/0 0/0 "GET /cut/of"#,
        "1795668505 10.0.0.1 GET http://? /cut/of (hidden) ? agent=? referer=?",
    ),
    (
        Format::Haproxy,
        "<134>Nov 26 04:48:25 localhost haproxy[1]: Proxy web started.",
        "unreadable: no `[` before the time",
    ),
    // AWS, from its documentation.
    (
        Format::Alb,
        r#"https 2018-07-02T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://www.example.com:443/a?b=c HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Root=1-58337281-1d84f3d73c47ec4e58577259" "www.example.com" "arn:aws:acm:us-east-2:123456789012:certificate/12345678-1234-1234-1234-123456789012" 1 2018-07-02T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_123456"#,
        "1530570168 192.168.131.39 GET https://www.example.com:? /a?b=c HTTP/1.1 agent=`curl/7.46.0` referer=?",
    ),
    (
        Format::Alb,
        r#"http 2018-07-02T22:23:00.186641Z app/lb/1 192.168.131.39:2817 - -1 -1 -1 400 - 0 57 "- http://lb.example:80- -" "-" - - - "-" "-" "-" - 2018-07-02T22:22:48.364000Z "-" "-" "-" "-" "-" "-" "-""#,
        "1530570168 192.168.131.39 malformed: not an HTTP request line",
    ),
    // Caddy 2.
    (
        Format::Caddy,
        r#"{"level":"info","ts":1795668505.5241024,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"41342","client_ip":"10.0.0.1","proto":"HTTP/2.0","method":"GET","host":"localhost:8443","uri":"/a?b","headers":{"User-Agent":["curl/7.82.0"],"Accept":["*/*"],"Cookie":["REDACTED"],"Cache-Control":["no-cache"]},"tls":{"resumed":false,"version":772,"proto":"h2","server_name":"example.com"}},"duration":0.000929675,"size":10900,"status":200}"#,
        "1795668505 10.0.0.1 GET https://localhost:8443 /a?b HTTP/2 agent=`curl/7.82.0` referer=- accept=`*/*` all but host,transfer-encoding,trailer,cache-control,cookie",
    ),
    (
        Format::Caddy,
        r#"web-1  | {"ts":"2026-11-26T04:48:25Z","request":{"remote_ip":"10.0.0.1","client_ip":"203.0.113.9","proto":"HTTP/1.1","method":"GET","host":"localhost","uri":"/"}}"#,
        "1795668505 =203.0.113.9 GET http://localhost / HTTP/1.1 agent=? referer=?",
    ),
    (
        Format::Caddy,
        r#"{"level":"info","ts":1795668505.5,"msg":"serving initial configuration"}"#,
        "unreadable: no `request`: not an access record of Caddy",
    ),
    // Traefik 3.
    (
        Format::Traefik,
        r#"{"ClientAddr":"10.0.0.1:53342","ClientHost":"10.0.0.1","ClientPort":"53342","DownstreamStatus":200,"RequestHost":"example.com","RequestMethod":"GET","RequestPath":"/a?b=c","RequestPort":"-","RequestProtocol":"HTTP/2.0","RequestScheme":"https","RouterName":"app@docker","StartUTC":"2026-11-26T04:48:25.123456789Z","TLSVersion":"1.3","level":"info","msg":"","request_User-Agent":"curl/8","request_Authorization":"REDACTED","request_X-Debug":"1","time":"2026-11-26T04:48:26Z"}"#,
        "1795668505 10.0.0.1 GET https://example.com:? /a?b=c HTTP/2 agent=`curl/8` referer=? x-debug=`1`",
    ),
    // Ours.
    (
        Format::Json,
        r#"{"@timestamp":"2026-11-26T04:48:25.123Z","event.action":"reject","event.reason":"unknown_host","source.ip":"10.0.0.1","source.port":1,"http.request.method":"GET","url.scheme":"http","url.domain":"x.example","url.original":"/","http.version":"1.1","http.request.id":"0","portcullis.generation":1}"#,
        "1795668505 =10.0.0.1 Rejected { reason: \"unknown_host\" } GET http://x.example:? / HTTP/1.1 agent=- referer=-",
    ),
    (
        Format::Text,
        r#"2026-11-26T04:48:25.123Z block 403 rule=scanners 203.0.113.1 XX GET https://example.com/?token=REDACTED "sqlmap" 0.0ms id=01 source=192.0.2.77"#,
        "1795668505 =203.0.113.1 Blocked { rule: Some(\"scanners\") } GET https://example.com:? /?token=REDACTED (query hidden) ? agent=`sqlmap` referer=?",
    ),
    (
        Format::Text,
        "2026-11-26T04:48:25.123Z reject 400 malformed 10.0.0.1 - GET /a\\\\b - 0.1ms id=01 detail=\"backslash in the path\"",
        "1795668505 =10.0.0.1 Rejected { reason: \"malformed\" } GET ?://? /a\\b ? agent=- referer=?",
    ),
    (
        Format::Text,
        "2026-11-26T04:48:25.123Z allow closed 10.0.0.1 DE GET https://example.com/a#b",
        "unreadable: not a whole access record of Portcullis",
    ),
];

#[test]
fn lines_are_read_as_their_servers_mean_them() {
    for (format, line, expected) in CASES {
        assert_eq!(said(line, *format), *expected, "{line}");
    }
}

#[test]
fn each_format_is_told_by_its_lines() {
    for (format, line, expected) in CASES
        .iter()
        .filter(|(.., expected)| !expected.starts_with("unreadable"))
    {
        assert_eq!(Format::detect([*line].into_iter()), Some(*format), "{expected}");
    }
    assert_eq!(Format::detect(["", "hello", "{}"].into_iter()), None);
}

proptest::proptest! {
    #[test]
    fn no_line_makes_a_reader_panic(line in ".{0,200}", case in proptest::prelude::any::<proptest::sample::Index>(), at in 0..400_usize, cut in 0..4_usize) {
        for format in Format::ALL {
            let _ = format.read(&line);
        }
        // A real line in which something is missing or put.
        let (format, real, _) = CASES[case.index(CASES.len())];
        let at = (0..=at.min(real.len())).rev().find(|at| real.is_char_boundary(*at)).unwrap_or(0);
        let (before, after) = real.split_at(at);
        let after: String = after.chars().skip(cut).collect();
        for text in [format!("{before}{after}"), format!("{before}{line}{after}"), before.to_owned()] {
            let _ = format.read(&text);
        }
    }
}
