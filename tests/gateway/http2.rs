//! HTTP/2 in front, HTTP/1.1 behind.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use tokio_rustls::TlsConnector;

use crate::stack::{Origin, Stack};

pub(crate) type Sender = h2::client::SendRequest<Bytes>;

/// Runs a client. The gateway has threads of its own.
pub(crate) fn run(client: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(client);
}

/// A connection to the gateway's TLS listener that trusts its self-made certificate, whatever it is.
pub(crate) async fn connect(stack: &Stack) -> Sender {
    let tcp = tokio::net::TcpStream::connect(stack.tls).await.expect("it listens");
    let name = rustls::pki_types::ServerName::try_from("example.com").expect("a name");
    let tls = TlsConnector::from(Arc::new(trusting()))
        .connect(name, tcp)
        .await
        .expect("a handshake");
    let (sender, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("it takes requests")
}

/// A client that speaks HTTP/2 and trusts everybody.
pub(crate) fn trusting() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn body_and_trailers_pass_both_ways() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    );
    let stack = Stack::before(&origin);
    run(async {
        let mut sender = connect(&stack).await;
        let request = Request::post("https://example.com/call")
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .expect("a request");
        let (response, mut body) = sender.send_request(request, false).expect("it is sent");
        body.send_data(Bytes::from_static(b"hello"), false).expect("it is sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        body.send_trailers(trailers).expect("they are sent");
        let mut response = response.await.expect("an answer").into_body();
        let mut text = Vec::new();
        while let Some(chunk) = response.data().await {
            text.extend_from_slice(&chunk.expect("a chunk"));
        }
        assert_eq!(text, b"ok");
        let trailers = response.trailers().await.expect("an end").expect("trailers");
        assert_eq!(trailers.get("grpc-status"), Some(&HeaderValue::from_static("0")));
    });
    let received = origin.received().remove(0);
    assert_eq!(received.line, "POST /call HTTP/1.1");
    assert_eq!(received.body, b"hello");
    assert_eq!(received.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(received.all("host"), ["example.com"]);
    assert_eq!(received.all("cookie"), ["a=1; b=2"]);
    assert_eq!(received.all("x-forwarded-proto"), ["https"]);
    assert_eq!(received.all("te"), ["trailers"]);
}

#[test]
fn a_request_without_a_body_is_forwarded_without_one() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let stack = Stack::before(&origin);
    run(async {
        let mut sender = connect(&stack).await;
        let request = Request::get("https://example.com/").body(()).expect("a request");
        let (response, _) = sender.send_request(request, true).expect("it is sent");
        assert_eq!(response.await.expect("an answer").status(), 204);
    });
    let received = origin.received().remove(0);
    assert_eq!(received.all("transfer-encoding"), [] as [&str; 0]);
    assert_eq!(received.all("content-length"), [] as [&str; 0]);
}

#[test]
fn a_host_of_another_site_than_the_handshake_s_is_421() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let stack = Stack::start(&crate::stack::Config {
        more: "[[site]]\nname = \"other\"\nhosts = [\"other.example\"]\nupstream = \"app\"\nself_signed = true",
        ..crate::stack::Config::to(origin.port)
    });
    run(async {
        let mut sender = connect(&stack).await;
        let request = Request::get("https://other.example/").body(()).expect("a request");
        let (response, _) = sender.send_request(request, true).expect("it is sent");
        assert_eq!(response.await.expect("an answer").status(), 421);
    });
    assert_eq!(origin.connections(), 0);
}
