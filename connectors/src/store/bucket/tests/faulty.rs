//! Objects in memory whose calls fail on demand.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It fails, and has done nothing.
    Fail,
    /// It has done what it should, and its answer is lost.
    Lose,
    /// It is never answered.
    Hang,
    /// It may not be made.
    Refuse,
    /// There is no such bucket.
    NoBucket,
}

#[derive(Default)]
struct Faults {
    next: Vec<(&'static str, Fault)>,
    always: Option<Fault>,
    /// How many more objects are put before every call fails.
    puts_left: Option<(usize, Fault)>,
    calls: BTreeMap<&'static str, usize>,
    overwrites: bool,
    /// The parts of what was not completed.
    uploads: BTreeMap<String, BTreeMap<usize, Bytes>>,
}

/// Objects in memory. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Faulty {
    objects: Arc<InMemory>,
    faults: Arc<Mutex<Faults>>,
}

impl Faulty {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// What becomes of the next call of this name.
    pub(super) fn next(&self, call: &'static str, fault: Fault) {
        self.faults().next.push((call, fault));
    }

    /// What becomes of every call from now on.
    pub(super) fn always(&self, fault: Option<Fault>) {
        let mut faults = self.faults();
        (faults.always, faults.puts_left) = (fault, None);
    }

    /// What becomes of every call once so many objects are put.
    pub(super) fn after(&self, puts: usize, fault: Fault) {
        self.faults().puts_left = Some((puts, fault));
    }

    /// From now on nothing is made only if absent.
    pub(super) fn overwrite(&self) {
        self.faults().overwrites = true;
    }

    /// Whether every fault that was to come next has come.
    pub(super) fn is_sound(&self) -> bool {
        self.faults().next.is_empty()
    }

    /// How often a call was made.
    pub(super) fn calls(&self, call: &'static str) -> usize {
        self.faults().calls.get(call).copied().unwrap_or(0)
    }

    /// The keys of the objects under a prefix.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let found = self.objects.list(Some(&Path::from(prefix))).map_ok(|meta| meta.location.to_string());
        wait_for(found.try_collect::<Vec<_>>()).unwrap()
    }

    /// Writes an object, over what is there.
    pub(super) fn insert(&self, key: &str, bytes: &[u8]) {
        wait_for(self.objects.put(&Path::from(key), bytes.to_vec().into())).unwrap();
    }

    /// Deletes an object.
    pub(super) fn remove(&self, key: &str) {
        wait_for(self.objects.delete(&Path::from(key))).unwrap();
    }

    /// Meets the fault that is due; true where the answer is to be lost.
    async fn meet(&self, call: &'static str) -> Result<bool> {
        let fault = {
            let mut faults = self.faults();
            *faults.calls.entry(call).or_default() += 1;
            if call == "put" {
                faults.puts_left = match faults.puts_left {
                    Some((0, fault)) => {
                        faults.always = Some(fault);
                        None
                    }
                    left => left.map(|(puts, fault)| (puts - 1, fault)),
                };
            }
            let next = faults.next.iter().position(|(due, _)| *due == call).map(|place| faults.next.remove(place).1);
            faults.always.or(next)
        };
        match fault {
            None => Ok(false),
            Some(Fault::Lose) => Ok(true),
            Some(Fault::Hang) => pending().await,
            Some(Fault::Fail) => Err(broken()),
            Some(Fault::NoBucket) => Err(unknown(&Path::from(""))),
            Some(Fault::Refuse) => {
                Err(Error::PermissionDenied { path: String::new(), source: "of the test".to_owned().into() })
            }
        }
    }

    /// A call with the fault that is due.
    async fn call<T>(&self, call: &'static str, done: impl Future<Output = Result<T>>) -> Result<T> {
        let is_lost = self.meet(call).await?;
        let answer = done.await;
        if is_lost { Err(broken()) } else { answer }
    }
}

fn wait_for<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "a fault of the test".to_owned().into() }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.faults().overwrites {
            options.mode = PutMode::Overwrite;
        }
        self.call("put", self.objects.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("parts are put one by one")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let call = if options.head { "head" } else { "get" };
        self.call(call, self.objects.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faulty = self.clone();
        let deleted = async move {
            let deleted: Vec<Path> =
                faulty.call("delete", faulty.objects.delete_stream(locations).try_collect()).await?;
            Ok::<_, Error>(stream::iter(deleted).map(Ok))
        };
        stream::once(deleted).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (faulty, found) = (self.clone(), self.objects.list(prefix));
        let listed = async move {
            let found: Vec<ObjectMeta> = faulty.call("list", found.try_collect()).await?;
            Ok::<_, Error>(stream::iter(found).map(Ok))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("folders are not asked for")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

/// Parts may come in any order, and again.
#[async_trait]
impl MultipartStore for Faulty {
    async fn create_multipart(&self, _: &Path) -> Result<MultipartId> {
        let create = async {
            let mut faults = self.faults();
            let id = faults.calls["create_multipart"].to_string();
            faults.uploads.insert(id.clone(), BTreeMap::new());
            Ok(id)
        };
        self.call("create_multipart", create).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part: usize, data: PutPayload) -> Result<PartId> {
        let put = async {
            let mut faults = self.faults();
            let upload = faults.uploads.get_mut(id).ok_or_else(|| unknown(path))?;
            upload.insert(part, data.into());
            Ok(PartId { content_id: part.to_string() })
        };
        self.call("put_part", put).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let complete = async {
            let upload = self.faults().uploads.remove(id).ok_or_else(|| unknown(path))?;
            let named: Vec<String> = parts.iter().map(|part| part.content_id.clone()).collect();
            assert!(upload.keys().map(ToString::to_string).eq(named), "all parts are named, in their order");
            self.objects.put(path, PutPayload::from_iter(upload.into_values())).await
        };
        self.call("complete_multipart", complete).await
    }

    async fn abort_multipart(&self, _: &Path, id: &MultipartId) -> Result<()> {
        let abort = async {
            self.faults().uploads.remove(id);
            Ok(())
        };
        self.call("abort_multipart", abort).await
    }
}

/// As S3 says it.
fn unknown(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "there is no such thing".to_owned().into() }
}
