//! The store over objects in memory that fail, hang, forget to answer and do not do as they are told.

mod faulty;

use std::io::{self, ErrorKind};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use object_store::path::Path;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::store::{Away, Store as _};

use self::faulty::{Fault, Faulty};
use super::client::Client;
use super::{BucketError, BucketStore};
use crate::data_dir::{DataDir, NewStore, StoreSource};
use crate::disk::SystemDisk;
use crate::store::DirectoryStore;

/// Long enough for whatever is answered.
const LONG: Duration = Duration::from_secs(60);
/// For what is not.
const SHORT: Duration = Duration::from_millis(300);
const PACK: &str = "0000000001-000001.pack";
const MANIFEST: &str = "0000000001.manifest";

fn data_dir(path: &FilePath, id: u64) -> DataDir {
    let new = NewStore { id, hash_secret: [7; 16], source: StoreSource::Log, partitions: 1 };
    DataDir::open(Arc::new(SystemDisk::create(path).unwrap()), &new, Rules::default()).unwrap()
}

fn reader(path: &FilePath) -> DataDir {
    DataDir::read_only(Arc::new(SystemDisk::open(path).unwrap())).unwrap()
}

fn client(objects: &Faulty, timeout: Duration) -> Client {
    Client::new(Arc::new(objects.clone()), Path::from("prefix"), "s3://bucket/prefix".into(), timeout).unwrap()
}

fn open(objects: &Faulty, dir: &DataDir) -> Result<BucketStore, BucketError> {
    BucketStore::over(client(objects, LONG), dir)
}

fn write(store: &BucketStore, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = store.create(name)?;
    bytes.chunks(100_000).try_for_each(|chunk| file.write_all(chunk))?;
    file.finish()
}

fn read(store: &BucketStore, name: &str) -> io::Result<Vec<u8>> {
    Ok(store.map(name)?.bytes().to_vec())
}

/// Bytes of which no two parts are alike.
fn bytes(length: u32) -> Vec<u8> {
    (0..length.div_ceil(4)).flat_map(u32::to_le_bytes).take(length as usize).collect()
}

