//! `recount completions` and `recount man`.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::CliError;
use super::stdout::{print_bytes, stdout_error};

/// What to complete for.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Writes the completion script.
pub(super) fn run(args: &CompletionsArgs, command: &mut Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "recount", &mut script);
    print_bytes(&script)
}

/// Writes the manual: the page of `recount`, then one of every command.
pub(super) fn man(mut command: Command) -> Result<(), CliError> {
    command.build();
    let mut pages = Vec::new();
    write_pages(command, &mut pages).map_err(|cause| stdout_error(&cause))?;
    print_bytes(&pages)
}

fn write_pages(command: Command, pages: &mut Vec<u8>) -> io::Result<()> {
    let subcommands: Vec<Command> = command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
    Man::new(command).render(pages)?;
    subcommands.into_iter().try_for_each(|sub| write_pages(sub, pages))
}
