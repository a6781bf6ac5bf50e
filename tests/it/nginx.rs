//! A real nginx behind the gateway: what it serves comes through as it is, and no spelling leads to a locked path.

use std::{fs, io::Write, net::SocketAddr, process::Command};

use crate::harness::{Gateway, Tls, client::read_to_end, exchange, gateway::Setup, h2_get, nginx::Nginx};

/// Rules that stop nothing that is asked here.
const UNLOCKED: &str = "[[user_agent]]\nid = \"scanners\"\naction = \"block\"\ncontains = [\"sqlmap\"]\n";

fn before(nginx: &Nginx, rules: &str) -> Gateway {
    let config = format!(
        r#"
rules = ["rules.toml"]

[[listen]]
address = "127.0.0.1:0"
tls = true

[[listen]]
address = "127.0.0.1:0"

[upstream.app]
servers = ["{}"]

[[site]]
name = "main"
hosts = ["a.test"]
upstream = "app"
self_signed = true
"#,
        nginx.url()
    );
    Setup::new(&config).file("rules.toml", rules).start()
}

/// What curl got: the last response's head and body.
struct Fetched {
    head: String,
    body: Vec<u8>,
}

impl Fetched {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn fetch(gateway: &Gateway, path: &str, arguments: &[&str]) -> Fetched {
    let port = gateway.address(0).port();
    let folder = tempfile::tempdir().expect("a directory");
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let output = Command::new("curl")
        .args(["-sS", "-k", "-m", "60", "--path-as-is", "--resolve"])
        .arg(format!("a.test:{port}:127.0.0.1"))
        .arg("-D")
        .arg(&head)
        .arg("-o")
        .arg(&body)
        .args(arguments)
        .arg(format!("https://a.test:{port}{path}"))
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let heads = fs::read_to_string(head).expect("a head").replace('\r', "");
    let last = heads.trim_end().rsplit("\n\n").next().unwrap_or_default();
    Fetched {
        head: last.to_owned(),
        body: fs::read(body).unwrap_or_default(),
    }
}

/// Bytes that do not repeat with any power of two, so that a lost or doubled piece shows.
fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).expect("below 256"))
        .collect()
}

const PAGE: &[u8] = b"a page that is served from a file\n";

#[test]
fn a_file_is_served_whole_in_part_and_not_again() {
    let nginx = Nginx::start("", &[("page.txt", PAGE)]);
    let gateway = before(&nginx, UNLOCKED);
    for protocol in ["--http1.1", "--http2"] {
        let page = fetch(&gateway, "/page.txt", &[protocol]);
        assert_eq!((page.status(), page.body.as_slice()), ("200", PAGE));
        assert!(
            page.header("server").is_some_and(|server| server.starts_with("nginx")),
            "{}",
            page.head
        );
        let modified = page.header("last-modified").expect("nginx says so");
        let etag = page.header("etag").expect("nginx says so");

        let head = fetch(&gateway, "/page.txt", &[protocol, "-I"]);
        assert_eq!((head.status(), head.header("content-length")), ("200", Some("34")));

        let part = fetch(&gateway, "/page.txt", &[protocol, "-r", "2-5"]);
        assert_eq!((part.status(), part.text().as_str()), ("206", "page"));
        assert_eq!(part.header("content-range"), Some("bytes 2-5/34"));
        let beyond = fetch(&gateway, "/page.txt", &[protocol, "-r", "99-"]);
        assert_eq!(beyond.status(), "416");

        for condition in [
            format!("If-Modified-Since: {modified}"),
            format!("If-None-Match: {etag}"),
        ] {
            let again = fetch(&gateway, "/page.txt", &[protocol, "-H", &condition]);
            assert_eq!((again.status(), again.body.len()), ("304", 0), "{condition}");
        }
    }
}

