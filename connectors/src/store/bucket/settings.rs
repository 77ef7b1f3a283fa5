//! From settings to an object store.

use std::collections::BTreeMap;
use std::fs;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, RetryConfig};

use super::BucketError;
use super::client::Objects;
use crate::store::BucketSettings;

/// The end of the name of an option whose value is in a file.
const FILE_END: &str = "_file";
/// Parts of the names of options that hold secrets. A new option is rather hidden than shown.
const SECRET_PARTS: [&str; 6] = ["secret", "key", "token", "password", "credential", "signature"];
/// Options that Recount decides, and why.
const DECIDED: [(&str, &str); 6] = [
    ("bucket", "it is written in store.checkpoints"),
    ("bucket_name", "it is written in store.checkpoints"),
    ("container_name", "it is written in store.checkpoints"),
    ("conditional_put", "manifests are made only if absent, always"),
    ("timeout", "write it as store.checkpoints_timeout"),
    ("copy_if_not_exists", "nothing is copied"),
];

/// Whether the value of an option must not be shown.
///
/// ```
/// assert!(recount_connectors::store::bucket::is_secret("secret_access_key"));
/// assert!(!recount_connectors::store::bucket::is_secret("secret_access_key_file"));
/// ```
pub fn is_secret(name: &str) -> bool {
    !name.ends_with(FILE_END) && SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// Looks whether settings can be used, as far as that can be said without opening a file or a connection.
///
/// # Errors
/// [`BucketError::Settings`], with what to write.
pub fn check(settings: &BucketSettings) -> Result<(), BucketError> {
    let (scheme, _) = location(&settings.url)?;
    match scheme {
        Scheme::S3 => names::<AmazonS3ConfigKey>(&settings.options).map(|_| ()),
        Scheme::Gs => names::<GoogleConfigKey>(&settings.options).map(|_| ()),
        Scheme::Az => names::<AzureConfigKey>(&settings.options).map(|_| ()),
    }
}

/// The object store, and the prefix in it. Credentials that are not among the options come from the environment, as the tools of each
/// provider know it.
pub(super) fn objects(settings: &BucketSettings) -> Result<(Arc<dyn Objects>, Path), BucketError> {
    let BucketSettings { url, options, .. } = settings;
    let (scheme, prefix) = location(url)?;
    let refused = |error: object_store::Error| BucketError::Settings(error.to_string());
    let objects: Arc<dyn Objects> = match scheme {
        Scheme::S3 => {
            let builder = AmazonS3Builder::from_env().with_url(url).with_retry(once());
            let builder =
                values(options)?.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
            Arc::new(builder.build().map_err(refused)?)
        }
        Scheme::Gs => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url).with_retry(once());
            let builder =
                values(options)?.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
            Arc::new(builder.build().map_err(refused)?)
        }
        Scheme::Az => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url).with_retry(once());
            let builder =
                values(options)?.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
            Arc::new(builder.build().map_err(refused)?)
        }
    };
    Ok((objects, prefix))
}

#[derive(Clone, Copy)]
enum Scheme {
    S3,
    Gs,
    Az,
}

fn location(url: &str) -> Result<(Scheme, Path), BucketError> {
    let refused = |why: &str| {
        BucketError::Settings(format!("{url:?} {why}; write s3://bucket/prefix, or with gs or az in place of s3"))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("is no URL"))?;
    let scheme = match scheme {
        "s3" => Scheme::S3,
        "gs" => Scheme::Gs,
        "az" => Scheme::Az,
        _ => return Err(refused("is of no object store that is known")),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(refused("names no bucket"));
    }
    // Nothing is to be written beside what else is in the bucket.
    if prefix.is_empty() {
        return Err(refused("names no prefix"));
    }
    let prefix =
        Path::parse(prefix).map_err(|error| refused(&format!("has a prefix that can not be used ({error})")))?;
    Ok((scheme, prefix))
}

