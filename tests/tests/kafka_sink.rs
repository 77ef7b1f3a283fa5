//! The publisher against a real broker that stops answering in the middle of a commit.

#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use recount_connectors::kafka::sink::{Batch, Cleanup, Delivery, Identity, Publisher, PublisherSettings, TopicPlan};
use recount_connectors::kafka::{Client, ClientSettings};
use recount_tests::kafka::{Broker, BrokerSettings, Topics};

/// How long a commit waits for its end.
const OUTCOME_WAIT: Duration = Duration::from_millis(300);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The request that ends a transaction, by its number in the protocol.
const END_TXN: i16 = 26;

/// When the broker is halted, of the next commit.
#[derive(Clone, Copy, Debug)]
enum Halt {
    /// Before it hears of it: nothing is committed.
    Before,
    /// Behind its answer, which nobody hears: it is committed.
    Behind,
}

/// Between the broker and its clients, to see what they say. What a broker says of itself leads to here.
struct Proxy {
    broker: OnceLock<Weak<Broker>>,
    upstream: SocketAddr,
    next: Mutex<Option<Halt>>,
}

impl Proxy {
    fn start() -> (Arc<Broker>, Arc<Proxy>) {
        // A broker that misses its heartbeats gives up all that it leads: here it is only slow.
        let settings = BrokerSettings::default().with("broker.session.timeout.ms", "30000");
        let mut proxy = None;
        let broker = Arc::new(Broker::start_behind(settings, |upstream| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let started = Arc::new(Proxy { broker: OnceLock::new(), upstream, next: Mutex::new(None) });
            let accepting = Arc::clone(proxy.insert(started));
            thread::spawn(move || listener.incoming().for_each(|client| accepting.pass(client.unwrap())));
            address
        }));
        let proxy = proxy.unwrap();
        proxy.broker.set(Arc::downgrade(&broker)).unwrap();
        (broker, proxy)
    }

    /// Passes on what a client and the broker say to each other.
    fn pass(self: &Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(self.upstream) else { return };
        let withheld = Arc::new(Mutex::new(None));
        for (mut from, mut to, is_request) in [
            (client.try_clone().unwrap(), broker.try_clone().unwrap(), true),
            (broker.try_clone().unwrap(), client.try_clone().unwrap(), false),
        ] {
            let (proxy, withheld) = (Arc::clone(self), Arc::clone(&withheld));
            from.set_nodelay(true).unwrap();
            thread::spawn(move || {
                while let Some(frame) = read_frame(&mut from) {
                    let passes =
                        if is_request { proxy.hears(&frame, &withheld) } else { proxy.answers(&frame, &withheld) };
                    if passes && to.write_all(&frame).is_err() {
                        break;
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
    }

    /// Whether the broker gets a request; the answer to withhold is noted.
    fn hears(&self, request: &[u8], withheld: &Mutex<Option<[u8; 4]>>) -> bool {
        if i16::from_be_bytes([request[4], request[5]]) != END_TXN {
            return true;
        }
        match self.next.lock().unwrap().take() {
            None => true,
            Some(Halt::Before) => {
                self.halt();
                false
            }
            Some(Halt::Behind) => {
                *withheld.lock().unwrap() = Some(request[8..12].try_into().unwrap());
                true
            }
        }
    }

    /// Whether the client gets an answer.
    fn answers(&self, answer: &[u8], withheld: &Mutex<Option<[u8; 4]>>) -> bool {
        let is_withheld = withheld.lock().unwrap().take_if(|correlation| correlation[..] == answer[4..8]).is_some();
        if is_withheld {
            self.halt();
        }
        !is_withheld
    }

    fn halt(&self) {
        if let Some(broker) = self.broker.get().and_then(Weak::upgrade) {
            broker.pause();
        }
    }
}

/// The next message of Kafka's protocol, with its length in front; `None` where there is no more.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let mut frame = length.to_vec();
    frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

fn settings(broker: &Broker) -> PublisherSettings {
    let client = ClientSettings::new(broker.servers()).with("reconnect.backoff.max.ms", "200");
    let topic = TopicPlan {
        name: "counts".into(),
        partitions: Some(1),
        replication: None,
        cleanup: Cleanup::Delete(None),
        message_bytes_max: None,
    };
    PublisherSettings {
        client: Client::new(&client).unwrap(),
        identity: Identity { store: 1, sink: "counts", generation: 0, writer: 1 },
        topics: vec![topic],
        progress_topic: "progress".into(),
        delivery: Delivery::ExactlyOnce,
        transaction_timeout: PATIENCE,
        outcome_wait: OUTCOME_WAIT,
        guard: Arc::new(|| Ok(())),
    }
}

/// Publishes an epoch of one message.
fn publish(publisher: &mut Publisher, epoch: u64) {
    let mut batch = Batch::default();
    batch.begin(1_700_000_000_000, Vec::new());
    batch.push(b"key", Some(epoch.to_string().as_bytes()));
    publisher.publish(&batch, Some(epoch)).unwrap();
}

/// A commit that is not answered has happened or not. What Kafka holds is read back, and every epoch is there once and in order.
#[test]
fn a_commit_whose_outcome_is_not_known_is_read_back() {
    let (broker, proxy) = Proxy::start();
    let mut publisher = Publisher::open(settings(&broker), Arc::new(|| false)).unwrap();
    assert_eq!(publisher.claim(0).unwrap(), None);
    let outcomes = publisher.outcomes();
    let unknown = || outcomes.unknown.load(Ordering::Relaxed);
    let mut epoch = 0;
    for (before, halt) in (0..).zip([Halt::Before, Halt::Behind, Halt::Behind, Halt::Before]) {
        *proxy.next.lock().unwrap() = Some(halt);
        thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + PATIENCE;
                while unknown() == before && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                broker.resume();
            });
            epoch += 1;
            publish(&mut publisher, epoch);
        });
        assert_eq!(unknown(), before + 1, "{halt:?}");
        epoch += 1;
        publish(&mut publisher, epoch);
    }
    drop(publisher);
    let published: Vec<_> = Topics::of(broker.servers()).consume("counts").into_iter().map(|m| m.value).collect();
    let expected: Vec<_> = (1..=epoch).map(|epoch: u64| Some(epoch.to_string().into_bytes())).collect();
    assert_eq!(published, expected);
    let mut next = Publisher::open(settings(&broker), Arc::new(|| false)).unwrap();
    assert_eq!(next.claim(epoch).unwrap(), Some(epoch), "the progress is that of the last epoch");
}
