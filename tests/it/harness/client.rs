//! Clients: raw bytes over TCP and TLS, HTTP/2, and curl.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

/// Far more than anything here needs, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A TCP connection with a bound on how long a read may hang.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends these bytes and reads until the other side closes.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("it reads");
    read_to_end(&mut stream)
}

/// Everything until the end; a reset is an end, too, and so is a TLS connection that is cut.
pub(crate) fn read_to_end(stream: &mut impl Read) -> String {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read).map_err(|error| error.kind()) {
        Ok(_) | Err(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {}
        Err(other) => panic!("the other side did not close: {other}"),
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// One response whose end is told by its Content-Length.
pub(crate) fn read_response(stream: &mut impl Read) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        read.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&read).to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    read.extend(body);
    String::from_utf8_lossy(&read).into_owned()
}

/// A TLS client that trusts any certificate: the tests look at it themselves.
pub(crate) struct Tls {
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    schemes: Vec<SignatureScheme>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            alpn: vec![b"http/1.1".to_vec()],
            versions: rustls::ALL_VERSIONS.to_vec(),
            schemes: provider().signature_verification_algorithms.supported_schemes(),
        }
    }
}

impl Tls {
    /// Offers these protocols.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Speaks this version only.
    pub(crate) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Can verify these signatures only.
    pub(crate) fn schemes(mut self, schemes: &[SignatureScheme]) -> Self {
        self.schemes = schemes.to_vec();
        self
    }

    /// The settings for other clients of rustls.
    pub(crate) fn config(self) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(self.schemes)))
            .with_no_client_auth();
        config.alpn_protocols = self.alpn;
        config
    }

    /// Connects and shakes hands; an empty name asks for none.
    ///
    /// # Errors
    /// The handshake failed.
    pub(crate) fn connect(self, address: SocketAddr, name: &str) -> io::Result<TlsStream> {
        let mut config = self.config();
        config.enable_sni = !name.is_empty();
        let name = if name.is_empty() { "unnamed.test" } else { name };
        shake_hands(Arc::new(config), address, name)
    }

    /// A client that remembers its sessions.
    pub(crate) fn returning(self) -> ReturningClient {
        ReturningClient(Arc::new(self.config()))
    }

    /// A client that offers the ticket it was given last to whichever name it asks for. None that is honest does.
    pub(crate) fn offering_any_ticket(self) -> ReturningClient {
        let mut config = self.config();
        config.resumption = Resumption::store(Arc::<AnyTicket>::default());
        ReturningClient(Arc::new(config))
    }
}

fn shake_hands(config: Arc<ClientConfig>, address: SocketAddr, name: &str) -> io::Result<TlsStream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut tcp = connect(address);
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(TlsStream(StreamOwned::new(session, tcp)))
}

/// A TLS client that resumes its sessions.
pub(crate) struct ReturningClient(Arc<ClientConfig>);

impl ReturningClient {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// The handshake failed.
    pub(crate) fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsStream> {
        shake_hands(Arc::clone(&self.0), address, name)
    }
}

/// Keeps sessions without regard to whose they are.
#[derive(Debug, Default)]
struct AnyTicket {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Option<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for AnyTicket {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        *self.tls12.lock().expect("not poisoned") = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().expect("not poisoned").clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.tls12.lock().expect("not poisoned") = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        *self.tls13.lock().expect("not poisoned") = Some(session);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().expect("not poisoned").take()
    }
}

/// A TLS connection.
pub(crate) struct TlsStream(pub(crate) StreamOwned<ClientConnection, TcpStream>);

impl TlsStream {
    /// The names of the server's certificate.
    pub(crate) fn names(&self) -> Vec<String> {
        let leaf = self
            .0
            .conn
            .peer_certificates()
            .and_then(<[_]>::first)
            .expect("a certificate");
        names(leaf)
    }

    /// The version agreed on.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    /// Whether a session was resumed, without a signature of the server.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The protocol agreed on.
    pub(crate) fn alpn(&self) -> Option<String> {
        let protocol = self.0.conn.alpn_protocol();
        protocol.map(|protocol| String::from_utf8_lossy(protocol).into_owned())
    }

    /// The server's certificate.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let leaf = self
            .0
            .conn
            .peer_certificates()
            .and_then(<[_]>::first)
            .expect("a certificate");
        leaf.to_vec()
    }

    /// Sends a request and reads one response.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).expect("it reads");
        read_response(&mut self.0)
    }

    /// Sends a request and reads until the end.
    pub(crate) fn exchange(mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).expect("it reads");
        read_to_end(&mut self.0)
    }
}

fn names(leaf: &[u8]) -> Vec<String> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(leaf).expect("a certificate");
    let names = certificate.subject_alternative_name().expect("names").expect("names");
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

/// A GET over HTTP/2: status and body, or the error that ended the stream.
pub(crate) fn h2_get(address: SocketAddr, host: &str, path: &str) -> Result<(u16, String), h2::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(Tls::default().alpn(&["h2"]).config()));
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let tls = connector.connect(name, tcp).await.expect("a handshake");
        let (mut sender, connection) = h2::client::handshake(tls).await?;
        tokio::spawn(connection);
        let request = http::Request::get(format!("https://{host}{path}"))
            .body(())
            .expect("a request");
        let response = sender.send_request(request, true)?.0.await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            text.extend(chunk);
        }
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    })
}

/// Runs curl, which trusts any certificate and ends with the status on a line of its own.
pub(crate) fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "-k", "-m", "60", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Takes any certificate, but no wrong signature.
#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
