//! Other programs: the `recount` that was built beside this one, and Python.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Args;
use crate::measure::peak_bytes;

/// How often a program's memory is looked at. The kernel keeps the peak, so only the last moments can be missed.
const LOOK: Duration = Duration::from_millis(5);

/// What a finished program took.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// From start to exit.
    pub(crate) seconds: f64,
    /// The most memory it held, in bytes.
    pub(crate) peak_bytes: u64,
    /// What it printed.
    pub(crate) stdout: String,
}

/// The `recount` of the same build as this program.
///
/// # Errors
/// Where it has not been built.
pub(crate) fn recount() -> Result<Command, Box<dyn Error>> {
    let path = std::env::current_exe()?.with_file_name("recount");
    match path.exists() {
        true => Ok(Command::new(path)),
        false => Err(format!("{} is not built; `make bench` builds it", path.display()).into()),
    }
}

/// A Python with the given requirements, in an environment of its own that is made where it is not there.
///
/// # Errors
/// Where Python or its packages can not be had.
pub(crate) fn python(environment: &Path, requirements: &Path) -> Result<Command, Box<dyn Error>> {
    let python = environment.join("bin/python");
    let wanted = std::fs::read(requirements)?;
    let installed = environment.join("requirements.txt");
    if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
        succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
        std::fs::write(installed, wanted)?;
    }
    Ok(Command::new(python))
}

/// Runs a program to its end.
///
/// # Errors
/// Where it can not be started or fails.
pub(crate) fn succeed(command: &mut Command) -> Result<Usage, Box<dyn Error>> {
    let clock = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        peak = peak.max(peak_bytes(child.id()).unwrap_or(0));
        thread::sleep(LOOK);
    }
    let seconds = clock.elapsed().as_secs_f64();
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status).into());
    }
    Ok(Usage { seconds, peak_bytes: peak, stdout: String::from_utf8(output.stdout)? })
}

/// A program in the background; it is ended with this value.
pub(crate) struct Background(pub(crate) Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ads of the file of events.
pub(crate) const EVENTS_ADS: u64 = 500_000;

/// A generated file of events as JSON lines, made where it is not there yet. One ad has `hot_ad` of the clicks.
///
/// # Errors
/// Where `recount generate` fails.
pub(crate) fn events_file(args: &Args, hot_ad: f64) -> Result<PathBuf, Box<dyn Error>> {
    // Copies and verdicts come on top of the clicks: about one record in twenty.
    let clicks = args.events * 20 / 21;
    let file = args.dir.join(format!("{clicks}-clicks-{hot_ad}-hot.jsonl"));
    if !file.exists() {
        eprintln!("generating {}", file.display());
        let unfinished = args.dir.join("unfinished.jsonl");
        let [clicks, ads, hot_ad] = [clicks.to_string(), EVENTS_ADS.to_string(), hot_ad.to_string()];
        let mut command = recount()?;
        command.args(["generate", "--seed", "1", "--clicks", &clicks, "--ads", &ads, "--hot-ad", &hot_ad, "--out"]);
        succeed(command.arg(&unfinished))?;
        std::fs::rename(unfinished, &file)?;
    }
    Ok(file)
}

/// How many lines a file has.
///
/// # Errors
/// Where it can not be read.
pub(crate) fn lines(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return Ok(lines);
        }
        lines += bytes[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

/// Starts a service and waits for the line that says where its gRPC listens.
///
/// # Errors
/// Where it does not start.
pub(crate) fn ready(command: Command) -> Result<(Background, String), Box<dyn Error>> {
    let (service, ready) = ready_at(command)?;
    let address = ready["grpc"].as_str().ok_or("the service does not say where it listens")?;
    Ok((service, address.to_string()))
}

/// The same, with all that the line says.
///
/// # Errors
/// Where it does not start.
pub(crate) fn ready_at(mut command: Command) -> Result<(Background, serde_json::Value), Box<dyn Error>> {
    let mut service = Background(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(service.0.stdout.take().ok_or("its output is piped")?).read_line(&mut line)?;
    Ok((service, serde_json::from_str(&line)?))
}
