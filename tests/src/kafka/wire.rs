//! Kafka's protocol by hand, for the few requests that librdkafka's bindings lack: which replica is to lead, what users may do, and
//! what transactions nobody will end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::rights::Right;

/// Requests, by their numbers in the protocol.
const WRITE_TXN_MARKERS: i16 = 27;
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const ELECT_LEADERS: i16 = 43;
const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
const DESCRIBE_PRODUCERS: i16 = 61;

/// How long a broker may take to carry a request out, in ms.
const TIMEOUT_MS: i32 = 30_000;

/// Errors that are none here: the election was not needed; the reassignment is still going on.
const ELECTION_NOT_NEEDED: i16 = 84;

/// The numbers of names that are prefixes, and of what is allowed rather than denied.
const PREFIXED: u8 = 4;
const DENY: u8 = 2;
const ALLOW: u8 = 3;

/// A transaction that is open in a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenTransaction {
    producer_id: i64,
    producer_epoch: i32,
    coordinator_epoch: i32,
}

/// A connection to one broker, which passes requests on to the controller.
pub(super) struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects to the first of these servers that can be reached.
    pub(super) fn connect(servers: &str) -> Self {
        let stream = servers.split(',').find_map(|server| TcpStream::connect(server).ok());
        let stream = stream.unwrap_or_else(|| panic!("no broker can be reached at {servers}"));
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Wire { stream }
    }

    /// Names the replicas of a partition; the first is the one that should lead.
    pub(super) fn reassign(&mut self, topic: &str, partition: i32, replicas: &[i32]) {
        let mut body = Body::default();
        body.int32(TIMEOUT_MS);
        body.one_partition(topic, partition);
        body.compact_length(replicas.len());
        replicas.iter().for_each(|&replica| body.int32(replica));
        // Nothing tagged: the partition, the topic, the request.
        (0..3).for_each(|_| body.int8(0));
        let answer = self.ask(ALTER_PARTITION_REASSIGNMENTS, 0, true, &body.bytes);
        // After the header's tags and the time of throttling.
        assert_eq!(error_at(&answer, 1 + 4), 0, "{topic}/{partition} can not be reassigned");
    }

    /// Lets the first replica of a partition lead, if it is in sync.
    pub(super) fn elect_preferred(&mut self, topic: &str, partition: i32) {
        let mut body = Body::default();
        body.int8(0);
        body.int32(1);
        body.string(topic);
        body.int32(1);
        body.int32(partition);
        body.int32(TIMEOUT_MS);
        let answer = self.ask(ELECT_LEADERS, 1, false, &body.bytes);
        let error = error_at(&answer, 4);
        assert!([0, ELECTION_NOT_NEEDED].contains(&error), "no leader can be elected for {topic}/{partition}: {error}");
    }

    /// Gives a user a right.
    pub(super) fn allow(&mut self, right: &Right<'_>) {
        self.change_rule(CREATE_ACLS, right, ALLOW);
    }

    /// Denies a user a right.
    pub(super) fn deny(&mut self, right: &Right<'_>) {
        self.change_rule(CREATE_ACLS, right, DENY);
    }

    /// Takes back that a right was denied.
    pub(super) fn deny_no_more(&mut self, right: &Right<'_>) {
        self.change_rule(DELETE_ACLS, right, DENY);
    }

    fn change_rule(&mut self, request: i16, right: &Right<'_>, permission: u8) {
        let mut body = Body::default();
        body.int32(1);
        body.int8(right.resource as u8);
        body.string(right.prefix);
        body.int8(PREFIXED);
        body.string(&format!("User:{}", right.user));
        // From any host.
        body.string("*");
        body.int8(right.operation as u8);
        body.int8(permission);
        let answer = self.ask(request, 1, false, &body.bytes);
        // The time of throttling, the number of results.
        assert_eq!(error_at(&answer, 4 + 4), 0, "the rule for {right:?} can not be changed");
    }

    /// The transactions that are open in a partition, which this broker leads.
    pub(super) fn open_transactions(&mut self, topic: &str, partition: i32) -> Vec<OpenTransaction> {
        let mut body = Body::default();
        body.one_partition(topic, partition);
        (0..2).for_each(|_| body.int8(0));
        let answer = self.ask(DESCRIBE_PRODUCERS, 0, true, &body.bytes);
        let mut rest = Rest(&answer);
        // The header's tags, the time of throttling.
        rest.skip(1 + 4);
        rest.one_partition();
        assert_eq!(rest.number(2), 0, "the producers of {topic}/{partition} are not known");
        assert_eq!(rest.number(1), 0, "there is no message where there is no error");
        let producers = rest.compact_length();
        let mut open = Vec::new();
        for _ in 0..producers {
            let (producer_id, producer_epoch) = (rest.number(8), rest.number(4) as i32);
            // The last sequence and time.
            rest.skip(4 + 8);
            let (coordinator_epoch, start) = (rest.number(4) as i32, rest.number(8));
            rest.skip(1);
            if start >= 0 {
                open.push(OpenTransaction { producer_id, producer_epoch, coordinator_epoch });
            }
        }
        open
    }

    /// Takes a transaction in a partition back without asking who coordinates it, as `kafka-transactions.sh abort` does.
    pub(super) fn abort(&mut self, topic: &str, partition: i32, transaction: OpenTransaction) {
        let mut body = Body::default();
        body.compact_length(1);
        body.bytes.extend_from_slice(&transaction.producer_id.to_be_bytes());
        body.int16(transaction.producer_epoch as i16);
        // The result: aborted.
        body.int8(0);
        body.one_partition(topic, partition);
        body.int8(0);
        body.int32(transaction.coordinator_epoch.max(0));
        (0..2).for_each(|_| body.int8(0));
        let answer = self.ask(WRITE_TXN_MARKERS, 1, true, &body.bytes);
        let mut rest = Rest(&answer);
        // The header's tags; one marker with its producer.
        rest.skip(1);
        assert_eq!(rest.compact_length(), 1);
        rest.skip(8);
        rest.one_partition();
        assert_eq!(rest.number(2), 0, "{transaction:?} of {topic}/{partition} can not be aborted");
    }

    /// Sends one request and reads its answer, without the correlation id.
    fn ask(&mut self, request: i16, version: i16, is_flexible: bool, body: &[u8]) -> Vec<u8> {
        let client = b"recount-tests";
        let mut header = Body::default();
        header.int16(request);
        header.int16(version);
        header.int32(1);
        header.int16(client.len() as i16);
        header.bytes.extend_from_slice(client);
        if is_flexible {
            header.int8(0);
        }
        let length = (header.bytes.len() + body.len()) as u32;
        let message = [&length.to_be_bytes(), header.bytes.as_slice(), body].concat();
        self.stream.write_all(&message).unwrap();
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer).unwrap();
        answer.split_off(4)
    }
}

