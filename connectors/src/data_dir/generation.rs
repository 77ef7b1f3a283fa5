//! Generations: what was computed from the log lies in directories of its own for every time that everything is made anew, and
//! `store.json` says which of them are the store's. So one word, replaced at once, takes the store from one to the next.

use super::{BINDINGS_DIR, Fence, Fenced, RUNS_DIR, sync_dir};
use crate::disk::{Disk, OrDiskError as _};

/// Where a generation's bindings are.
pub(super) fn bindings_dir(generation: u32) -> String {
    of(BINDINGS_DIR, generation)
}

/// Where a generation's checkpoints are.
pub(super) fn runs_dir(generation: u32) -> String {
    of(RUNS_DIR, generation)
}

fn of(dir: &str, generation: u32) -> String {
    match generation {
        0 => dir.to_owned(),
        generation => format!("{dir}-{generation:06}"),
    }
}

/// Deletes the files of the generations before and after this one: there can be no others. A later writer's may be one of them, so the
/// fence is asked before each.
pub(super) fn clear_others(disk: &dyn Disk, generation: u32, fence: &Fence) -> Result<(), Fenced> {
    for other in generation.checked_sub(1).into_iter().chain([generation + 1]) {
        for dir in [bindings_dir(other), runs_dir(other)] {
            if disk.exists(&dir).or_disk_error(disk, &dir, "can not be looked at")? {
                clear(disk, &dir, fence)?;
            }
        }
    }
    Ok(())
}

fn clear(disk: &dyn Disk, dir: &str, fence: &Fence) -> Result<(), Fenced> {
    let names = disk.list(dir).or_disk_error(disk, dir, "can not be listed")?;
    for name in &names {
        fence.check()?;
        let path = format!("{dir}/{name}");
        disk.delete(&path).or_disk_error(disk, &path, "can not be deleted")?;
    }
    if names.is_empty() { Ok(()) } else { Ok(sync_dir(disk, dir)?) }
}
