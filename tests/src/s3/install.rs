//! The server's packages: fetched once from PyPI, then found in `target`.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A Python that has the server, which is fetched if it is not there yet.
///
/// # Panics
/// Where Python is missing or PyPI can not be reached: it says what to install.
pub(super) fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let requirements = root.join("tests/s3/requirements.txt");
    let mut version = DefaultHasher::new();
    fs::read(&requirements).unwrap().hash(&mut version);
    let all = root.join("target/s3");
    fs::create_dir_all(&all).unwrap();
    let installed = all.join(format!("{:016x}", version.finish()));
    let (python, is_whole) = (installed.join("bin/python"), installed.join("WHOLE"));
    if !is_whole.exists() {
        // Test binaries that begin together fetch once.
        let lock = File::create(all.join("LOCK")).unwrap();
        lock.lock().unwrap();
        if !is_whole.exists() {
            install(&installed, &python, &requirements);
            File::create(&is_whole).unwrap();
        }
    }
    python
}

/// It can not be moved into place once it is whole: its programs know where they are.
fn install(installed: &Path, python: &Path, requirements: &Path) {
    let _ = fs::remove_dir_all(installed);
    let made = Command::new("python3").args(["-m", "venv"]).arg(installed).output();
    let made = made.unwrap_or_else(|cause| {
        panic!(
            "tests with an object store need Python, and python3 can not be run ({cause}): apt-get install python3-venv"
        )
    });
    check("python3 -m venv failed: apt-get install python3-venv", &made);
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"]).arg(requirements);
    check("pip could not fetch the server; is PyPI reachable?", &pip.output().unwrap());
}

fn check(what: &str, output: &Output) {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{what}\n{}", said.concat());
}