fn error_at(answer: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// What is left of an answer.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    /// Passes over the name of the one topic and the number of its one partition.
    fn one_partition(&mut self) {
        assert_eq!(self.compact_length(), 1);
        let name = self.compact_length();
        self.skip(name);
        assert_eq!(self.compact_length(), 1);
        self.skip(4);
    }

    /// A signed number of so many bytes.
    fn number(&mut self, bytes: usize) -> i64 {
        let (number, rest) = self.0.split_at(bytes);
        self.0 = rest;
        let sign = if number[0] & 0x80 == 0 { 0 } else { -1 };
        number.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte))
    }

    /// The length of a list or a string in the compact form.
    fn compact_length(&mut self) -> usize {
        let length = self.number(1);
        assert!(length > 0, "a length of more than one byte, or none");
        length as usize - 1
    }
}

/// The bytes of a request.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn int8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn int16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn int32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn string(&mut self, text: &str) {
        self.int16(text.len() as i16);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A list of one topic, with a list of one partition.
    fn one_partition(&mut self, topic: &str, partition: i32) {
        self.compact_length(1);
        self.compact_string(topic);
        self.compact_length(1);
        self.int32(partition);
    }

    /// The length of a list or a string in the compact form, for lengths that fit one byte.
    fn compact_length(&mut self, length: usize) {
        assert!(length < 127, "a length of {length} needs more than one byte");
        self.bytes.push(length as u8 + 1);
    }

    fn compact_string(&mut self, text: &str) {
        self.compact_length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }
}
