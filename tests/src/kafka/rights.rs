//! What users of a broker that asks for rights may do. Numbers are the protocol's.

/// A right of a user: to do something with everything of a kind whose name begins so.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a> {
    /// The user's name.
    pub user: &'a str,
    /// What it is a right to.
    pub resource: Resource,
    /// What the names begin with.
    pub prefix: &'a str,
    /// What may be done.
    pub operation: Operation,
}

/// What there are rights to.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Resource {
    /// Topics.
    Topic = 2,
    /// Groups of consumers.
    Group = 3,
    /// Ids of transactional producers.
    TransactionalId = 5,
}

/// What may be done.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Operation {
    /// To read records, and whatever describing allows.
    Read = 3,
    /// To write records, and whatever describing allows.
    Write = 4,
    /// To make topics.
    Create = 5,
    /// To see settings.
    DescribeConfigs = 10,
}
