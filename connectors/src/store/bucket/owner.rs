//! Whose checkpoints a prefix holds, and who writes them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BucketError;
use super::client::{Client, Put};
use crate::data_dir::DataDir;

/// Says whose checkpoints these are.
const STORE_KEY: &str = "store.json";
/// The writers, by their numbers.
const WRITERS_KEY: &str = "writers";
/// The format of everything under the prefix.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    format: u64,
    /// In hexadecimal digits.
    store_id: String,
}

impl Owner {
    fn of(dir: &DataDir) -> Owner {
        Owner { format: FORMAT, store_id: format!("{:016x}", dir.store_id()) }
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }
}

/// Refuses a prefix that is not the store's.
pub(super) fn check(client: &Client, dir: &DataDir) -> Result<(), BucketError> {
    match client.get(STORE_KEY)? {
        None => Err(BucketError::NoStore { place: client.place().to_owned() }),
        Some(found) => check_found(client, dir, &found),
    }
}

/// Makes the prefix the store's, or refuses one that is another's; and makes this process the one that writes there.
pub(super) fn take(client: &Client, dir: &DataDir) -> Result<(), BucketError> {
    let ours = Owner::of(dir).to_bytes();
    if client.get(STORE_KEY)?.is_none() {
        client.put_new(STORE_KEY, ours.clone().into())?;
    }
    check(client, dir)?;
    // The same in other bytes: where it is written over what is there, the object store does not do as it is told, and nothing is lost.
    if client.put_new(STORE_KEY, [&ours[..], b"\n"].concat().into())? == Put::Made {
        return Err(BucketError::Unconditional { place: client.place().to_owned() });
    }
    claim(client, dir.fence().writer())
}

/// Takes the number of a writer, which no other process takes afterwards, and none below it.
fn claim(client: &Client, writer: u32) -> Result<(), BucketError> {
    let number = |key: &String| key.strip_prefix(WRITERS_KEY)?.strip_prefix('/')?.parse::<u32>().ok();
    let earlier: Vec<(u32, String)> =
        client.list(WRITERS_KEY)?.into_iter().filter_map(|key| Some((number(&key)?, key))).collect();
    let copied = |newest| Err(BucketError::Copied { place: client.place().to_owned(), writer, newest });
    match earlier.iter().map(|(number, _)| *number).max() {
        Some(newest) if writer <= newest => return copied(newest),
        _ => {}
    }
    // Tells this process from one of a copied directory, which has the same number.
    let nonce = format!("{:016x}\n", RandomState::new().build_hasher().finish());
    if client.put_new(&format!("{WRITERS_KEY}/{writer:08}"), Bytes::from(nonce))? == Put::Taken {
        return copied(writer);
    }
    earlier.iter().try_for_each(|(_, key)| client.delete(key))
}

fn check_found(client: &Client, dir: &DataDir, found: &[u8]) -> Result<(), BucketError> {
    let damaged = |what: String| BucketError::OwnerDamaged { object: client.object(STORE_KEY), what };
    let found: Owner = serde_json::from_slice(found).map_err(|error| damaged(error.to_string()))?;
    let ours = Owner::of(dir);
    if found.format != FORMAT {
        return Err(damaged(format!("its format is {}, and this version of Recount reads {FORMAT}", found.format)));
    }
    match found.store_id == ours.store_id {
        true => Ok(()),
        false => {
            let place = client.place().to_owned();
            Err(BucketError::OtherStore { place, found: found.store_id, ours: ours.store_id })
        }
    }
}
