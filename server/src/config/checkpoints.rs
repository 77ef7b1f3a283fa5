//! Where checkpoints are, as checked.

use std::time::Duration;

use recount_connectors::store::{BucketSettings, Place, PlaceError};

use super::structured::properties;
use super::{Config, ConfigError, Read};

/// A request that is repeated at all takes this long.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

impl Config {
    /// Where checkpoints are.
    ///
    /// # Errors
    /// Where that is an object store, and this program is built without.
    pub(crate) fn checkpoints(&self) -> Result<Place, ConfigError> {
        match self.place {
            Place::Bucket(_) if !cfg!(feature = "object-store") => {
                Err(ConfigError::new(PlaceError::NoBuckets.to_string()))
            }
            _ => Ok(self.place.clone()),
        }
    }
}

impl Read<'_> {
    /// Where checkpoints are to be.
    pub(super) fn place(&self) -> Result<Place, ConfigError> {
        let url = self.with("store.checkpoints", |text| Ok(text.trim().trim_end_matches('/').to_owned()))?;
        let options = self.with("store.checkpoints_options", |text| properties("store.checkpoints_options", text))?;
        let timeout = self.duration("store.checkpoints_timeout", TIMEOUT_MIN)?;
        if url.is_empty() {
            return match options.is_empty() {
                true => Ok(Place::Directory),
                false => Err(ConfigError::new(
                    "store.checkpoints_options are given without store.checkpoints; write where the object store is",
                )),
            };
        }
        let settings = BucketSettings { url, options, timeout };
        check(&settings)?;
        Ok(Place::Bucket(settings))
    }
}

#[cfg(feature = "object-store")]
fn check(settings: &BucketSettings) -> Result<(), ConfigError> {
    recount_connectors::store::bucket::check(settings).map_err(|error| ConfigError::new(error.to_string()))
}

/// Without object stores at hand nothing is known of their options.
#[cfg(not(feature = "object-store"))]
fn check(_: &BucketSettings) -> Result<(), ConfigError> {
    Ok(())
}

/// Whether the value of an option must not be shown.
#[cfg(feature = "object-store")]
pub(super) fn is_secret(name: &str) -> bool {
    recount_connectors::store::bucket::is_secret(name)
}

/// Without object stores at hand nothing is shown.
#[cfg(not(feature = "object-store"))]
pub(super) fn is_secret(_: &str) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::super::{from_toml, shown};
    use super::*;

    #[test]
    fn a_place_and_its_options_are_read() {
        let text = r#"
            [store]
            checkpoints = "s3://bucket/prefix/"
            checkpoints_timeout = "5s"
            [store.checkpoints_options]
            region = "eu-central-1"
            secret_access_key_file = "/run/secrets/s3"
            allow_http = true
        "#;
        let config = from_toml(text).expect("it fits");
        let Place::Bucket(BucketSettings { url, options, timeout }) = config.place.clone() else {
            panic!("{:?}", config.place)
        };
        assert_eq!((url.as_str(), timeout), ("s3://bucket/prefix", Duration::from_secs(5)));
        assert_eq!(options["secret_access_key_file"], "/run/secrets/s3");
        assert_eq!(options["allow_http"], "true");
        match cfg!(feature = "object-store") {
            true => assert_eq!(config.checkpoints(), Ok(config.place.clone())),
            false => assert!(config.checkpoints().expect_err("it can not").to_string().contains("built without")),
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_write() {
        assert_eq!(from_toml("").expect("nothing is given").place, Place::Directory);
        let problem = |lines: &str| from_toml(&format!("[store]\n{lines}\n")).expect_err("it is refused").to_string();
        assert!(problem("checkpoints_options = { region = \"a\" }").contains("without store.checkpoints"));
        assert!(problem("checkpoints_options = \"a\"").contains("write [store.checkpoints_options] with a line"));
        if cfg!(feature = "object-store") {
            assert!(problem("checkpoints = \"/mnt/checkpoints\"").contains("write s3://bucket/prefix"));
            let options = "checkpoints = \"s3://b/p\"\ncheckpoints_options = { regio = \"a\" }";
            assert!(problem(options).contains("\"regio\" in store.checkpoints_options is not known"));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = r#"{ "secret_access_key" = "hunter 2" }"#;
        let shown = shown("store.checkpoints_options", options);
        assert!(shown.contains("secret_access_key") && !shown.contains("hunter"), "{shown}");
    }
}