/// A request is repeated by [`Client`](super::client::Client), which knows what that may mean.
fn once() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, ..RetryConfig::default() }
}

/// Where the value of an option is.
enum Value<'a> {
    Given(&'a str),
    InFile(&'a str),
}

/// The options by their keys.
fn names<K: FromStr>(options: &BTreeMap<String, String>) -> Result<Vec<(K, Value<'_>)>, BucketError> {
    let refused = |name: &str, why: &str| {
        Err(BucketError::Settings(format!("the option {name:?} in store.checkpoints_options {why}")))
    };
    let mut found = Vec::new();
    for (name, value) in options {
        let bare =
            name.strip_prefix("aws_").or_else(|| name.strip_prefix("google_")).or_else(|| name.strip_prefix("azure_"));
        if let Some((_, why)) = DECIDED.iter().find(|(decided, _)| *decided == bare.unwrap_or(name)) {
            return refused(name, &format!("can not be set: {why}"));
        }
        let stem = name.strip_suffix(FILE_END);
        // Some options are called so, and are paths anyway.
        match (name.parse::<K>(), stem.map(|stem| (stem, stem.parse::<K>()))) {
            (Ok(key), _) => found.push((key, Value::Given(value))),
            (Err(_), Some((stem, Ok(key)))) => {
                if options.contains_key(stem) {
                    return refused(stem, &format!("is given twice, also as {name:?}; keep one of them"));
                }
                found.push((key, Value::InFile(value)));
            }
            (Err(_), _) => return refused(name, "is not known; the names are those of the crate object_store"),
        }
    }
    Ok(found)
}

/// The options by their keys, with what is in files.
fn values<K: FromStr>(options: &BTreeMap<String, String>) -> Result<Vec<(K, String)>, BucketError> {
    let value = |(key, value)| match value {
        Value::Given(value) => Ok((key, value.to_owned())),
        Value::InFile(file) => match fs::read_to_string(file) {
            Ok(text) => Ok((key, text.trim_end().to_owned())),
            Err(cause) => Err(BucketError::Settings(format!("{file}: an option's value can not be read: {cause}"))),
        },
    };
    names(options)?.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refused(url: &str, options: &[(&str, &str)]) -> String {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = BucketSettings { url: url.to_owned(), options, timeout: Duration::from_secs(1) };
        check(&settings)
            .and_then(|()| objects(&settings).map(|_| ()))
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn places_and_options_are_checked() {
        assert!(refused("bucket/prefix", &[]).contains("is no URL; write s3://bucket/prefix"));
        assert!(refused("ftp://bucket/prefix", &[]).contains("of no object store"));
        assert!(refused("s3:///prefix", &[]).contains("names no bucket"));
        assert!(refused("s3://bucket", &[]).contains("names no prefix"));
        assert!(refused("s3://bucket/a//b", &[]).contains("can not be used"));
        assert!(refused("s3://b/p", &[("regio", "x")]).contains("\"regio\" in store.checkpoints_options is not known"));
        assert!(refused("s3://b/p", &[("aws_conditional_put", "disabled")]).contains("only if absent"));
        assert!(refused("s3://b/p", &[("token", "x"), ("token_file", "y")]).contains("given twice"));
        let secret = refused("s3://b/p", &[("secret_access_key_file", "/nowhere/at/all")]);
        assert!(secret.contains("/nowhere/at/all: an option's value can not be read"), "{secret}");
        let whole = [("region", "eu-central-1"), ("access_key_id", "a"), ("secret_access_key", "b")];
        assert_eq!(refused("s3://bucket/deep/prefix", &whole), "");
    }

    #[test]
    fn secrets_are_known() {
        assert!(
            ["secret_access_key", "aws_session_token", "google_service_account_key", "azure_storage_sas_key"]
                .iter()
                .all(|name| is_secret(name))
        );
        assert!(["endpoint", "region", "allow_http", "secret_access_key_file"].iter().all(|name| !is_secret(name)));
    }
}
