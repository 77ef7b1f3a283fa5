//! A bucket of its own for every test.

use std::sync::atomic::{AtomicU32, Ordering};

use super::link::Link;
use super::server::Server;

/// A bucket, and the connection that the program under test reaches it by. What a test does with its objects goes another way.
pub struct Bucket {
    name: String,
    link: Link,
}

impl Bucket {
    /// Makes one.
    pub fn make() -> Bucket {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let server = Server::shared();
        let bucket =
            Bucket { name: format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed)), link: Link::to(server.addr) };
        assert_eq!(server.request("PUT", &format!("/{}", bucket.name), b"").0, 200);
        bucket
    }

    /// The URL of a prefix in it.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    /// What it is reached by.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The keys under a prefix, sorted.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let (status, body) = self.request("GET", &format!("?list-type=2&prefix={prefix}"), b"");
        assert_eq!(status, 200);
        let text = String::from_utf8(body).unwrap();
        let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned());
        let mut keys: Vec<String> = keys.collect();
        keys.sort();
        keys
    }

    /// The bytes of an object.
    pub fn get(&self, key: &str) -> Vec<u8> {
        let (status, body) = self.request("GET", &format!("/{key}"), b"");
        assert_eq!(status, 200, "{key}");
        body
    }

    /// Writes an object, over what is there.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        assert_eq!(self.request("PUT", &format!("/{key}"), bytes).0, 200, "{key}");
    }

    /// Deletes an object.
    pub fn delete(&self, key: &str) {
        assert_eq!(self.request("DELETE", &format!("/{key}"), b"").0, 204, "{key}");
    }

    fn request(&self, method: &str, rest: &str, body: &[u8]) -> (u16, Vec<u8>) {
        Server::shared().request(method, &format!("/{}{rest}", self.name), body)
    }
}