#[test]
fn what_nginx_compresses_and_chunks_comes_through_as_it_is() {
    let text = "many words that compress well, ".repeat(20_000);
    let nginx = Nginx::start(
        "gzip on; gzip_types text/plain; gzip_min_length 1;",
        &[("long.txt", text.as_bytes())],
    );
    let gateway = before(&nginx, UNLOCKED);
    for protocol in ["--http1.1", "--http2"] {
        let packed = fetch(&gateway, "/long.txt", &[protocol, "-H", "Accept-Encoding: gzip"]);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert_eq!(
            packed.header("content-length"),
            None,
            "its length is not known before: {}",
            packed.head
        );
        assert!(packed.body.len() < text.len() / 10);
        let unpacked = fetch(&gateway, "/long.txt", &[protocol, "--compressed"]);
        assert!(unpacked.body == text.as_bytes());
    }
}

#[test]
fn a_posted_body_arrives_whole() {
    let server = "location = /upload { client_body_in_file_only on; proxy_pass http://@address/sink; }\n\
                  location = /sink { return 200 \"$http_content_type $http_content_length\"; }";
    let nginx = Nginx::start(server, &[]);
    let gateway = before(&nginx, UNLOCKED);
    let folder = tempfile::tempdir().expect("a directory");
    let sent = bytes(3_000_001);
    fs::write(folder.path().join("body"), &sent).expect("written");
    let data = format!("@{}", folder.path().join("body").display());
    let ways: [&[&str]; 3] = [
        &["--http1.1"],
        &["--http1.1", "-H", "Transfer-Encoding: chunked"],
        &["--http2"],
    ];
    for way in ways {
        let arguments = [way, &["-H", "Content-Type: text/odd", "--data-binary", &data]].concat();
        let answer = fetch(&gateway, "/upload", &arguments);
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            ("200", "text/odd 3000001"),
            "{way:?}"
        );
    }
    let kept = fs::read_dir(nginx.folder().join("bodies")).expect("nginx kept them");
    let kept: Vec<_> = kept.map(|entry| entry.expect("readable").path()).collect();
    assert_eq!(kept.len(), ways.len());
    assert!(kept.iter().all(|path| fs::read(path).expect("readable") == sent));
}

#[test]
fn a_big_download_is_the_file() {
    let big = bytes(24 << 20);
    let nginx = Nginx::start("", &[("big", &big)]);
    let gateway = before(&nginx, UNLOCKED);
    for protocol in ["--http1.1", "--http2"] {
        assert!(fetch(&gateway, "/big", &[protocol]).body == big, "{protocol}");
    }
}

#[test]
fn errors_of_nginx_are_its_own() {
    let nginx = Nginx::start("location = /teapot { return 418 \"short and stout\"; }", &[]);
    let gateway = before(&nginx, UNLOCKED);
    let missing = fetch(&gateway, "/missing", &["-H", "Accept: application/json"]);
    assert_eq!(missing.status(), "404");
    assert!(missing.text().contains("<center>nginx"), "{}", missing.text());
    let teapot = fetch(&gateway, "/teapot", &[]);
    assert_eq!((teapot.status(), teapot.text().as_str()), ("418", "short and stout"));
}

