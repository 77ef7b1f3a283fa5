//! Certificates for a broker that listens with TLS, made anew for every broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of an authority, and of a broker's certificate that it signed.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the broker's certificate.
    pub authority: PathBuf,
    /// An authority that signed nothing.
    pub stranger: PathBuf,
    /// The broker's key and its certificate, in one file.
    pub(super) broker: PathBuf,
}

impl Certificates {
    /// Makes all of them in `directory`.
    pub fn make(directory: &Path) -> Self {
        let file = |name: &str| directory.join(name);
        for name in ["authority", "stranger"] {
            let subject = format!("/CN=recount-{name}");
            run(
                directory,
                &[
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-nodes",
                    "-days",
                    "30",
                    "-subj",
                    &subject,
                ],
                &[("-keyout", &format!("{name}.key")), ("-out", &format!("{name}.pem"))],
            );
        }
        run(
            directory,
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"],
            &[("-keyout", "broker.key"), ("-out", "broker.csr")],
        );
        fs::write(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        run(
            directory,
            &["x509", "-req", "-days", "30", "-CAcreateserial"],
            &[
                ("-in", "broker.csr"),
                ("-CA", "authority.pem"),
                ("-CAkey", "authority.key"),
                ("-extfile", "names"),
                ("-out", "broker.crt"),
            ],
        );
        let broker = [fs::read(file("broker.key")).unwrap(), fs::read(file("broker.crt")).unwrap()].concat();
        fs::write(file("broker.pem"), broker).unwrap();
        Certificates { authority: file("authority.pem"), stranger: file("stranger.pem"), broker: file("broker.pem") }
    }
}

fn run(directory: &Path, words: &[&str], files: &[(&str, &str)]) {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(words);
    for (flag, file) in files {
        command.args([flag, file]);
    }
    let output = command.output().expect("openssl is there: apt-get install openssl");
    assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
