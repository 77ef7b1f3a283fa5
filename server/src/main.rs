//! The `recount` binary.

use std::process::ExitCode;

/// The engine allocates on one thread and frees on another all the time; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    recount_server::cli::main()
}
