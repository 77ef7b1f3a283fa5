//! Settings as written: flags over environment over file over defaults, each remembering where it came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::keys::{self, KEYS, Key};

/// The prefix of settings in the environment: `RECOUNT__SECTION__KEY`.
const ENV_PREFIX: &str = "RECOUNT__";

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere.
    Default,
    /// In the file.
    File(PathBuf),
    /// In the environment, under this name.
    Env(String),
    /// In this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Env(name) => write!(f, "{name}"),
            Origin::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// A setting as a flag gave it.
#[derive(Clone, Debug)]
pub(crate) struct FlagSetting {
    /// The setting's name.
    pub(crate) key: &'static str,
    /// The flag.
    pub(crate) flag: &'static str,
    /// What was written.
    pub(crate) text: String,
}

/// Every setting, as written.
pub(crate) struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Layers {
    /// Collects the settings of every layer.
    ///
    /// # Errors
    /// Where the file can not be read, or a name is not known.
    pub(crate) fn collect(
        file: Option<&Path>,
        env: impl Iterator<Item = (OsString, OsString)>,
        flags: Vec<FlagSetting>,
    ) -> Result<Layers, ConfigError> {
        let defaults = KEYS.iter().map(|key| (key.name, (key.default.to_string(), Origin::Default)));
        let mut layers = Layers { values: defaults.collect() };
        if let Some(path) = file {
            layers.read_file(path)?;
        }
        layers.read_env(env)?;
        for FlagSetting { key, flag, text } in flags {
            layers.set(known(key, &Origin::Flag(flag))?, text, Origin::Flag(flag));
        }
        Ok(layers)
    }

    /// A setting's text and origin.
    pub(crate) fn get(&self, key: &str) -> (&str, &Origin) {
        let (text, origin) = self.values.get(key).unwrap_or_else(|| panic!("{key} is no setting"));
        (text, origin)
    }

    fn set(&mut self, key: &'static Key, text: String, origin: Origin) {
        self.values.insert(key.name, (text, origin));
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| {
            ConfigError::new(format!("{}: the configuration can not be read: {cause}", path.display()))
        })?;
        let table: toml::Table = text.parse().map_err(|cause: toml::de::Error| {
            // The error shows the whole line, and there may be a password in it.
            let before = cause.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            let column = 1 + before.len() - before.rfind('\n').map_or(0, |end| end + 1);
            ConfigError::new(format!("{}:{line}:{column}: this is no TOML: {}", path.display(), cause.message()))
        })?;
        let origin = Origin::File(path.to_path_buf());
        self.read_table("", table, &origin)
    }

    /// Reads the settings of a section, and of those in it.
    fn read_table(&mut self, section: &str, table: toml::Table, origin: &Origin) -> Result<(), ConfigError> {
        for (entry, value) in table {
            let name = if section.is_empty() { entry } else { format!("{section}.{entry}") };
            let key = match (keys::find(&name), value) {
                (None, toml::Value::Table(entries)) if keys::is_section(&name) => {
                    self.read_table(&name, entries, origin)?;
                    continue;
                }
                (None, toml::Value::Table(entries)) => {
                    let first = entries.keys().next().map_or(String::new(), |entry| format!(".{entry}"));
                    return Err(unknown(&format!("{name}{first}"), origin));
                }
                (None, _) => return Err(unknown(&name, origin)),
                (Some(key), value) => (key, value),
            };
            let (key, value) = key;
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(on) => on.to_string(),
                value @ (toml::Value::Array(_) | toml::Value::Table(_)) if key.is_structured() => value.to_string(),
                other => {
                    let message =
                        format!("{origin}: {name} is a {}; write text, a number or true/false", other.type_str());
                    return Err(ConfigError::new(message));
                }
            };
            self.set(key, text, origin.clone());
        }
        Ok(())
    }

    fn read_env(&mut self, env: impl Iterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
        for (variable, text) in env {
            let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(ENV_PREFIX)) else {
                continue;
            };
            let origin = Origin::Env(variable.to_string());
            let name = variable[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
            let key = known(&name, &origin)?;
            let text = text.into_string().map_err(|_| ConfigError::new(format!("{origin} is not UTF-8")))?;
            self.set(key, text, origin);
        }
        Ok(())
    }
}

fn known(name: &str, origin: &Origin) -> Result<&'static Key, ConfigError> {
    keys::find(name).ok_or_else(|| unknown(name, origin))
}

fn unknown(name: &str, origin: &Origin) -> ConfigError {
    let nearest = keys::nearest(name).map_or(String::new(), |nearest| match origin {
        Origin::Env(_) => format!(" did you mean {ENV_PREFIX}{}?", nearest.to_uppercase().replace('.', "__")),
        _ => format!(" did you mean {nearest}?"),
    });
    let found = match origin {
        Origin::Env(variable) => format!("there is no setting {variable}"),
        origin => format!("{origin}: there is no setting {name}"),
    };
    ConfigError::new(format!("{found};{nearest} `recount config show` lists all"))
}
