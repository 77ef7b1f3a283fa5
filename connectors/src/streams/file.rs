//! One change of the list of streams, as a file.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::{Change, StreamsError};
use crate::checksum::Checksum;
use crate::data_dir::{Fence, STREAMS_DIR};
use crate::disk::{Disk, DiskError, OrDiskError as _, delete_prefixed, write_anew};

/// What a file is called until it is whole: its writer's number follows, so that nobody gives a name to what somebody else is writing.
const NEW_PREFIX: &str = "new-";

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    change: Change,
    /// CRC-32 of the change as compact JSON.
    checksum: String,
}

fn path(number: u32) -> String {
    format!("{STREAMS_DIR}/{number:08}.json")
}

fn sum(change: &Change, checksum: Checksum) -> String {
    let text = serde_json::to_string(change).expect("strings and numbers are JSON");
    format!("{:08x}", checksum.of(text.as_bytes()))
}

/// The change with this number; `None` where there is none.
pub(super) fn read(disk: &dyn Disk, checksum: Checksum, number: u32) -> Result<Option<Change>, StreamsError> {
    let path = path(number);
    let bytes = match disk.read(&path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.or_disk_error(disk, &path, "can not be read")?,
    };
    let damaged = |what: String| StreamsError::Damaged { file: disk.place(&path), what };
    let written: Written = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match written.checksum == sum(&written.change, checksum) {
        true => Ok(Some(written.change)),
        false => Err(damaged("its checksum does not hold".to_owned())),
    }
}

/// Refuses a list that goes on behind a change that is not there.
pub(super) fn check_last(disk: &dyn Disk, changes: u32) -> Result<(), StreamsError> {
    let names = match disk.list(STREAMS_DIR) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        names => names.or_disk_error(disk, STREAMS_DIR, "can not be listed")?,
    };
    let last = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse::<u32>().ok()).max();
    match last.filter(|last| changes < *last) {
        Some(_) => Err(StreamsError::Damaged { file: disk.place(&path(changes)), what: "it is missing".to_owned() }),
        None => Ok(()),
    }
}

/// Removes what never got its name.
pub(super) fn clear(disk: &dyn Disk) -> Result<(), DiskError> {
    delete_prefixed(disk, STREAMS_DIR, NEW_PREFIX)
}

/// Writes the change with this number: it is there whole, or not there.
pub(super) fn write(
    disk: &dyn Disk,
    checksum: Checksum,
    number: u32,
    change: &Change,
    fence: &Fence,
) -> Result<(), StreamsError> {
    let written = Written { change: change.clone(), checksum: sum(change, checksum) };
    let text = serde_json::to_string_pretty(&written).expect("strings and numbers are JSON") + "\n";
    let new = format!("{STREAMS_DIR}/{NEW_PREFIX}{:08}", fence.writer());
    write_anew(disk, &new, text.as_bytes())?;
    fence.check()?;
    let path = path(number);
    // A name is never taken from another: of two writers one fails here, and the fence says which has to end.
    disk.link(&new, &path).or_disk_error(disk, &path, "can not be made")?;
    disk.sync_dir(STREAMS_DIR).or_disk_error(disk, STREAMS_DIR, "can not be synced")?;
    Ok(disk.delete(&new).or_disk_error(disk, &new, "can not be deleted")?)
}