fn copies(path: &FilePath) -> Vec<String> {
    let names =
        std::fs::read_dir(path.join("runs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn forget(path: &FilePath) {
    copies(path).iter().for_each(|name| std::fs::remove_file(path.join("runs").join(name)).unwrap());
}

#[test]
fn what_is_finished_is_there_whole_with_copies_and_without() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    let small = bytes(1_000);
    // Three parts, and a bit.
    let large = bytes((25 << 20) + 3);
    {
        let dir = data_dir(tmp.path(), 1);
        let store = open(&objects, &dir).unwrap();
        write(&store, PACK, &large).unwrap();
        write(&store, MANIFEST, &small).unwrap();
        let mut unfinished = store.create("0000000002.manifest").unwrap();
        unfinished.write_all(b"half").unwrap();
        drop(unfinished);
        assert_eq!(store.list().unwrap(), [PACK, MANIFEST]);
        let taken = write(&store, MANIFEST, b"other").unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
        assert!(read(&store, PACK).unwrap() == large);
    }
    assert_eq!(copies(tmp.path()), [PACK, MANIFEST]);
    for has_copies in [true, false] {
        if !has_copies {
            forget(tmp.path());
        }
        let before = objects.calls("get");
        let store = open(&objects, &data_dir(tmp.path(), 1)).unwrap();
        assert!(read(&store, PACK).unwrap() == large);
        assert_eq!(read(&store, MANIFEST).unwrap(), small);
        // Whose the prefix is, and the files: four parts and one.
        assert_eq!(objects.calls("get") - before, if has_copies { 3 } else { 8 });
        assert_eq!(copies(tmp.path()), [PACK, MANIFEST]);
    }
    // Who only reads looks at the objects, and leaves nothing.
    std::fs::write(tmp.path().join("runs").join(MANIFEST), b"damaged").unwrap();
    let store = open(&objects, &reader(tmp.path())).unwrap();
    assert_eq!(read(&store, MANIFEST).unwrap(), small);
    assert!(read(&store, PACK).unwrap() == large);
    assert_eq!(copies(tmp.path()), [PACK, MANIFEST]);
    assert_eq!(read(&store, "0000000009.manifest").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn copies_go_with_their_objects_and_can_be_fetched_again() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = open(&objects, &data_dir(tmp.path(), 1)).unwrap();
    for name in [PACK, MANIFEST, "0000000002.manifest"] {
        write(&store, name, name.as_bytes()).unwrap();
    }
    let mapped = store.map(MANIFEST).unwrap();
    store.delete(MANIFEST).unwrap();
    assert_eq!(copies(tmp.path()), [PACK, "0000000002.manifest"]);
    assert_eq!(mapped.bytes(), MANIFEST.as_bytes(), "what is mapped stays");
    store.delete(MANIFEST).unwrap();
    objects.remove(&format!("prefix/runs/{PACK}"));
    assert_eq!(store.list().unwrap(), ["0000000002.manifest"]);
    assert_eq!(copies(tmp.path()), ["0000000002.manifest"]);
    // The name is free again.
    write(&store, PACK, b"anew").unwrap();
    std::fs::write(tmp.path().join("runs").join(PACK), b"damaged").unwrap();
    assert!(store.forget_copies().unwrap());
    assert_eq!(read(&store, PACK).unwrap(), b"anew");
    assert!(!store.forget_copies().unwrap(), "what was fetched again is no better");
}

#[test]
fn answers_that_are_lost_are_asked_for_again() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = open(&objects, &data_dir(tmp.path(), 1)).unwrap();
    let large = bytes(20 << 20);
    for fault in [Fault::Fail, Fault::Lose] {
        for call in ["put", "head", "create_multipart", "put_part", "complete_multipart", "get", "list", "delete"] {
            objects.next(call, fault);
        }
        write(&store, MANIFEST, b"small").unwrap();
        write(&store, PACK, &large).unwrap();
        forget(tmp.path());
        assert_eq!(read(&store, MANIFEST).unwrap(), b"small");
        assert!(read(&store, PACK).unwrap() == large);
        assert_eq!(store.list().unwrap(), [PACK, MANIFEST]);
        store.delete(PACK).unwrap();
        store.delete(MANIFEST).unwrap();
        assert!(objects.is_sound(), "every fault came");
    }
    // What another made meanwhile is not taken for ours.
    objects.insert(&format!("prefix/runs/{MANIFEST}"), b"of another");
    objects.next("put", Fault::Fail);
    assert_eq!(write(&store, MANIFEST, b"ours").unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn what_does_not_answer_is_away_and_what_comes_back_goes_on() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    let dir = data_dir(tmp.path(), 1);
    let store = BucketStore::over(client(&objects, LONG), &dir).unwrap();
    write(&store, PACK, b"kept").unwrap();
    drop((store, dir));
    let dir = data_dir(tmp.path(), 1);
    let store = BucketStore::over(client(&objects, SHORT), &dir).unwrap();
    for fault in [Fault::Fail, Fault::Hang] {
        objects.always(Some(fault));
        let errors = [
            write(&store, MANIFEST, b"x").unwrap_err(),
            write(&store, "0000000002-000001.pack", &bytes(10 << 20)).unwrap_err(),
            store.list().unwrap_err(),
            store.delete(PACK).unwrap_err(),
            store.map("0000000003.manifest").err().unwrap(),
        ];
        for error in errors {
            assert!(Away::is(&error), "{error}");
            let text = error.to_string();
            assert!(text.starts_with("s3://bucket/prefix/runs") && text.contains("check the network"), "{text}");
        }
        assert_eq!(read(&store, PACK).unwrap(), b"kept", "there is a copy");
        objects.always(None);
    }
    assert_eq!(copies(tmp.path()), [PACK], "what came to nothing leaves nothing");
    write(&store, MANIFEST, b"x").unwrap();
    assert_eq!(store.list().unwrap(), [PACK, MANIFEST]);
    // Refused is refused: nothing is asked again, and the credentials may be put right while the process runs.
    objects.next("put", Fault::Refuse);
    let refused = write(&store, "0000000004.manifest", b"x").unwrap_err();
    assert!(Away::is(&refused) && refused.to_string().contains("check the credentials"), "{refused}");
    for call in ["put", "create_multipart", "list"] {
        objects.next(call, Fault::NoBucket);
    }
    let small = write(&store, "0000000004.manifest", b"x").unwrap_err();
    let large = write(&store, "0000000004-000001.pack", &bytes(10 << 20)).unwrap_err();
    for error in [small, large, store.list().unwrap_err()] {
        assert!(Away::is(&error) && error.to_string().contains("check that there is such a bucket"), "{error}");
    }
    assert!(objects.is_sound());
}

#[test]
fn of_writers_that_make_the_same_name_one_wins() {
    let objects = Faulty::default();
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    // Each has come one writer further than the one before, as if locks did not hold.
    let stores: Vec<_> = (0..)
        .zip(&dirs)
        .map(|(starts, dir)| {
            (0..starts).for_each(|_| drop(data_dir(dir.path(), 1)));
            open(&objects, &data_dir(dir.path(), 1)).unwrap()
        })
        .collect();
    for round in 1..50 {
        let name = format!("{round:010}.manifest");
        let race = &|number: usize| write(&stores[number], &name, format!("of {number}").as_bytes());
        let won: Vec<io::Result<()>> = thread::scope(|scope| {
            let racing: Vec<_> = (0..stores.len()).map(|number| scope.spawn(move || race(number))).collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..).zip(&won).filter(|(_, won)| won.is_ok()).map(|(number, _)| number).collect();
        assert_eq!(winners.len(), 1, "{won:?}");
        assert!(won.iter().flat_map(|won| won.as_ref().err()).all(|error| error.kind() == ErrorKind::AlreadyExists));
        for store in &stores {
            assert_eq!(read(store, &name).unwrap(), format!("of {}", winners[0]).as_bytes());
        }
    }
}

#[test]
fn a_prefix_is_of_one_store_and_a_number_of_one_writer() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    let refused = |error: Result<BucketStore, BucketError>| error.err().unwrap().to_string();
    {
        let dir = data_dir(tmp.path(), 1);
        assert!(refused(open(&objects, &reader(tmp.path()))).contains("holds no checkpoints of any store"));
        open(&objects, &dir).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    let error = refused(open(&objects, &data_dir(other.path(), 2)));
    assert!(error.contains("of another store (0000000000000001; this one is 0000000000000002)"), "{error}");
    assert!(refused(open(&objects, &reader(other.path()))).contains("another store"));
    // A copy of the directory has the same store and the same number, and comes second.
    let copied = tempfile::tempdir().unwrap();
    let error = refused(open(&objects, &data_dir(copied.path(), 1)));
    assert!(error.contains("writer 1 was here, and this data directory has come to writer 1 only"), "{error}");
    // The one that goes on where it ended is welcome, and leaves one claim.
    open(&objects, &data_dir(tmp.path(), 1)).unwrap();
    assert_eq!(objects.keys("prefix/writers"), ["prefix/writers/00000002"]);
    objects.insert("prefix/store.json", b"{}");
    assert!(refused(open(&objects, &data_dir(tmp.path(), 1))).contains("prefix/store.json: is damaged"));
}

#[test]
fn an_object_store_that_overwrites_is_refused() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    objects.overwrite();
    let error = open(&objects, &data_dir(tmp.path(), 1)).err().unwrap();
    assert!(matches!(error, BucketError::Unconditional { .. }), "{error}");
    // Another's store is known before anything could be written over it.
    let other = tempfile::tempdir().unwrap();
    let error = open(&objects, &data_dir(other.path(), 2)).err().unwrap();
    assert!(matches!(error, BucketError::OtherStore { .. }), "{error}");
}

#[test]
fn files_of_a_directory_move_in_also_after_a_broken_attempt() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    let names = ["0000000001-000001.pack", "0000000001.manifest", "0000000002-000001.pack", "0000000002.manifest"];
    {
        let store = DirectoryStore::open(&data_dir(tmp.path(), 1)).unwrap();
        for name in names {
            let mut file = store.create(name).unwrap();
            file.write_all(name.as_bytes()).unwrap();
            file.finish().unwrap();
        }
    }
    {
        let dir = data_dir(tmp.path(), 1);
        let store = BucketStore::over(client(&objects, SHORT), &dir).unwrap();
        objects.after(2, Fault::Fail);
        assert!(store.move_in().unwrap_err().is_retryable());
        objects.always(None);
        let there = objects.keys("prefix/runs");
        assert_eq!(there.len(), 2);
        assert!(there.iter().all(|key| key.ends_with(".pack")), "manifests come last: {there:?}");
    }
    let store = open(&objects, &data_dir(tmp.path(), 1)).unwrap();
    store.move_in().unwrap();
    assert_eq!(store.list().unwrap(), names);
    forget(tmp.path());
    for name in names {
        assert_eq!(read(&store, name).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_generation_takes_the_place_of_the_one_before() {
    let (tmp, objects) = (tempfile::tempdir().unwrap(), Faulty::default());
    {
        let mut dir = data_dir(tmp.path(), 1);
        let before = open(&objects, &dir).unwrap();
        write(&before, MANIFEST, b"before").unwrap();
        dir.begin_generation(Rules::default()).unwrap();
        let next = before.of_generation(&dir).unwrap();
        write(&next, MANIFEST, b"broken off").unwrap();
    }
    {
        // Nobody finished it: what was before stays, and what was begun goes.
        let mut dir = data_dir(tmp.path(), 1);
        let before = open(&objects, &dir).unwrap();
        assert_eq!(read(&before, MANIFEST).unwrap(), b"before");
        assert_eq!(objects.keys("prefix/runs-000001"), [""; 0]);
        dir.begin_generation(Rules::default()).unwrap();
        let next = before.of_generation(&dir).unwrap();
        write(&next, MANIFEST, b"after").unwrap();
        dir.finish_generation().unwrap();
        next.clear_others().unwrap();
    }
    assert_eq!(objects.keys("prefix/runs"), [""; 0]);
    let after = open(&objects, &data_dir(tmp.path(), 1)).unwrap();
    assert_eq!(read(&after, MANIFEST).unwrap(), b"after");
}
