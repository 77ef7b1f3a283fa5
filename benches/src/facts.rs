//! A workload decoded once and kept in a file, so that every run of the engine and of the baseline begins with the same facts,
//! and none pays for making them.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recount_dataflow::domain::fact::Fact;
use recount_dataflow::domain::fingerprint::Fingerprint;
use recount_dataflow::intake::{AdName, Batch, RawRecords};

/// The file keeps no days: its names are for all of them.
const LAST_DAY: u32 = u16::MAX as u32;

/// A fact as plain words, which timely can exchange. The first is the hash of its click.
pub(crate) type Words = [u64; 8];

/// The facts and the names of their ads.
#[derive(Clone, Debug)]
pub(crate) struct FactFile {
    facts: PathBuf,
    names: PathBuf,
}

/// An ad's name and the number of the first record that may need it.
struct Name {
    record: u64,
    ad: Fingerprint,
    ad_id: Box<str>,
}

impl FactFile {
    /// The file of that name, which may not exist yet.
    pub(crate) fn new(path: &Path) -> Self {
        FactFile { facts: path.with_extension("facts"), names: path.with_extension("names") }
    }

    /// The path that [`FactFile::new`] takes for this file.
    pub(crate) fn path(&self) -> PathBuf {
        self.facts.clone()
    }

    /// Whether it has been written. The names come last.
    pub(crate) fn exists(&self) -> bool {
        self.names.exists()
    }

    /// How many records it holds.
    pub(crate) fn records(&self) -> Result<u64> {
        Ok(self.facts.metadata()?.len() / size_of::<Fact>() as u64)
    }

    /// Writes decoded batches, in order. None may hold broken records.
    pub(crate) fn write(&self, batches: impl Iterator<Item = Batch>) -> Result<()> {
        let mut facts = BufWriter::new(File::create(&self.facts)?);
        let unfinished = self.names.with_extension("unfinished");
        let mut names = BufWriter::new(File::create(&unfinished)?);
        let mut record = 0u64;
        for batch in batches {
            assert!(batch.broken.is_empty(), "the workload has broken records: {:?}", batch.broken.first());
            for AdName { ad, name, .. } in &batch.ads {
                names.write_all(&record.to_le_bytes())?;
                names.write_all(&ad.hash.to_le_bytes())?;
                names.write_all(&ad.low.to_le_bytes())?;
                names.write_all(&[name.len() as u8])?;
                names.write_all(name.as_bytes())?;
            }
            facts.write_all(bytemuck::cast_slice(&batch.facts))?;
            record += batch.facts.len() as u64;
        }
        facts.flush()?;
        names.flush()?;
        std::fs::rename(unfinished, &self.names)
    }

    /// The records as batches of `records` for the engine.
    ///
    /// # Panics
    /// Where the file can not be read.
    pub(crate) fn batches(&self, records: usize) -> impl Iterator<Item = Batch> + use<> {
        let mut names = self.names().peekable();
        let mut start = 0;
        self.chunks(records).map(move |facts: Vec<Fact>| {
            start += facts.len() as u64;
            let mut ads = Vec::new();
            while let Some(name) = names.next_if(|name| name.record < start) {
                ads.push(AdName { ad: name.ad, day: LAST_DAY, name: name.ad_id });
            }
            Batch { stream: 0, facts, broken: Vec::new(), ads, unknown_fields: Vec::new(), raw: Arc::new(NoBytes) }
        })
    }

    /// One worker's share of every `epoch_records` records: as many as its peers have, next to each other.
    ///
    /// # Panics
    /// Where the file can not be read.
    pub(crate) fn shares(
        &self,
        epoch_records: usize,
        index: usize,
        peers: usize,
    ) -> impl Iterator<Item = Vec<Words>> + use<> {
        self.chunks(epoch_records).map(move |facts: Vec<Words>| {
            let (start, end) = (facts.len() * index / peers, facts.len() * (index + 1) / peers);
            facts[start..end].to_vec()
        })
    }

    fn chunks<T: bytemuck::Pod>(&self, records: usize) -> impl Iterator<Item = Vec<T>> + use<T> {
        let mut left = self.records().expect("the facts have been written") as usize;
        let mut file = File::open(&self.facts).expect("the facts have been written");
        std::iter::from_fn(move || {
            let mut chunk = vec![T::zeroed(); left.min(records)];
            file.read_exact(bytemuck::cast_slice_mut(&mut chunk)).expect("the facts can be read");
            left -= chunk.len();
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    fn names(&self) -> impl Iterator<Item = Name> + use<> {
        let mut file = BufReader::new(File::open(&self.names).expect("the names have been written"));
        std::iter::from_fn(move || {
            let record = u64::from_le_bytes(read(&mut file)?);
            let hash = u64::from_le_bytes(read(&mut file)?);
            let low = u32::from_le_bytes(read(&mut file)?);
            let [length] = read(&mut file)?;
            let mut bytes = vec![0; length as usize];
            file.read_exact(&mut bytes).ok()?;
            let ad_id = String::from_utf8(bytes).expect("names are text").into();
            Some(Name { record, ad: Fingerprint { hash, low }, ad_id })
        })
    }
}

/// The next bytes; `None` at the end.
fn read<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok().map(|()| bytes)
}

/// Facts have no raw bytes here, and nothing is set aside that would ask for them.
struct NoBytes;

impl RawRecords for NoBytes {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        (&[], offset + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;
    use crate::workload::prepare;

    #[test]
    fn facts_come_back_in_any_cut_and_no_ad_is_nameless() {
        let dir = tempfile::tempdir().unwrap();
        let file = prepare(dir.path(), 5_000, false).unwrap();
        let whole: Vec<Fact> = file.batches(usize::MAX).flat_map(|batch| batch.facts).collect();
        assert_eq!(whole.len() as u64, file.records().unwrap());
        let mut named = HashSet::new();
        let mut cut = Vec::new();
        for batch in file.batches(700) {
            named.extend(batch.ads.iter().map(|named| named.ad));
            assert!(batch.facts.iter().all(|fact| !fact.is_copy() || named.contains(&fact.ad())));
            cut.extend(batch.facts);
        }
        assert_eq!(cut, whole);
        let shares: usize = (0..3).flat_map(|index| file.shares(700, index, 3)).map(|share| share.len()).sum();
        assert_eq!(shares, whole.len());
    }
}
