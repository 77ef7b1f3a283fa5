//! What the engine and its readers share: which epochs are bound and which are complete, and what is known after each.

mod binding;
mod dictionary;
mod followers;
mod history;
mod origin;
mod readable;
mod set_aside;
mod shared;
mod size;
mod timeline;

pub use history::History;
pub use origin::Origin;
pub use readable::{ReadError, Readable};
pub use set_aside::SetAside;
pub use shared::StreamName;
pub use size::ArrangementSize;

pub(crate) use binding::Binding;
pub(crate) use dictionary::{Dictionary, Named, NamesHeld, first_bytes};
pub(crate) use origin::AfterEpoch;
pub(crate) use set_aside::{Outline, SetAsideList};
pub(crate) use shared::{Shared, Streams};
pub(crate) use timeline::{Complete, Held, Timeline};
