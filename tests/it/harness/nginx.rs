//! A real nginx as the origin.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Far more than it needs to start, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// nginx with a folder of its own. Killed when dropped, by its own process id.
pub(crate) struct Nginx {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// Starts it with these contents of its `server` block, where `@address` stands for where it listens and `@folder` for
    /// its folder, and with these files below its root.
    pub(crate) fn start(server: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            let path = folder.path().join("www").join(name);
            fs::create_dir_all(path.parent().expect("below www")).expect("made");
            fs::write(path, content).expect("written");
        }
        let address = free_address();
        fs::write(
            folder.path().join("nginx.conf"),
            configuration(server, folder.path(), address),
        )
        .expect("written");
        let process = run(folder.path(), address);
        Self {
            folder,
            address,
            process,
        }
    }

    /// Kills it: connections break as they are.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was started");
    }

    /// Starts it again where it was, after it was killed.
    pub(crate) fn restart(&mut self) {
        self.process = run(self.folder.path(), self.address);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, for `servers`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The requests it was asked so far: method, target as it came, and the path that it made of it.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs it, and waits until it listens.
fn run(folder: &Path, address: SocketAddr) -> Child {
    let mut process = Command::new(program())
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx runs");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let ended = process.try_wait().expect("it was started");
        let log = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "nginx did not start: {}",
            log()
        );
        thread::yield_now();
    }
    process
}

fn program() -> &'static str {
    let found = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    found.expect("nginx is not installed: tests/run installs it, or install Debian's package nginx-light")
}

/// A port of a loopback address that nobody else uses, so that it is still free when nginx binds it.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.77.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

fn configuration(server: &str, folder: &Path, address: SocketAddr) -> String {
    let text = format!(
        "daemon off; master_process off; pid @folder/pid; error_log @folder/error.log;\n\
         events {{}}\n\
         http {{\n\
         default_type text/plain;\n\
         log_format asked '$request_method $request_uri $uri'; access_log @folder/access.log asked;\n\
         client_body_temp_path @folder/bodies; proxy_temp_path @folder/proxy; fastcgi_temp_path @folder/fastcgi;\n\
         uwsgi_temp_path @folder/uwsgi; scgi_temp_path @folder/scgi; client_max_body_size 0;\n\
         server {{ listen @address; root @folder/www;\n{server}\n}} }}\n"
    );
    text.replace("@folder", &folder.to_string_lossy())
        .replace("@address", &address.to_string())
}
