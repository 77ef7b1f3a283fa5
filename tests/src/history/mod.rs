//! Random histories: a seed gives records, the rules they are judged by, and the way in which they are delivered.
//!
//! Id spaces are small, so that collisions of interest are frequent; half of the histories have horizons of minutes, so that
//! parking, freezing, re-sends and FINAL windows are met.

mod generate;
mod plan;
mod shrink;

use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;

use crate::model::Delivered;
use crate::record::Record;

pub use plan::{Cut, Plan};
pub use shrink::shrink;

/// Records, rules, and a way to deliver them.
#[derive(Clone, Debug)]
pub struct History {
    /// The seed that it was made from.
    pub seed: u64,
    /// What counts.
    pub rules: Rules,
    /// Whether the horizons are minutes.
    pub minute_horizons: bool,
    /// How the records are delivered.
    pub plan: Plan,
    /// The records, in order of label.
    pub records: Vec<Record>,
}

impl History {
    /// The history of a seed.
    pub fn from_seed(seed: u64) -> History {
        generate::history(seed, generate::Kind::Any)
    }

    /// The history of a seed, over such long horizons that nothing is ever frozen or parked.
    pub fn without_freezing(seed: u64) -> History {
        generate::history(seed, generate::Kind::NothingFreezes)
    }

    /// A history of thousands of records, with many ads and users.
    pub fn large(seed: u64) -> History {
        generate::history(seed, generate::Kind::Large)
    }

    /// The records of each epoch, from epoch 1 on, where they are read: cut by the plan, shuffled inside each epoch, and laid
    /// out as lines of JSON in their streams.
    pub fn deliver(&self) -> Vec<Vec<Delivered>> {
        let mut next_offsets = vec![0u64; self.plan.streams as usize];
        let mut epochs = self.plan.cut(&self.records);
        for (epoch, records) in epochs.iter_mut().enumerate() {
            self.plan.shuffle(epoch as u64, records);
        }
        let mut place = |record: Record| {
            let stream = record.stream % self.plan.streams;
            let offset = next_offsets[stream as usize];
            next_offsets[stream as usize] += record.to_json().len() as u64 + 1;
            Delivered { record, position: Position { stream, offset } }
        };
        epochs.into_iter().map(|records| records.into_iter().map(&mut place).collect()).collect()
    }

    /// The history as a person reads it: rules, plan, and one line a record.
    pub fn describe(&self) -> String {
        let mut text = format!("seed {}\n{:?}\n{:?}\n", self.seed, self.rules, self.plan);
        for (epoch, records) in self.deliver().iter().enumerate() {
            for delivered in records {
                let Position { stream, offset } = delivered.position;
                let arrival = delivered.record.arrival_ms.map_or(String::new(), |ms| format!(" arrival {ms}"));
                let line = delivered.record.to_json();
                text.push_str(&format!("epoch {} stream {stream} offset {offset}{arrival}: {line}\n", epoch + 1));
            }
        }
        text
    }
}
