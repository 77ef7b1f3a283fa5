//! One record into the service, over HTTP, as the bytes that it came in.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message as _;
use serde_json::Value;

use crate::cli::CliError;
use crate::config::Config;
use crate::convert::raw;

/// How long to leave a busy service alone.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Sends one record; `None` where it is durable, else why it was refused.
pub(super) fn append(config: &Config, record: &[u8]) -> Result<Option<String>, CliError> {
    let is_text = record.first().is_none_or(|first| first.is_ascii_graphic() || *first == b' ');
    let (content_type, body) = match (is_text, record.contains(&b'\n')) {
        // An event of protobuf begins with the tag of its body, which is a control character.
        (false, _) => {
            let request = raw::AppendRequest { request_id: String::new(), events: vec![record.to_vec().into()] };
            ("application/x-protobuf", request.encode_to_vec())
        }
        (true, false) => ("application/x-ndjson", record.to_vec()),
        (true, true) if record.starts_with(b"{") => ("application/json", record.to_vec()),
        // Its lines would be taken for records.
        (true, true) => return Ok(Some("unreadable".to_owned())),
    };
    let deadline = Instant::now() + config.query_timeout;
    loop {
        let (status, answer) = post(config.http_addr, content_type, &body, config.query_timeout)?;
        let reason = |value: &Value| value["reason"].as_str().unwrap_or_default().to_ascii_lowercase();
        match status {
            200..300 => return Ok(answer["refusals"].get(0).map(reason)),
            429 | 503 if Instant::now() < deadline => thread::sleep(BUSY_PAUSE),
            400 if answer.to_string().contains("BODY_INVALID") => return Ok(Some("unreadable".to_owned())),
            _ => return Err(CliError::failed(format!("the service answered with status {status}: {answer}"))),
        }
    }
}

/// One request and its answer, which is JSON.
fn post(addr: SocketAddr, content_type: &str, body: &[u8], wait: Duration) -> Result<(u16, Value), CliError> {
    let failed = |cause: std::io::Error| {
        CliError::NotReady(format!(
            "the service does not take events on http://{addr}: {cause}; --http says where it is"
        ))
    };
    let mut stream = TcpStream::connect_timeout(&addr, wait).map_err(failed)?;
    stream.set_read_timeout(Some(wait)).map_err(failed)?;
    stream.set_write_timeout(Some(wait)).map_err(failed)?;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {addr}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| CliError::failed(format!("{addr} does not answer as a service does")))?;
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()))))
}
