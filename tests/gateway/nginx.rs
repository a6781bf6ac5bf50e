//! A real nginx as the origin.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::stack::{Config, Stack};

struct Nginx {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address")
            .port();
        let at = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/www; client_max_body_size 0;\n\
             location /seen {{ add_header X-Seen \"$request_uri|$http_host|$http_x_forwarded_for\"; return 200 \"seen\\n\"; }}\n\
             location /teapot {{ return 418 \"nginx says so\\n\"; }} }} }}\n"
        );
        fs::create_dir(folder.path().join("www")).expect("made");
        fs::write(folder.path().join("www/page.html"), "a page\n".repeat(50_000)).expect("written");
        fs::write(folder.path().join("nginx.conf"), config).expect("written");
        let process = Command::new("nginx")
            .args(["-p", &at.to_string(), "-c"])
            .arg(folder.path().join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs: install Debian's package `nginx`, or run tests/run, which does");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::yield_now();
        }
        Self {
            process,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn nginx_serves_through_the_gateway() {
    let nginx = Nginx::start();
    let stack = Stack::start(&Config::to(nginx.port));
    let mut client = stack.connect();
    let mut ask = |request: &str| {
        client.send(request);
        client.response()
    };
    let page = ask("GET /page.html HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!((page.status, page.body.len()), (200, 350_000));
    let etag = page.header("etag").expect("nginx gives one").to_owned();
    let again = ask(&format!(
        "GET /page.html HTTP/1.1\r\nHost: example.com\r\nIf-None-Match: {etag}\r\n\r\n"
    ));
    assert_eq!(again.status, 304);
    let part = ask("GET /page.html HTTP/1.1\r\nHost: example.com\r\nRange: bytes=0-5\r\n\r\n");
    assert_eq!((part.status, part.text().as_str()), (206, "a page"));
    let own = ask("GET /teapot HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!((own.status, own.text().as_str()), (418, "nginx says so\n"));
    let seen = ask("GET //seen/%2e/x?y=%2e HTTP/1.1\r\nHost: example.com:8080\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    assert_eq!(seen.header("x-seen"), Some("/seen/x?y=%2e|example.com:8080|127.0.0.1"));
    assert_eq!(
        seen.header("server").map(|server| server.starts_with("nginx")),
        Some(true)
    );
}
