//! The server: one for all tests of a process, on a free port of loopback. It keeps everything in memory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::install;
use crate::process::Process;

/// How long it may take to start. A second is usual; a machine that does much else is slow.
const START_MAX: Duration = Duration::from_secs(120);
/// What it says before the port that it has got.
const READY: &str = "Running on http://127.0.0.1:";
/// It asks for a name, and checks none.
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=test";

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// A running server. It ends with this process.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Server {
    /// The one of this process.
    pub(super) fn shared() -> &'static Server {
        &SERVER
    }

    fn start() -> Server {
        let directory = TempDir::with_prefix("recount-s3-").unwrap();
        let log = directory.path().join("server.log");
        let mut command = Command::new(install::python());
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        let process = Process::start(&command, &log);
        let deadline = Instant::now() + START_MAX;
        let port = loop {
            match port_in(&log) {
                Some(port) => break port,
                None => assert!(process.is_running() && Instant::now() < deadline, "{}", log_of(&log)),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Server { addr, _process: process, _directory: directory }
    }

    /// One request: the status, and the body.
    pub(super) fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {AUTHORIZATION}\r\nContent-Type: \
             application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.addr,
            body.len()
        );
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        (status, answer.split_off(end + 4))
    }
}

fn port_in(log: &Path) -> Option<u16> {
    let text = log_of(log);
    let digits: String = text.split_once(READY)?.1.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn log_of(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}
