//! The one place that tells the processor what will be read next.

/// Starts to load the cache line that holds `value`. It changes nothing but time.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = std::ptr::from_ref(value).cast::<i8>();
        // SAFETY: the address comes from a reference, and a prefetch neither faults nor changes memory.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch(address, _MM_HINT_T0)
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
