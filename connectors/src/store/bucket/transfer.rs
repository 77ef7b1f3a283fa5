//! Files of any size: put in parts, and fetched in parts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::multipart::PartId;
use object_store::{Error, ObjectStoreExt as _};
use tokio::time::timeout;

use super::BucketError;
use super::client::{Action, Client, Put};
use crate::disk::{DiskFile, read_up_to};

/// A file up to this size is put at once, and parts are no smaller.
const PART_BYTES: u64 = 8 << 20;
/// The most parts of which S3 makes an object.
const PARTS_MAX: u64 = 10_000;
/// The least that S3 takes as a part that is not the last.
const PART_BYTES_MIN: u64 = 5 << 20;
const _: () = assert!(PART_BYTES >= PART_BYTES_MIN);
/// Parts that are under way at the same time, and in memory.
const PARTS_AT_ONCE: usize = 4;
/// How long to try to take back the parts of a file that came to nothing.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes an object of a file of so many bytes, if there is none of the name.
pub(super) fn put(client: &Client, key: &str, file: &dyn DiskFile, length: u64) -> Result<Put, BucketError> {
    if length <= PART_BYTES {
        return client.put_new(key, read(file, 0..length)?);
    }
    client.block_on(put_parts(client, key, file, length))
}

async fn put_parts(client: &Client, key: &str, file: &dyn DiskFile, length: u64) -> Result<Put, BucketError> {
    let path = client.path(key);
    if size(client, key).await?.is_some() {
        return Ok(Put::Taken);
    }
    let id = client.attempts(Action::Make, key, async |_| client.objects.create_multipart(&path).await).await?;
    let part = async |number: usize, range: Range<u64>| {
        let bytes = read(file, range)?;
        let put = async |_| client.objects.put_part(&path, &id, number, bytes.clone().into()).await;
        client.attempts(Action::Write, key, put).await
    };
    let put = async {
        let parts = stream::iter(ranges(length).enumerate()).map(|(number, range)| part(number, range));
        let parts: Vec<PartId> = parts.buffered(PARTS_AT_ONCE).try_collect().await?;
        let complete = async |attempt| match client.objects.complete_multipart(&path, &id, parts.clone()).await {
            // An attempt before this one may have completed it, and its answer was lost.
            Err(Error::NotFound { .. }) if attempt > 0 => {
                client.objects.head(&path).await.map(|found| found.size == length)
            }
            completed => completed.map(|_| true),
        };
        client.attempts(Action::Make, key, complete).await
    };
    match put.await {
        Ok(true) => Ok(Put::Made),
        Ok(false) => Ok(Put::Taken),
        Err(error) => {
            // What can not be taken back is for the bucket's rule about uploads that were not completed.
            let _ = timeout(ABORT_TIMEOUT, client.objects.abort_multipart(&path, &id)).await;
            Err(error)
        }
    }
}

/// Writes the bytes of an object to a file.
pub(super) fn fetch(client: &Client, key: &str, file: &Arc<dyn DiskFile>) -> Result<(), BucketError> {
    client.block_on(async {
        let missing = || BucketError::NotFound { object: client.object(key) };
        let length = size(client, key).await?.ok_or_else(missing)?;
        let path = client.path(key);
        let part = async |range: Range<u64>| {
            let get = async |_| {
                let bytes = client.objects.get_range(&path, range.clone()).await?;
                match bytes.len() as u64 == range.end - range.start {
                    true => Ok(bytes),
                    false => Err(short(&range, bytes.len())),
                }
            };
            let bytes = client.attempts(Action::Read, key, get).await?;
            file.write_all_at(&bytes, range.start).map_err(BucketError::Copy)
        };
        stream::iter(ranges(length)).map(part).buffer_unordered(PARTS_AT_ONCE).try_collect().await
    })
}

/// The bytes that an object has; `None` where there is none.
async fn size(client: &Client, key: &str) -> Result<Option<u64>, BucketError> {
    let path = client.path(key);
    match client.attempts(Action::LookAt, key, async |_| client.objects.head(&path).await).await {
        Ok(found) => Ok(Some(found.size)),
        Err(BucketError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Equal parts, but for the last.
fn ranges(length: u64) -> impl Iterator<Item = Range<u64>> {
    let part_bytes = PART_BYTES.max(length.div_ceil(PARTS_MAX));
    (0..length.div_ceil(part_bytes)).map(move |part| part * part_bytes..length.min((part + 1) * part_bytes))
}

fn read(file: &dyn DiskFile, range: Range<u64>) -> Result<Bytes, BucketError> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = read_up_to(file, &mut bytes, range.start).map_err(BucketError::Copy)?;
    assert_eq!(read, bytes.len(), "the file is as long as what was written to it");
    Ok(bytes.into())
}

fn short(range: &Range<u64>, found: usize) -> Error {
    let what = format!("{found} bytes came of {}", range.end - range.start);
    Error::Generic { store: "object store", source: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_equal_and_whole() {
        for length in [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, PARTS_MAX * PART_BYTES + 7] {
            let parts: Vec<_> = ranges(length).collect();
            assert!(parts.len() as u64 <= PARTS_MAX);
            assert_eq!(parts.iter().map(|part| part.end - part.start).sum::<u64>(), length);
            assert!(
                parts.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].end - pair[0].start >= PART_BYTES)
            );
        }
    }
}
