//! Of any damage to a file of bindings: what is read is a beginning of what was bound, and where that is not all, the tail was torn or
//! an error says what is wrong. A writer begins behind what a reader finds.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use recount_connectors::bindings::{BindingLog, Bindings};
use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors_fuzz::KEY;
use recount_connectors_fuzz::damage::damage;
use recount_connectors_fuzz::disk::{FaultDisk, Loss};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::store::{BindingSink as _, EpochBinding};

const STORE: NewStore = NewStore { id: 0xfeed_5eed, hash_secret: KEY, source: StoreSource::Log, partitions: 1 };
const EPOCHS: u64 = 24;

fn binding(epoch: u64) -> EpochBinding {
    let positions = (0..epoch % 4).map(|stream| Position { stream: stream as u16, offset: epoch * 100 + stream });
    let watermark_ms = (epoch > 3).then_some(1_700_000_000_000 + epoch as i64);
    EpochBinding { epoch, positions: positions.collect(), watermark_ms, wall_ms: epoch as i64, records_in: epoch * 7 }
}

/// Bindings in several files, and the paths of these.
static WRITTEN: LazyLock<(FaultDisk, Vec<String>)> = LazyLock::new(|| {
    let disk = FaultDisk::default();
    let dir = DataDir::open(Arc::new(disk.clone()), &STORE, Rules::default()).expect("the disk is empty and sound");
    let mut log = BindingLog::open(&dir, |_| false).expect("the disk is sound").with_file_bytes(400);
    (1..=EPOCHS).for_each(|epoch| log.bind(&binding(epoch)).expect("the disk is sound"));
    drop((log, dir));
    let disk = disk.restart(Loss::Nothing);
    let files = disk.files().into_iter().filter(|(path, _)| path.starts_with("bindings"));
    let files: Vec<String> = files.map(|(path, _)| path).collect();
    assert!(files.len() > 2, "{files:?}");
    assert_eq!(read(&disk).expect("nothing is damaged yet").len() as u64, EPOCHS);
    (disk, files)
});

fuzz_target!(|input: (u8, &[u8])| {
    let (disk, files) = &*WRITTEN;
    let number = usize::from(input.0) % files.len();
    let disk = disk.copy();
    disk.damage(&files[number], |bytes| damage(bytes, input.1));
    let Ok(read) = read(&disk) else { return };
    assert!(read.iter().zip(1..).all(|(found, epoch)| *found == binding(epoch)), "{read:?}");
    assert!(read.len() as u64 == EPOCHS || number + 1 == files.len(), "only the last file may be torn");
    let dir = DataDir::open(Arc::new(disk), &STORE, Rules::default()).expect("it was read");
    let log = BindingLog::open(&dir, |_| false).expect("it was read");
    assert_eq!(log.next_epoch(), read.len() as u64 + 1);
});

/// All bindings, or why they can not be had.
fn read(disk: &FaultDisk) -> Result<Vec<EpochBinding>, String> {
    let dir = DataDir::read_only(Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    let bindings = Bindings::read(&dir, 1).map_err(|error| error.to_string())?;
    bindings.collect::<Result<_, _>>().map_err(|error| error.to_string())
}
