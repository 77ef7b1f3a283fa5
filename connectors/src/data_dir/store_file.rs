//! `store.json`: what the store was made with.

use std::io::ErrorKind;

use recount_dataflow::domain::rules::Rules;
use serde::{Deserialize, Serialize};

use super::{DataDirError, NewStore, sync_dir};
use crate::disk::{Disk, OrDiskError as _, write_anew};

/// The file's name.
pub(super) const STORE_FILE: &str = "store.json";
/// What it is called until it is whole.
const NEW_STORE_FILE: &str = "store.json.new";
/// The format of everything in the directory that a new store gets.
pub const FORMAT: u64 = 2;
/// Partitions are named with four digits.
const PARTITIONS_MAX: u16 = 4_096;

/// Where a store's records come from; it never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreSource {
    /// From clients: the store keeps them in a log of its own.
    #[default]
    Log,
    /// From Kafka, which keeps them.
    Kafka,
}

/// What the store was made with.
#[derive(Clone)]
pub(super) struct StoreFile {
    pub(super) id: u64,
    pub(super) hash_secret: [u8; 16],
    pub(super) source: StoreSource,
    /// Partitions of its log; none where there is no log.
    pub(super) partitions: u16,
    /// How often everything was made anew.
    pub(super) generation: u32,
    pub(super) rules: Rules,
}

/// The file as it is written. Numbers of 64 bits and more are in hexadecimal digits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u64,
    store_id: String,
    hash_key: String,
    #[serde(default, skip_serializing_if = "is_log")]
    source: StoreSource,
    partitions: u16,
    #[serde(default, skip_serializing_if = "is_first")]
    generation: u32,
    rules: Rules,
    /// CRC-32 of all of the above as compact JSON.
    #[serde(default)]
    checksum: String,
}

/// Only a store that was rebuilt says which generation it is.
fn is_first(generation: &u32) -> bool {
    *generation == 0
}

/// Only a store without a log says where its records come from.
fn is_log(source: &StoreSource) -> bool {
    *source == StoreSource::Log
}

/// The part of the file that every format has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u64,
}

impl StoreFile {
    /// Reads it; `None` where there is none.
    pub(super) fn load(disk: &dyn Disk) -> Result<Option<StoreFile>, DataDirError> {
        let bytes = match disk.read(STORE_FILE) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.or_disk_error(disk, STORE_FILE, "can not be read")?,
        };
        let file = || disk.place(STORE_FILE);
        let damaged = |what: String| DataDirError::StoreFileDamaged { file: file(), what };
        let any: AnyFormat = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if any.format > FORMAT {
            return Err(DataDirError::NewerFormat { file: file(), found: any.format, known: FORMAT });
        }
        let written: Written = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        StoreFile::from_written(written).map(Some).map_err(|what| damaged(what.to_owned()))
    }

    /// Makes it for a new store.
    pub(super) fn create(disk: &dyn Disk, new: &NewStore, rules: Rules) -> Result<StoreFile, DataDirError> {
        let partitions = match new.source {
            StoreSource::Log => new.partitions,
            StoreSource::Kafka => 0,
        };
        let &NewStore { id, hash_secret, source, .. } = new;
        let store = StoreFile { id, hash_secret, source, partitions, generation: 0, rules };
        store.write_new(disk)?;
        disk.link(NEW_STORE_FILE, STORE_FILE).or_disk_error(disk, STORE_FILE, "can not be made")?;
        sync_dir(disk, "")?;
        disk.delete(NEW_STORE_FILE).or_disk_error(disk, NEW_STORE_FILE, "can not be deleted")?;
        Ok(store)
    }

    /// Refuses another source of records than the store's.
    pub(super) fn check_source(&self, disk: &dyn Disk, source: StoreSource) -> Result<(), DataDirError> {
        match (self.source, source) {
            (StoreSource::Log, StoreSource::Kafka) => Err(DataDirError::HasLog { dir: disk.place("") }),
            (StoreSource::Kafka, StoreSource::Log) => Err(DataDirError::OfKafka { dir: disk.place("") }),
            _ => Ok(()),
        }
    }

    /// Says where another number of partitions is asked for than the store was made with: that is fixed, and nothing depends on it
    /// that would be worth a refusal.
    pub(super) fn warn_of_partitions(&self, asked: &NewStore) {
        if self.source == StoreSource::Log && self.partitions != asked.partitions {
            tracing::warn!(
                partitions = self.partitions,
                asked = asked.partitions,
                "the log keeps the number of partitions that the store was made with; store.partitions is for a new store"
            );
        }
    }

    /// Refuses rules that are not the store's.
    pub(super) fn check_rules(&self, disk: &dyn Disk, rules: &Rules) -> Result<(), DataDirError> {
        let differences = differences(&self.rules, rules);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(DataDirError::RulesChanged { dir: disk.place(""), differences }),
        }
    }

    /// Writes what [`StoreFile::replace`] gives its name to.
    pub(super) fn prepare(&self, disk: &dyn Disk) -> Result<(), DataDirError> {
        self.write_new(disk)
    }

    /// Takes the place of the one that is there.
    pub(super) fn replace(&self, disk: &dyn Disk) -> Result<(), DataDirError> {
        disk.rename(NEW_STORE_FILE, STORE_FILE).or_disk_error(disk, STORE_FILE, "can not be replaced")?;
        Ok(sync_dir(disk, "")?)
    }

    fn write_new(&self, disk: &dyn Disk) -> Result<(), DataDirError> {
        let text = serde_json::to_string_pretty(&self.to_written()).expect("strings and numbers are JSON") + "\n";
        Ok(write_anew(disk, NEW_STORE_FILE, text.as_bytes())?)
    }

    fn to_written(&self) -> Written {
        let mut written = Written {
            format: FORMAT,
            store_id: format!("{:016x}", self.id),
            hash_key: format!("{:032x}", u128::from_be_bytes(self.hash_secret)),
            source: self.source,
            partitions: self.partitions,
            generation: self.generation,
            rules: self.rules,
            checksum: String::new(),
        };
        written.checksum = checksum(&written);
        written
    }

    fn from_written(mut written: Written) -> Result<StoreFile, &'static str> {
        let said = std::mem::take(&mut written.checksum);
        if said != checksum(&written) {
            return Err("its checksum does not hold");
        }
        let id = u64::from_str_radix(&written.store_id, 16).map_err(|_| "store_id is no hexadecimal number")?;
        let secret = u128::from_str_radix(&written.hash_key, 16).map_err(|_| "hash_key is no hexadecimal number")?;
        let Written { source, partitions, generation, rules, .. } = written;
        Ok(StoreFile { id, hash_secret: secret.to_be_bytes(), source, partitions, generation, rules })
    }
}

