//! What rdkafka has no call for, or none that is safe with any bytes. This file alone speaks to librdkafka's C.
//!
//! It asks for the ids of topics, and finds a header by its name: rdkafka's own headers panic where a name is not UTF-8, which a
//! record of anybody may have.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;

/// A topic, as the broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct TopicDescription {
    /// Its id; another topic of the same name has another.
    pub(in crate::kafka) id: String,
    /// How many partitions it has, numbered from 0.
    pub(in crate::kafka) partitions: i32,
    /// The broker that leads a partition; one that has no leader now is not among them.
    pub(in crate::kafka) leaders: BTreeMap<i32, i32>,
    /// What this user may do with it, by the numbers of the protocol; `None` where the broker does not say.
    pub(in crate::kafka) rights: Option<Vec<i32>>,
}

impl TopicDescription {
    /// Whether the broker says that this user may read records of it.
    pub(in crate::kafka) fn may_be_read(&self) -> bool {
        self.rights.as_ref().is_some_and(|rights| rights.contains(&READ))
    }
}

/// The right to read records, as the protocol numbers it.
pub(in crate::kafka) const READ: i32 = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ as i32;
/// The right to write records.
pub(in crate::kafka) const WRITE: i32 = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as i32;

/// Asks for topics by name; those that are not there, or that this user may not see, are not in the answer.
///
/// # Errors
/// Where the cluster does not answer within `wait`, or refuses: as an error of which rdkafka tells the code, unlike of those of its
/// admin calls, or what passes by itself could not be told from what does not.
pub(in crate::kafka) fn describe<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    wait: Duration,
) -> Result<BTreeMap<String, TopicDescription>, Cause> {
    let names: Vec<CString> =
        names.iter().map(|name| CString::new(*name).expect("settings have no NUL in the name of a topic")).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let wait_ms = wait.as_millis().min(i32::MAX as u128) as i32;
    // SAFETY: `client` keeps its native client alive for the whole block, and that is safe to use from any thread. Every object made
    // here is held by a guard that frees it once, in the reverse order, behind the last use; names and their pointers outlive the
    // call that copies them. Pointers inside of the event are read before it is destroyed, and each is as librdkafka's header
    // says: never null where a count says that there are elements, strings with a NUL at their end.
    unsafe {
        let native = client.native_ptr();
        let queue = Owned(c::rd_kafka_queue_new(native), c::rd_kafka_queue_destroy);
        let topics = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics = Owned(topics, c::rd_kafka_TopicCollection_destroy);
        let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = Owned(c::rd_kafka_AdminOptions_new(native, kind), c::rd_kafka_AdminOptions_destroy);
        c::rd_kafka_AdminOptions_set_request_timeout(options.0, wait_ms, ptr::null_mut(), 0);
        c::rd_kafka_error_destroy(c::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1));
        c::rd_kafka_DescribeTopics(native, topics.0, options.0, queue.0);
        // The request's own time-out answers; this one is behind it.
        let event = c::rd_kafka_queue_poll(queue.0, wait_ms.saturating_add(1_000));
        if event.is_null() {
            return Err(Cause::Global(Code::OperationTimedOut));
        }
        let event = Owned(event, c::rd_kafka_event_destroy);
        let error = Code::from(c::rd_kafka_event_error(event.0));
        if error != Code::NoError {
            return Err(Cause::Global(error));
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(Cause::Global(Code::BadMessage));
        }
        let mut count = 0;
        let described = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        (0..count).filter_map(|at| one(*described.add(at)).transpose()).collect()
    }
}

/// Reads one description; `None` where there is no such topic.
///
/// # Safety
/// `topic` is a description inside of an event that is still there.
unsafe fn one(topic: *const c::rd_kafka_TopicDescription_t) -> Result<Option<(String, TopicDescription)>, Cause> {
    // SAFETY: as the caller says; what is read is copied here.
    unsafe {
        let error = c::rd_kafka_TopicDescription_error(topic);
        let code = if error.is_null() { Code::NoError } else { c::rd_kafka_error_code(error).into() };
        match code {
            Code::NoError => {}
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::TopicAuthorizationFailed => return Ok(None),
            code => return Err(Cause::Global(code)),
        }
        let text = |text: *const c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
        let id = c::rd_kafka_Uuid_base64str(c::rd_kafka_TopicDescription_topic_id(topic));
        if id.is_null() {
            return Err(Cause::Global(Code::BadMessage));
        }
        let id = text(id);
        let mut partitions = 0;
        let described = c::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let leader = |at: usize| {
            let partition = *described.add(at);
            let leader = c::rd_kafka_TopicPartitionInfo_leader(partition);
            let number = c::rd_kafka_TopicPartitionInfo_partition(partition);
            (!leader.is_null()).then(|| (number, c::rd_kafka_Node_id(leader)))
        };
        let leaders = (0..partitions).filter_map(leader).collect();
        let name = text(c::rd_kafka_TopicDescription_name(topic));
        let mut count = 0;
        let operations = c::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        // Read as numbers: a broker may know operations that the enumeration does not.
        let rights =
            (!operations.is_null()).then(|| std::slice::from_raw_parts(operations.cast::<i32>(), count).to_vec());
        Ok(Some((name, TopicDescription { id, partitions: partitions as i32, leaders, rights })))
    }
}

/// The value of the last header of a name; `None` where there is none, or where it is null.
pub(in crate::kafka) fn header<'a>(message: &'a BorrowedMessage<'_>, name: &CStr) -> Option<&'a [u8]> {
    let (mut headers, mut value, mut length) = (ptr::null_mut(), ptr::null(), 0);
    // SAFETY: the message is alive for 'a and owns its headers, whose values stay where they are until it is freed. A header that
    // is found has a value of `length` bytes, or null.
    unsafe {
        let found = c::rd_kafka_message_headers(message.ptr(), &mut headers);
        if Code::from(found) != Code::NoError {
            return None;
        }
        let found = c::rd_kafka_header_get_last(headers, name.as_ptr(), &mut value, &mut length);
        if Code::from(found) != Code::NoError || value.is_null() {
            return None;
        }
        Some(std::slice::from_raw_parts(value.cast::<u8>(), length))
    }
}

/// All headers of a message, in order; bytes of a name that are no UTF-8 are replaced.
pub(in crate::kafka) fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers = ptr::null_mut();
    let mut all = Vec::new();
    // SAFETY: the message is alive and owns its headers, which are only read. A header that is found has a name with a NUL at its end,
    // and a value of `length` bytes, or null; both are copied here.
    unsafe {
        if Code::from(c::rd_kafka_message_headers(message.ptr(), &mut headers)) != Code::NoError {
            return all;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        while Code::from(c::rd_kafka_header_get_all(headers, all.len(), &mut name, &mut value, &mut length))
            == Code::NoError
        {
            let bytes = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec());
            all.push((CStr::from_ptr(name).to_string_lossy().into_owned(), bytes));
        }
    }
    all
}

/// An object of librdkafka, and what frees it.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object came from librdkafka, this is its own destructor, and nothing else calls it.
        unsafe { (self.1)(self.0) }
    }
}
