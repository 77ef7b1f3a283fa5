//! Flags that are settings, shared between commands.

use clap::Args;

use super::{CliError, Global};
use crate::config::{Config, FlagSetting};

/// Settings that decide what counts.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What counts")]
pub(super) struct RulesArgs {
    /// How far the watermark trails the greatest event time [default: 30s]
    #[arg(long, value_name = "DURATION")]
    allowed_lateness: Option<String>,
    /// How far back numbers may still be corrected [default: 7d]
    #[arg(long, value_name = "DURATION")]
    correction_horizon: Option<String>,
    /// Copies of a click further apart than this are different clicks [default: 7d]
    #[arg(long, value_name = "DURATION")]
    dedup_horizon: Option<String>,
    /// How far a time may lie ahead of its arrival [default: 5m]
    #[arg(long, value_name = "DURATION")]
    max_future_skew: Option<String>,
}

/// Settings of the engine.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineArgs {
    /// Worker threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<String>,
    /// Records after which an epoch closes [default: 50000]
    #[arg(long, value_name = "N")]
    epoch_records: Option<String>,
}

impl RulesArgs {
    /// The flags that were given.
    pub(super) fn flags(&self) -> Vec<FlagSetting> {
        given([
            ("rules.allowed_lateness", "--allowed-lateness", &self.allowed_lateness),
            ("rules.correction_horizon", "--correction-horizon", &self.correction_horizon),
            ("rules.dedup_horizon", "--dedup-horizon", &self.dedup_horizon),
            ("rules.max_future_skew", "--max-future-skew", &self.max_future_skew),
        ])
    }
}

impl EngineArgs {
    /// The flags that were given.
    pub(super) fn flags(&self) -> Vec<FlagSetting> {
        given([
            ("engine.workers", "--workers", &self.workers),
            ("engine.epoch_records", "--epoch-records", &self.epoch_records),
        ])
    }
}

impl Global {
    /// The flags that were given to every command.
    pub(super) fn flags(&self) -> Vec<FlagSetting> {
        given([("log.level", "--log", &self.log)])
    }

    /// The checked settings of a command.
    pub(super) fn load(&self, flags: Vec<FlagSetting>) -> Result<Config, CliError> {
        let flags = [self.flags(), flags].concat();
        Ok(Config::load(self.config.as_deref(), flags)?)
    }
}

/// The settings among some flags that were given.
pub(super) fn given<const N: usize>(flags: [(&'static str, &'static str, &Option<String>); N]) -> Vec<FlagSetting> {
    let given = flags.into_iter().filter_map(|(key, flag, text)| Some(FlagSetting { key, flag, text: text.clone()? }));
    given.collect()
}