/// Refuses a new store with more partitions than can be named, or none.
pub(super) fn check_partitions(new: &NewStore) -> Result<(), DataDirError> {
    match new.partitions {
        _ if !is_log(&new.source) => Ok(()),
        1..=PARTITIONS_MAX => Ok(()),
        partitions => Err(DataDirError::Partitions { partitions, max: PARTITIONS_MAX }),
    }
}

/// Of what is written, without a checksum in it.
fn checksum(written: &Written) -> String {
    assert!(written.checksum.is_empty(), "a checksum is not part of what it is of");
    let text = serde_json::to_string(written).expect("strings and numbers are JSON");
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// The settings in which two sets of rules differ, each with both values.
pub(super) fn differences(stored: &Rules, given: &Rules) -> Vec<String> {
    let pairs = [
        ("allowed_lateness", stored.allowed_lateness_ms, given.allowed_lateness_ms),
        ("correction_horizon", stored.correction_horizon_ms, given.correction_horizon_ms),
        ("dedup_horizon", stored.dedup_horizon_ms, given.dedup_horizon_ms),
        ("max_future_skew", stored.max_future_skew_ms, given.max_future_skew_ms),
    ];
    let lengths = pairs
        .into_iter()
        .filter(|(_, stored, given)| stored != given)
        .map(|(name, stored, given)| format!("{name} was {} and is now {}", length(stored), length(given)));
    let fallback = (stored.dedup_fallback != given.dedup_fallback)
        .then(|| format!("dedup.fallback was {} and is now {}", stored.dedup_fallback, given.dedup_fallback));
    let kept = |retention_ms: Option<i64>| retention_ms.map_or("everything".to_owned(), length);
    let retention = (stored.counts_retention_ms != given.counts_retention_ms).then(|| {
        let (was, is) = (kept(stored.counts_retention_ms), kept(given.counts_retention_ms));
        format!("counts_retention was {was} and is now {is}")
    });
    lengths.chain(fallback).chain(retention).collect()
}

/// A length of time as settings have it: in the largest unit that it is a whole number of.
fn length(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit_ms, _)| ms != 0 && ms % unit_ms == 0);
    let (unit_ms, unit) = whole.unwrap_or((1, "ms"));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_are_named_as_they_are_written() {
        let stored = Rules { correction_horizon_ms: 14 * 86_400_000, ..Rules::default() };
        let given = Rules { allowed_lateness_ms: 1_500, counts_retention_ms: None, ..Rules::default() };
        let expected = [
            "allowed_lateness was 30s and is now 1500ms",
            "correction_horizon was 14d and is now 7d",
            "counts_retention was 90d and is now everything",
        ];
        let stored = Rules { counts_retention_ms: Some(90 * 86_400_000), ..stored };
        assert_eq!(differences(&stored, &given), expected);
    }
}
