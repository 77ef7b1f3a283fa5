//! The bridge from the engine's blocking world to the asynchronous one: one thread waits for epochs, tasks watch a channel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use recount_dataflow::read::{ReadError, Readable, Reader};
use tokio::sync::watch;

/// How long the thread waits for an epoch before it looks whether to stop.
const WAIT_STEP: Duration = Duration::from_millis(50);

/// The thread that waits for epochs. It ends by itself when the engine stops.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Starts the thread. The channel closes when the engine has stopped.
    ///
    /// # Errors
    /// Where the thread can not be started.
    pub(crate) fn start(reader: Reader) -> io::Result<(Watcher, watch::Receiver<Readable>)> {
        let (sender, receiver) = watch::channel(reader.readable());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread =
            thread::Builder::new().name("epoch-watcher".into()).spawn(move || watch(&reader, &sender, &stopped))?;
        Ok((Watcher { stop, thread }, receiver))
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watcher only waits and sends; neither panics");
    }
}

fn watch(reader: &Reader, sender: &watch::Sender<Readable>, stop: &AtomicBool) {
    let mut seen = reader.readable();
    while !stop.load(Ordering::Relaxed) {
        match reader.wait_for(seen.upper, Instant::now() + WAIT_STEP) {
            Ok(readable) => {
                seen = readable;
                sender.send_replace(readable);
            }
            Err(ReadError::Stopped) => return,
            Err(_) => {}
        }
    }
}
