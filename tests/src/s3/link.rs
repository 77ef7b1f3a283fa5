//! A connection that can be cut and stopped: everything that is sent to its address goes to another, as long as it is whole.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// Bytes that are on their way.
const BUFFER_BYTES: usize = 64 << 10;

/// A way to an address.
pub struct Link {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Cut,
    Silent,
}

struct Shared {
    state: Mutex<(State, Vec<TcpStream>)>,
    changed: Condvar,
}

impl Link {
    /// A way to `target`, for as long as this process lives.
    pub(super) fn to(target: SocketAddr) -> Link {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::new((State::Whole, Vec::new())), changed: Condvar::new() });
        let link = Link { addr, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.join(client, target);
            }
        });
        link
    }

    /// Where it begins.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Breaks every connection, and every new one at once.
    pub fn cut(&self) {
        self.set(State::Cut);
    }

    /// Lets nothing through, and breaks nothing.
    pub fn silence(&self) {
        self.set(State::Silent);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.set(State::Whole);
    }

    fn set(&self, state: State) {
        let mut held = self.shared.lock();
        held.0 = state;
        if state == State::Cut {
            held.1.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (State, Vec<TcpStream>)> {
        self.state.lock().unwrap()
    }

    /// Joins a client with the target.
    fn join(self: &Arc<Self>, client: TcpStream, target: SocketAddr) {
        let Ok(server) = TcpStream::connect(target) else { return };
        let mut held = self.lock();
        if held.0 == State::Cut {
            return;
        }
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        held.1.extend([copy(&client), copy(&server)]);
        drop(held);
        for (from, to) in [(copy(&client), copy(&server)), (server, client)] {
            let shared = Arc::clone(self);
            thread::spawn(move || shared.pump(from, to));
        }
    }

    /// Passes on what comes, until either end is closed.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let held = self.changed.wait_while(self.lock(), |(state, _)| *state == State::Silent).unwrap();
            if held.0 == State::Cut {
                break;
            }
            drop(held);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