/// Sends a target exactly as it is, over HTTP/1.1 and TLS.
fn ask(address: SocketAddr, target: &str) -> String {
    let stream = Tls::default().connect(address, "a.test").expect("a handshake");
    stream.exchange(&format!(
        "GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    ))
}

#[test]
fn nginx_gets_exactly_the_path_that_was_judged() {
    let nginx = Nginx::start("location / { return 200 \"\"; }", &[]);
    let gateway = before(&nginx, UNLOCKED);
    let cases = [
        ("/", "/ /"),
        ("/a/b", "/a/b /a/b"),
        ("/a//b///c", "/a/b/c /a/b/c"),
        ("/a/./b/../c", "/a/c /a/c"),
        ("/a/%2e%2E/c/%2e/d/", "/c/d/ /c/d/"),
        ("/%61%7e%2d", "/a~- /a~-"),
        ("/a%20b%3f%c3%a4", "/a%20b%3F%C3%A4 /a b?\\xC3\\xA4"),
        ("/a;v=1/b", "/a;v=1/b /a;v=1/b"),
        ("/q?x=/../%2e%2e//&y=%61", "/q?x=/../%2e%2e//&y=%61 /q"),
        ("https://a.test/absolute//form", "/absolute/form /absolute/form"),
    ];
    for (sent, _) in cases {
        let answer = ask(gateway.address(0), sent);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{sent}: {answer}");
    }
    let expected: Vec<_> = cases.iter().map(|(_, asked)| format!("GET {asked}")).collect();
    assert_eq!(nginx.asked(), expected);
    for refused in [
        "/a%2fb",
        "/a\\b",
        "/a%5cb",
        "/a%00",
        "/a%0d%0ab",
        "/%",
        "/%zz",
        "/..",
        "/../a",
        "/%2e%2e/a",
        "/a/%252e%252e/b",
        "/%c0%af",
        "/%ff",
        "/ä",
    ] {
        let answer = ask(gateway.address(0), refused);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{refused}: {answer}");
    }
    assert_eq!(nginx.asked(), expected, "nothing more was asked");
}

/// `/admin` and everything below is for one network, which is not the tests': on every host, on the site's, and by a rule.
const LOCKS: [&str; 3] = [
    r#"
[[lockdown]]
id = "admin"
urls = ["/admin", "/admin/*"]
allow = ["203.0.113.0/24"]

[[ip_access]]
id = "everyone-is-welcome"
action = "allow"
ip = ["0.0.0.0/0", "::/0"]
"#,
    r#"
[[lockdown]]
id = "admin"
urls = ["a.test/admin", "a.test/admin/*"]
allow = ["203.0.113.0/24"]
"#,
    r#"
[[rule]]
id = "admin"
expression = """
lower(http.request.uri.path) wildcard "/admin*" and http.host eq "a.test" and not ip.src in {203.0.113.0/24}
"""
action = "block"

[[rule]]
id = "all-else"
expression = 'not starts_with(http.request.uri.path, "/admin")'
action = "allow"
"#,
];

/// Spellings of `/admin` for origins more lenient than any.
const SPELLINGS: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin?",
    "/admin?x",
    "/admin#x",
    "/admin/x",
    "/ADMIN",
    "/aDmIn/x",
    "//admin",
    "///admin//x",
    "/./admin",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "/x/.%2e/admin",
    "/%2e/admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%41DMIN",
    "/%2561dmin",
    "/%252561dmin",
    "/admin%2f",
    "/admin%2Fx",
    "/%2fadmin",
    "/x%2f..%2fadmin",
    "/admin%5c",
    "/admin\\x",
    "/\\admin",
    "/x\\..\\admin",
    "/admin;",
    "/admin;x=1",
    "/admin;x=1/y",
    "/;x/admin",
    "/x/..;/admin",
    "/x/..;y=1/admin",
    "/.;/admin",
    "/admin/.;/",
    "/admin/..;/admin",
    "/admin%3bx",
    "/admin%3b/x",
    "/admin%00",
    "/admin%00.png",
    "/admin%0a",
    "/admin%0d%0ax",
    "/admin%09",
    "/%c0%afadmin",
    "/%c1%a1dmin",
    "/x/%c0%ae%c0%ae/admin",
    "/%e0%80%afadmin",
    "/x/%252e%252e/admin",
    "/x/%25252e%25252e/admin",
    "/%ef%bd%81dmin",
    "/%uff41dmin",
    "/%u0061dmin",
    "/../admin",
    "/..%2fadmin",
    "/admin/../admin",
    "/admin/x/..",
    "/admin/.",
    "/admin/x/../../admin/y",
    "https://a.test/admin",
    "HTTPS://A.TEST/admin",
    "https://a.test//admin",
    "https://a.test:443/admin",
    "http://a.test/x/../admin",
    "https://a.test/%61dmin",
    "https://u:p@a.test/admin",
    "admin",
    "*",
    "a.test/admin",
    "/admin HTTP/1.1\r\nX:",
    "/\tadmin",
    "/ admin",
];

/// Headers and framing that lead elsewhere with some servers.
const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a.test\r\nX-Original-URL: /admin\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX-Rewrite-URL: /admin\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX_Original_URL: /admin\r\n",
    "GET /admin HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 203.0.113.5\r\n",
    "GET /admin HTTP/1.1\r\nHost: a.test\r\nX-Real-IP: 203.0.113.5\r\nTrue-Client-IP: 203.0.113.5\r\nCF-Connecting-IP: 203.0.113.5\r\n",
    "GET /admin HTTP/1.1\r\nHost: a.test\r\nForwarded: for=203.0.113.5\r\n",
    "GET /admin HTTP/1.1\r\nHost: a.test\r\nX_Forwarded_For: 203.0.113.5\r\n",
    "GET /admin HTTP/1.1\r\nHost: A.TEST.\r\n",
    "GET /admin HTTP/1.1\r\nHost: a.test:1\r\n",
    "GET /admin HTTP/1.1\r\nHost: b.test\r\n",
    "GET /admin HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n",
    "GET /admin HTTP/1.1\r\n",
    "GET https://b.test/admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET /admin HTTP/1.0\r\nHost: a.test\r\n",
    "GET /admin HTTP/1.0\r\n",
    "GET /admin\r\n",
    "get /admin HTTP/1.1\r\nHost: a.test\r\n",
    "HEAD /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST /admin HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n",
    "PUT /admin HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n",
    "OPTIONS /admin HTTP/1.1\r\nHost: a.test\r\n",
    "TRACE /admin HTTP/1.1\r\nHost: a.test\r\n",
    "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n",
    "PROPFIND /admin HTTP/1.1\r\nHost: a.test\r\n",
    "MADE-UP /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\nConnection: host, x-forwarded-for\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n GET /admin HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\n\nGET /admin HTTP/1.1\r\nHost: a.test\r\n",
    "GET / HTTP/1.1\rHost: a.test\r\rGET /admin HTTP/1.1\r\nHost: a.test\r\n",
];

