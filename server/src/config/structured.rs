//! Settings that are tables or lists: written in a file as such, and on one line elsewhere, as TOML.

use std::collections::BTreeMap;

/// The value of a setting that is written as TOML.
pub(super) fn value(text: &str) -> Result<toml::Table, String> {
    format!("value = {text}").parse().map_err(|_| format!("{text:?} is no TOML value"))
}

/// The free keys of the setting `name`.
pub(super) fn properties(name: &str, text: &str) -> Result<BTreeMap<String, String>, String> {
    let table = value(text).ok().and_then(|mut value| value.remove("value"));
    let Some(toml::Value::Table(table)) = table else {
        return Err(format!("write [{name}] with a line a property"));
    };
    let mut properties = BTreeMap::new();
    flatten("", table, &mut properties)?;
    Ok(properties)
}

/// Names with dots may be written with quotes or without.
fn flatten(prefix: &str, table: toml::Table, found: &mut BTreeMap<String, String>) -> Result<(), String> {
    for (entry, value) in table {
        let name = if prefix.is_empty() { entry } else { format!("{prefix}.{entry}") };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(on) => on.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Table(inner) => {
                flatten(&name, inner, found)?;
                continue;
            }
            other => return Err(format!("{name} is a {}; write text, a number or true/false", other.type_str())),
        };
        found.insert(name, text);
    }
    Ok(())
}
