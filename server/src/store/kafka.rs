//! Kafka behind a data directory, where this program is built with it.

#[cfg(feature = "kafka")]
mod with {
    use std::sync::Arc;

    use recount_connectors::kafka::source::{KafkaSource, KafkaSourceSettings, KafkaStats, Resume};
    use recount_connectors::streams::Streams;
    use recount_connectors::{Source, SourceError, data_dir::DataDir};
    use recount_dataflow::domain::fact::Position;

    use crate::store::StoreError;

    /// What is read.
    pub(crate) type KafkaInput = KafkaSourceSettings;
    /// What is told of it.
    pub(crate) type KafkaWatch = Arc<KafkaStats>;

    /// Looks whether reading could go on from the positions of the checkpoint, and changes nothing.
    pub(crate) fn look(
        input: &KafkaInput,
        dir: &DataDir,
        positions: &[Position],
        bound: &[Position],
    ) -> Result<(), StoreError> {
        let list = Streams::read(dir)?;
        let looked = recount_connectors::kafka::source::look(input, &list, Resume { positions, bound });
        Ok(looked.map_err(SourceError::from)?)
    }

    /// Starts to read, from the positions of the checkpoint on.
    pub(crate) fn start(
        input: &KafkaInput,
        dir: &DataDir,
        positions: &[Position],
        bound: &[Position],
    ) -> Result<(KafkaWatch, Box<dyn Source>), StoreError> {
        let list = Streams::open(dir)?;
        let source = KafkaSource::start(input, list, Resume { positions, bound }, dir.hash_key(), dir.rules());
        let source = source.map_err(SourceError::from)?;
        Ok((source.stats(), Box::new(source)))
    }

    /// Whether the topics hold everything that was ever read.
    pub(crate) fn is_whole(input: &KafkaInput, dir: &DataDir) -> Result<bool, StoreError> {
        let list = Streams::open(dir)?;
        Ok(recount_connectors::kafka::source::is_whole(input, &list).map_err(SourceError::from)?)
    }

    /// Whether retention has taken records from a topic since it was read first.
    pub(crate) fn is_head_gone(watch: &KafkaWatch) -> bool {
        watch.is_head_gone()
    }
}

#[cfg(not(feature = "kafka"))]
mod without {
    use std::convert::Infallible;

    use recount_connectors::Source;
    use recount_connectors::data_dir::DataDir;
    use recount_dataflow::domain::fact::Position;

    use crate::store::StoreError;

    /// There is nothing to read.
    #[derive(Clone, Debug)]
    pub(crate) enum KafkaInput {}

    /// There is nothing to tell.
    #[derive(Clone, Debug)]
    pub(crate) struct KafkaWatch {
        never: Infallible,
    }

    pub(crate) fn look(input: &KafkaInput, _: &DataDir, _: &[Position], _: &[Position]) -> Result<(), StoreError> {
        match *input {}
    }

    pub(crate) fn start(
        input: &KafkaInput,
        _: &DataDir,
        _: &[Position],
        _: &[Position],
    ) -> Result<(KafkaWatch, Box<dyn Source>), StoreError> {
        match *input {}
    }

    pub(crate) fn is_whole(input: &KafkaInput, _: &DataDir) -> Result<bool, StoreError> {
        match *input {}
    }

    pub(crate) fn is_head_gone(watch: &KafkaWatch) -> bool {
        match watch.never {}
    }
}

#[cfg(feature = "kafka")]
pub(crate) use with::{KafkaInput, KafkaWatch, is_head_gone, is_whole, look, start};
#[cfg(not(feature = "kafka"))]
pub(crate) use without::{KafkaInput, KafkaWatch, is_head_gone, is_whole, look, start};
