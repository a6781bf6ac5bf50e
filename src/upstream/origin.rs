//! A compiled `[upstream.NAME]`: servers with everything that is needed to connect to them.

use std::{
    fmt,
    hash::{Hash, Hasher},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::config::settings::{Server, Upstream};

/// A named pool of servers, compiled. Part of the snapshot.
#[derive(Debug)]
pub struct Origin {
    settings: Arc<Upstream>,
    servers: Vec<Arc<Endpoint>>,
    /// Whose turn it is, over all workers.
    turn: AtomicUsize,
}

/// A server and how it is spoken to. Two that are equal share their connections, over reloads too.
#[derive(Debug)]
pub struct Endpoint {
    server: Server,
    /// How it is called in logs.
    name: Box<str>,
    tls: Option<EndpointTls>,
}

/// How an https server proves itself.
#[derive(Debug)]
pub(super) struct EndpointTls {
    /// The name that its certificate must have, sent as SNI.
    pub(super) name: ServerName<'static>,
    /// The PEM bytes of the roots; `None`: the public ones. What tells endpoints apart: `client` is made from it.
    roots: Option<Arc<[u8]>>,
    pub(super) client: Arc<ClientConfig>,
}

/// Why an `[upstream.NAME]` does not load.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The file of roots cannot be read.
    #[error("cannot read the roots in {}", path.display())]
    UnreadableRoots {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of roots holds no usable certificate, or one that is none.
    #[error("{} does not hold PEM certificates: {detail}", path.display())]
    BadRoots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The name that a server must prove is no name.
    #[error("`{name}` is no name that a certificate can have")]
    BadName {
        /// The name.
        name: String,
    },
    /// This platform's TLS library does not work.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Origin {
    /// Compiles an upstream; reads its `ca` file if it has one.
    ///
    /// # Errors
    /// Roots that cannot be read or used, and names that no certificate can prove.
    pub fn load(settings: Arc<Upstream>) -> Result<Self, OriginError> {
        let is_tls = |server: &Server| matches!(server, Server::Https { .. });
        let verifier = match settings.servers.iter().any(is_tls) {
            true => Some(Verifier::load(settings.ca.as_ref())?),
            false => None,
        };
        let servers = settings
            .servers
            .iter()
            .map(|server| Endpoint::new(server, settings.tls_name.as_deref(), verifier.as_ref()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            settings,
            servers,
            turn: AtomicUsize::new(0),
        })
    }

    /// The settings that it was compiled from.
    pub fn settings(&self) -> &Arc<Upstream> {
        &self.settings
    }

    /// Its servers, as written.
    pub fn servers(&self) -> &[Arc<Endpoint>] {
        &self.servers
    }

    /// Its servers, starting with the one whose turn it is, which passes on.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let start = match self.servers.len() {
            0 | 1 => 0,
            count => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let (later, first) = self.servers.split_at(start);
        first.iter().chain(later)
    }
}

impl Endpoint {
    fn new(server: &Server, tls_name: Option<&str>, verifier: Option<&Verifier>) -> Result<Self, OriginError> {
        let tls = match (server, verifier) {
            (Server::Https { host, .. }, Some(verifier)) => {
                let name = tls_name.unwrap_or(host);
                Some(EndpointTls {
                    name: ServerName::try_from(name.to_owned())
                        .map_err(|_| OriginError::BadName { name: name.to_owned() })?,
                    roots: verifier.roots.clone(),
                    client: Arc::clone(&verifier.client),
                })
            }
            (Server::Https { .. } | Server::Http { .. } | Server::Demo, _) => None,
        };
        Ok(Self {
            server: server.clone(),
            name: name(server).into(),
            tls,
        })
    }

    /// As it was written: scheme, host and port.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The server as configured.
    pub fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn tls(&self) -> Option<&EndpointTls> {
        self.tls.as_ref()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn name(server: &Server) -> String {
    let (scheme, host, port) = match server {
        Server::Http { host, port } => ("http", host, port),
        Server::Https { host, port } => ("https", host, port),
        Server::Demo => return "builtin:demo".to_owned(),
    };
    match host.contains(':') {
        true => format!("{scheme}://[{host}]:{port}"),
        false => format!("{scheme}://{host}:{port}"),
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.server == other.server && self.tls == other.tls
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The server alone: roots are long, and one server with several of them is rare.
        self.server.hash(state);
    }
}

impl PartialEq for EndpointTls {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.roots == other.roots
    }
}

/// What https servers are verified against.
struct Verifier {
    roots: Option<Arc<[u8]>>,
    client: Arc<ClientConfig>,
}

impl Verifier {
    fn load(ca: Option<&PathBuf>) -> Result<Self, OriginError> {
        let (roots, store) = match ca {
            None => (
                None,
                RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            ),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|source| OriginError::UnreadableRoots {
                    path: path.clone(),
                    source,
                })?;
                let store = parse_roots(&pem).map_err(|detail| OriginError::BadRoots {
                    path: path.clone(),
                    detail,
                })?;
                (Some(Arc::from(pem)), store)
            }
        };
        let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            roots,
            client: Arc::new(client),
        })
    }
}

fn parse_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    match store.is_empty() {
        true => Err("there is none in it".to_owned()),
        false => Ok(store),
    }
}
