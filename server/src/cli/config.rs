//! `recount config check` and `recount config show`.

use std::env;
use std::fmt::Write as _;

use clap::Subcommand;

use super::stdout::print;
use super::{CliError, Global, serve};
use crate::config::{Config, KEYS, Key, Layers, shown};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a service can run with the settings: exit 0, or 2 and what is wrong
    Check,
    /// Write all settings as TOML, ready for a file
    Show {
        /// Say of each where it was written
        #[arg(long)]
        origin: bool,
    },
}

/// Runs the command.
pub(super) fn run(global: &Global, command: &ConfigCommand) -> Result<(), CliError> {
    let layers = Layers::collect(global.config.as_deref(), env::vars_os(), global.flags())?;
    let config = Config::try_from(&layers)?;
    match command {
        ConfigCommand::Check => {
            serve::check(&config)?;
            eprintln!("recount: the settings can be used");
            Ok(())
        }
        ConfigCommand::Show { origin } => print(&show(&layers, *origin)),
    }
}

fn show(layers: &Layers, with_origin: bool) -> String {
    let mut text = String::new();
    let mut section = "";
    for key @ Key { name, help, .. } in &KEYS {
        let (in_section, entry) = name.rsplit_once('.').expect("every setting has a section");
        if in_section != section {
            let blank = if section.is_empty() { "" } else { "\n" };
            writeln!(text, "{blank}[{in_section}]").expect("a string takes all that is written");
            section = in_section;
        }
        let (value, origin) = layers.get(name);
        let value = match key.is_structured() && (value.starts_with('[') || value.starts_with('{')) {
            true => shown(name, value),
            false => toml_value(value),
        };
        match with_origin {
            true => writeln!(text, "{:<40} # {origin}", format!("{entry} = {value}")),
            false => writeln!(text, "# {help}\n{entry} = {value}"),
        }
        .expect("a string takes all that is written");
    }
    text
}

fn toml_value(text: &str) -> String {
    match text.parse::<i64>().is_ok() || matches!(text, "true" | "false") {
        true => text.to_string(),
        false => toml::Value::String(text.to_string()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_back() {
        let layers = Layers::collect(None, std::iter::empty(), vec![]).expect("defaults are known");
        for with_origin in [false, true] {
            let shown: toml::Table = show(&layers, with_origin).parse().expect("it is TOML");
            let all = toml::Value::Table(shown);
            for Key { name, .. } in &KEYS {
                let found = name.split('.').try_fold(&all, |table, part| table.get(part));
                assert!(found.is_some(), "{name} is not shown");
            }
        }
    }
}