/// An nginx that takes everything for `/admin` that any server might.
fn lenient() -> Nginx {
    Nginx::start(
        "underscores_in_headers on; ignore_invalid_headers off;\n\
         location / { return 200 \"open\"; }\n\
         location ~* \"(^|/)admin([/;]|$)\" { return 200 \"the secret\"; }",
        &[],
    )
}

#[test]
fn no_spelling_of_a_locked_path_reaches_nginx() {
    let nginx = lenient();
    let control = exchange(
        nginx.address(),
        b"GET /admin HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
    );
    assert!(control.ends_with("the secret"), "{control}");
    for lock in LOCKS {
        let gateway = before(&nginx, lock);
        assert!(ask(gateway.address(0), "/x").ends_with("open"));
        for spelling in SPELLINGS {
            let answer = ask(gateway.address(0), spelling);
            assert!(!answer.contains("the secret"), "{spelling}: {answer}");
            if let Some(body) = ask_http2(&gateway, spelling) {
                assert!(!body.contains("the secret"), "{spelling} over HTTP/2: {body}");
            }
        }
    }
    nothing_locked_was_asked(&nginx, 1);
}

/// The body of the answer over HTTP/2, where the spelling can be sent at all and is answered.
fn ask_http2(gateway: &Gateway, spelling: &str) -> Option<String> {
    let uri: http::Uri = format!("https://a.test{spelling}").parse().ok()?;
    let target = uri.path_and_query().filter(|_| spelling.starts_with('/'))?;
    let answer = h2_get(gateway.address(0), "a.test", target.as_str());
    answer.ok().map(|(_, body)| body)
}

#[test]
fn no_header_method_or_framing_opens_a_locked_path() {
    let nginx = lenient();
    for lock in LOCKS {
        let gateway = before(&nginx, lock);
        for request in REQUESTS {
            let mut stream = Tls::default()
                .connect(gateway.address(0), "a.test")
                .expect("a handshake");
            let whole = format!("{request}Connection: close\r\n\r\n");
            stream.0.write_all(whole.as_bytes()).expect("it reads");
            stream.0.conn.send_close_notify();
            // Who has closed already needs no goodbye.
            let _ = stream.0.flush();
            let answer = read_to_end(&mut stream.0);
            assert!(!answer.contains("the secret"), "{request}: {answer}");
        }
    }
    nothing_locked_was_asked(&nginx, 0);
}

/// Apart from as many controls, which came straight to it.
fn nothing_locked_was_asked(nginx: &Nginx, controls: usize) {
    let asked = nginx.asked();
    let locked = asked.iter().filter(|line| line.to_lowercase().contains("admin"));
    assert_eq!(locked.collect::<Vec<_>>(), vec!["GET /admin /admin"; controls]);
}
