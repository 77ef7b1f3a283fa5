//! What is published: whole epochs, each once.
//!
//! A [`Publisher`] sends [`Batch`]es of messages to its topics, mostly one. With [`Delivery::ExactlyOnce`] a batch is one transaction together with
//! one [`Progress`] record, so what was published and how far it goes is one fact. Where a transaction's outcome is not known the
//! producer is thrown away, and what Kafka holds is read back:
//!
//! ```text
//!            ┌──────────────────────── reopen ◀────────────────────────┐
//!            ▼                                                         │ outcome unknown
//!   newer writer? ─▶ init_transactions ─▶ progress up to the high ─▶ begin, send, progress, commit ─▶ done
//!      stop          (fences the former)   watermark, judged           │        │ must be aborted
//!                                                                      ▼        ▼
//!                                                               fenced: stop   abort, send again
//! ```
//! Before all that, [`PublisherSettings::look`] sees what is published and fences nobody.
//! With [`Delivery::AtLeastOnce`] the progress is written once the batch has arrived; after a crash in between the batch comes again.

mod batch;
mod context;
mod error;
mod look;
mod patience;
mod producer;
mod progress;
mod publisher;
mod refused;
mod settings;
mod topics;

pub use batch::{Batch, MessageHeader, Shared};
pub use error::SinkError;
pub use patience::Cancel;
pub use progress::Progress;
pub use publisher::{Outcomes, Publisher};
pub use settings::{Cleanup, Delivery, Identity, OUTCOME_WAIT, PublisherSettings, TopicPlan};
