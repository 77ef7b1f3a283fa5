//! What it costs to publish, each message once, beside the same run that publishes nothing.
//!
//! The runs take turns, and a cost is that of one turn: how much longer the run took than the one that publishes nothing, as a share
//! of its own time, so that 20 % is a fifth of the rate. Opening the sinks is a time of its own and no part of it.

use std::error::Error;

use crate::Args;
use crate::measure::median;
use crate::table::Table;

use super::run::{Counted, Run};
use super::topic::{Format, Topic};
use super::{broker, rate};

const CORRECTIONS: (&str, &str) = ("SINK__KAFKA__CORRECTIONS__TOPIC", "corrections");
const COUNTS: (&str, &str) = ("SINK__KAFKA__COUNTS__TOPIC", "counts");
const OF_HOURS: (&str, &str) = ("SINK__KAFKA__COUNTS__GRANULARITIES", r#"["hour"]"#);
const OF_HOURS_AND_DAYS: (&str, &str) = ("SINK__KAFKA__COUNTS__GRANULARITIES", r#"["hour", "day"]"#);

const CORRECTIONS_AT_LEAST_ONCE: (&str, &str) = ("SINK__KAFKA__CORRECTIONS__DELIVERY", "at-least-once");
const COUNTS_AT_LEAST_ONCE: (&str, &str) = ("SINK__KAFKA__COUNTS__DELIVERY", "at-least-once");

/// What is published beside nothing.
const KINDS: [(&str, &[(&str, &str)]); 4] = [
    ("corrections published exactly once", &[CORRECTIONS]),
    ("corrections, and counts of hours, exactly once", &[CORRECTIONS, COUNTS, OF_HOURS]),
    ("corrections, and counts of hours and days, exactly once", &[CORRECTIONS, COUNTS, OF_HOURS_AND_DAYS]),
    (
        "corrections, and counts of hours, at least once",
        &[CORRECTIONS, COUNTS, OF_HOURS, CORRECTIONS_AT_LEAST_ONCE, COUNTS_AT_LEAST_ONCE],
    ),
];
/// Two that differ in nothing but how often a message may come.
const EXACTLY_ONCE: usize = 1;
const AT_LEAST_ONCE: usize = 3;

/// Counts a topic with sinks and without.
///
/// # Errors
/// Where a program can not be started or fails.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let broker = broker(args);
    let topic = Topic::fill(args, &broker.servers(), Format::Protobuf)?;
    let mut run = Run::new(args, &broker, &topic);
    // Of a broker that has just started the first transactions are slow; what they cost is no part of a long run.
    run.count(KINDS[0].1)?;
    let mut plain = Vec::new();
    let mut publishing = KINDS.map(|_| Vec::new());
    for _ in 0..args.runs {
        plain.push(run.count(&[])?);
        for ((_, sinks), counted) in KINDS.iter().zip(&mut publishing) {
            counted.push(run.count(sinks)?);
        }
    }
    let records = topic.records as f64;
    let rates = plain.iter().map(|run| records / (run.readable - run.open));
    table.row(
        format!("{records} records, from open to counts readable, nothing published"),
        rate(median_of(rates)),
        "",
    );
    for ((what, _), counted) in KINDS.iter().zip(&publishing) {
        report(what, records, &plain, counted, table);
    }
    let pairs = || publishing[AT_LEAST_ONCE].iter().zip(&publishing[EXACTLY_ONCE]);
    let cost = |took: fn(&Counted) -> f64| {
        100.0 * median_of(pairs().map(|(least, exact)| 1.0 - (took(least) - least.open) / (took(exact) - exact.open)))
    };
    let (readable, published) = (cost(|run| run.readable), cost(|run| run.published));
    table.row(
        "  the same messages exactly once against at least once: cost until readable, until published",
        format!("{readable:.0} %, {published:.0} %"),
        "20 %",
    );
    Ok(())
}

fn report(what: &str, records: f64, plain: &[Counted], publishing: &[Counted], table: &mut Table) {
    let turns = || plain.iter().zip(publishing);
    let of = |number: fn(&Counted) -> f64| median_of(publishing.iter().map(number));
    let cost = |took: fn(&Counted) -> f64| {
        100.0 * median_of(turns().map(|(plain, run)| 1.0 - (plain.readable - plain.open) / (took(run) - run.open)))
    };
    let (readable, published) = (cost(|run| run.readable), cost(|run| run.published));
    table.row(
        format!("  {what}: cost until readable, until published"),
        format!("{readable:.0} %, {published:.0} %"),
        "20 %",
    );
    let longer = median_of(turns().map(|(plain, run)| run.open - plain.open));
    table.row("    longer until open", format!("{longer:.2} s"), "");
    let messages = of(|run| run.messages);
    table.row(
        "    messages a record; bytes a message; messages a transaction",
        format!(
            "{:.2}; {:.0}; {:.0}",
            messages / records,
            of(|run| run.bytes) / messages,
            messages / of(|run| run.transactions)
        ),
        "",
    );
    let more = |cpu: fn(&Counted) -> f64| 1e6 * median_of(turns().map(|(plain, run)| cpu(run) - cpu(plain))) / messages;
    table.row(
        "    processor a message: of the service, of the broker",
        format!("{:.1}, {:.1} us", more(|run| run.service_cpu), more(|run| run.broker_cpu)),
        "",
    );
}

fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    median(&mut values.collect::<Vec<f64>>())
}
