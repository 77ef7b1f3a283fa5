//! The classes of a broker as a JVM has them in memory, in a file: a broker that maps it starts with half of the processor's time.

use std::fs::{self, File};

use super::broker::{Broker, free_ports};
use super::jars;
use super::settings::{BrokerSettings, Place};
use super::topics::{Record, Topics};

/// Makes the archive where there is none: a broker does a little of everything, and writes it when it ends in order. A JVM that can
/// not use it does without.
pub(super) fn make_once() {
    jars::class_path();
    let archive = jars::archive();
    if archive.exists() {
        return;
    }
    // Test binaries that begin together make it once.
    let lock = File::create(archive.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if archive.exists() {
        return;
    }
    let unfinished = archive.with_extension("unfinished");
    let broker = Broker::format(BrokerSettings::default(), &Place { node: 1, nodes: &[free_ports()] });
    broker.run_with(&format!("-XX:ArchiveClassesAtExit={}", unfinished.display()));
    broker.wait_until_ready();
    let topics = Topics::of(broker.servers());
    topics.create("classes", 1, &[]);
    topics.produce("classes", &[Record::of("loaded")]);
    topics.consume("classes");
    broker.stop();
    if !unfinished.exists() {
        // This JVM makes none: an archive that is none is passed over, and nobody tries again.
        fs::write(&unfinished, "").unwrap();
    }
    fs::rename(&unfinished, &archive).unwrap();
}
