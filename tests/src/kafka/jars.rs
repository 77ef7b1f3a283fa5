//! Kafka's jars: fetched once from Maven Central, then found in `target`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The class path of the broker, fetched if it is not there yet.
///
/// # Panics
/// Where Maven or Java is missing or Maven Central can not be reached: it says what to install.
pub(super) fn class_path() -> String {
    let jars = home();
    if !jars.exists() {
        let kafka = jars.parent().expect("it lies in a directory");
        fs::create_dir_all(kafka).unwrap();
        // Test binaries that begin together fetch once.
        let lock = File::create(kafka.join("LOCK")).unwrap();
        lock.lock().unwrap();
        if !jars.exists() {
            fetch(&jars);
        }
    }
    format!("{}/*", jars.display())
}

/// Where the archive of their classes is, whether it has been made or not.
pub(super) fn archive() -> PathBuf {
    let mut name = home().into_os_string();
    name.push(".jsa");
    name.into()
}

/// The directory of the jars.
fn home() -> PathBuf {
    root().join("target/kafka").join(version(&fs::read_to_string(pom()).unwrap()))
}

fn pom() -> PathBuf {
    root().join("tests/kafka/pom.xml")
}

/// The Java program.
pub(super) fn java() -> Command {
    Command::new("java")
}

fn fetch(jars: &Path) {
    assert!(
        Command::new("java").arg("-version").output().is_ok(),
        "tests that run Kafka need Java 17 or later: apt-get install default-jre-headless"
    );
    let unfinished = jars.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom())
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", unfinished.display()))
        .output()
        .unwrap_or_else(|cause| {
            panic!("tests that run Kafka fetch it by Maven, and mvn can not be run ({cause}): apt-get install maven")
        });
    assert!(
        output.status.success(),
        "mvn could not fetch Kafka; is Maven Central reachable?\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&unfinished, jars).unwrap();
}

fn version(pom: &str) -> String {
    let after = pom.split("<kafka.version>").nth(1).expect("the pom names Kafka's version");
    after.split('<').next().unwrap().to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
