//! The allocator of the process, which the binary puts in place.

/// Gives back to the system what the allocator holds on behalf of this thread, and what no thread has asked for in a while. Workers
/// call it when they come to rest: by itself the allocator only does so while it is used.
pub fn give_back() {
    // SAFETY: it takes and returns nothing, and any thread may call it at any time, whether the allocator is in use or not.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
