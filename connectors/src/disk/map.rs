//! Files as memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use memmap2::Mmap;
use recount_dataflow::store::Mapped;

/// A file's pages.
struct MappedFile {
    pages: Mmap,
    file: File,
}

impl Mapped for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.pages
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }
}

/// Maps a whole file for reading. Pages start at multiples of 4 KiB, so of 64 bytes too.
pub(super) fn map(file: File) -> io::Result<Arc<dyn Mapped>> {
    // SAFETY: the bytes must not change while they are borrowed. Only files of `DIR/runs` are mapped. They get their names
    // after their last byte was written and synced, or have none that anybody else knows and are mapped after their last byte was
    // written; nothing in this program writes to them afterwards, and deleting one leaves its pages to the mapping. The directory belongs to one process (its lock), and whoever edits or cuts the
    // files under it by hand breaks the store as he would by editing our memory.
    #[allow(unsafe_code)]
    let pages = unsafe { Mmap::map(&file) }?;
    Ok(Arc::new(MappedFile { pages, file }))
}
