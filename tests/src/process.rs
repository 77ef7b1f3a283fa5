//! A child process that can be stopped, killed and paused, and that does not outlive this one, however this one ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts the program, says its id, and waits for a word: `stop` asks it to end, and any other word, or the end of the input
/// because who wrote there is gone, kills it.
const KEEPER: &str = r#"
"$@" </dev/null >>"$KEEPER_LOG" 2>&1 &
echo $!
read -r word
kill -CONT $! 2>/dev/null
case "$word" in
stop) kill -TERM $! ;;
*) kill -KILL $! ;;
esac
wait $!
"#;

/// A running program, and the shell that keeps it.
pub(crate) struct Process {
    keeper: Child,
    pid: String,
}

impl Process {
    /// Starts `program`, whose output is appended to the file `log`.
    pub(crate) fn start(program: &Command, log: &Path) -> Self {
        File::options().create(true).append(true).open(log).unwrap();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(program.get_program())
            .args(program.get_args())
            .env("KEEPER_LOG", log)
            // What is sent to the group of the tests, as by Ctrl-C, must not end the keeper before its program.
            .process_group(0)
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh is there");
        let mut pid = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        Process { keeper, pid: pid.trim().to_owned() }
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&self) -> bool {
        let state = Command::new("ps").args(["-o", "stat=", "-p", &self.pid]).output().expect("ps is there");
        let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.pid.parse().expect("sh says a number")
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        self.end("stop\n");
    }

    /// Sends it a signal that it lives on after.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid]).status().expect("kill is there");
        assert!(sent.success(), "process {} is gone", self.pid);
    }

    fn end(&mut self, word: &str) {
        if let Some(mut input) = self.keeper.stdin.take() {
            let _ = input.write_all(word.as_bytes());
            drop(input);
            let _ = self.keeper.wait();
        }
    }
}

impl Drop for Process {
    /// Kills it, as `kill -9` does.
    fn drop(&mut self) {
        self.end("kill\n");
    }
}
