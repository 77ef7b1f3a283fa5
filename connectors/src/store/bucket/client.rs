//! Requests: made on threads of their own, waited for, repeated, and given up in time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use super::BucketError;

/// One answer may take this part of the time that a request has, so a lost one is asked for again.
const ATTEMPTS_MIN: u32 = 3;
/// The first pause before a repetition; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The most that is told of what an object store said.
const CAUSE_CHARS_MAX: usize = 500;

/// What an object store has to know.
pub(super) trait Objects: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Objects for T {}

/// What is asked of an object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    LookAt,
    Read,
    Make,
    Write,
    Delete,
}

impl Action {
    fn done(self) -> &'static str {
        match self {
            Action::List => "listed",
            Action::LookAt => "looked at",
            Action::Read => "read",
            Action::Make => "made",
            Action::Write => "written",
            Action::Delete => "deleted",
        }
    }

    /// Whether that nothing was found is about the object; else it is the bucket that is not there.
    fn is_of_object(self) -> bool {
        matches!(self, Action::LookAt | Action::Read | Action::Delete)
    }
}

/// What became of an object that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is there, and as it was given.
    Made,
    /// Another is there.
    Taken,
}

/// The objects under a prefix. Every call blocks.
pub(super) struct Client {
    pub(super) objects: Arc<dyn Objects>,
    prefix: Path,
    /// How a person finds the prefix.
    place: String,
    timeout: Duration,
    /// Gone once this is dropped.
    runtime: Option<Runtime>,
}

impl Client {
    /// The objects under `prefix`, which people know as `place`. No request takes longer than `timeout`, with its repetitions.
    pub(super) fn new(
        objects: Arc<dyn Objects>,
        prefix: Path,
        place: String,
        timeout: Duration,
    ) -> Result<Client, BucketError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("bucket").enable_all().build();
        Ok(Client { objects, prefix, place, timeout, runtime: Some(runtime.map_err(BucketError::Thread)?) })
    }

    /// How a person finds the prefix.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// How a person finds an object.
    pub(super) fn object(&self, key: &str) -> String {
        if key.is_empty() { self.place.clone() } else { format!("{}/{key}", self.place) }
    }

    /// An object's name in the bucket.
    pub(super) fn path(&self, key: &str) -> Path {
        let parts = key.split('/').filter(|part| !part.is_empty());
        parts.fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Waits for what only the runtime's threads move on.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().expect("it is there until this is dropped").block_on(future)
    }

    /// The bytes of a small object; `None` where there is none.
    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, BucketError> {
        let path = self.path(key);
        let got =
            self.block_on(self.attempts(Action::Read, key, async |_| self.objects.get(&path).await?.bytes().await));
        absent_is_none(got)
    }

    /// Makes a small object, if there is none of the name.
    pub(super) fn put_new(&self, key: &str, bytes: Bytes) -> Result<Put, BucketError> {
        self.block_on(self.put_new_async(key, bytes))
    }

    pub(super) async fn put_new_async(&self, key: &str, bytes: Bytes) -> Result<Put, BucketError> {
        let path = self.path(key);
        let attempt = async |attempt: u32| {
            let put = self.objects.put_opts(&path, bytes.clone().into(), PutMode::Create.into()).await;
            let Err(conflict @ Error::AlreadyExists { .. }) = put else { return put.map(|_| Put::Made) };
            match self.objects.get(&path).await {
                // An attempt before this one may have made it, and its answer was lost.
                Ok(found) => Ok(if attempt > 0 && found.bytes().await? == bytes { Put::Made } else { Put::Taken }),
                // Some answer so where another request is under way, which came to nothing.
                Err(Error::NotFound { .. }) => Err(Error::Generic { store: "object store", source: conflict.into() }),
                Err(error) => Err(error),
            }
        };
        self.attempts(Action::Make, key, attempt).await
    }

    /// The keys of all objects under a key, sorted.
    pub(super) fn list(&self, under: &str) -> Result<Vec<String>, BucketError> {
        let path = self.path(under);
        let list = async |_| {
            let found: Vec<_> = self.objects.list(Some(&path)).map_ok(|meta| meta.location).try_collect().await?;
            Ok(found)
        };
        let found = self.block_on(self.attempts(Action::List, under, list))?;
        let key = |location: Path| {
            let parts = location.prefix_match(&self.prefix)?;
            Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
        };
        let mut keys: Vec<String> = found.into_iter().filter_map(key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Deletes an object; that it is not there is no error.
    pub(super) fn delete(&self, key: &str) -> Result<(), BucketError> {
        let path = self.path(key);
        let deleted = self.block_on(self.attempts(Action::Delete, key, async |_| self.objects.delete(&path).await));
        absent_is_none(deleted).map(|_| ())
    }

    /// Asks until there is an answer that another attempt would not change, or the time is over. `call` is told how many attempts
    /// came before it.
    pub(super) async fn attempts<T>(
        &self,
        action: Action,
        key: &str,
        mut call: impl AsyncFnMut(u32) -> Result<T, Error>,
    ) -> Result<T, BucketError> {
        let began = Instant::now();
        let mut pause = PAUSE_MIN;
        for tries in 1.. {
            let left = self.timeout.saturating_sub(began.elapsed());
            let share = (self.timeout / ATTEMPTS_MIN).min(left);
            let (cause, is_final, advice) = match timeout(share, call(tries - 1)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Error::NotFound { .. })) if action.is_of_object() => {
                    return Err(BucketError::NotFound { object: self.object(key) });
                }
                Ok(Err(error)) => (in_short(&error), is_final(&error), advice(&error)),
                Err(_) => (format!("no answer within {} ms", share.as_millis()), false, UNREACHABLE),
            };
            if is_final || left < share + pause {
                let (object, took) = (self.object(key), began.elapsed());
                let action = action.done();
                return Err(BucketError::Away { object, action, cause, tries, took, advice });
            }
            match tries {
                1 => {
                    tracing::warn!(object = self.object(key), ?action, %cause, "the object store failed; it is asked again")
                }
                _ => {
                    tracing::debug!(object = self.object(key), ?action, %cause, tries, "the object store failed again")
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        unreachable!("the time ends before the numbers do")
    }
}

impl Drop for Client {
    /// Waits for nothing: whoever drops it may be a task of another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What helps where nothing answers.
const UNREACHABLE: &str = "check the network, and endpoint and region in store.checkpoints_options";

/// Whether to ask again would change nothing.
fn is_final(error: &Error) -> bool {
    !matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}

fn advice(error: &Error) -> &'static str {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "check the credentials, in store.checkpoints_options or the environment, and that they may read, write, list and delete"
        }
        Error::NotFound { .. } => "check that there is such a bucket",
        Error::NotImplemented { .. } | Error::NotSupported { .. } => "use an object store that can do this",
        _ => UNREACHABLE,
    }
}

/// The innermost cause, which says it, where the outer ones only tell what was done. A server may say a page.
fn in_short(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(CAUSE_CHARS_MAX).collect()
}

fn absent_is_none<T>(outcome: Result<T, BucketError>) -> Result<Option<T>, BucketError> {
    match outcome {
        Err(BucketError::NotFound { .. }) => Ok(None),
        outcome => outcome.map(Some),
    }
}
