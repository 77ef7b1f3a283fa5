//! The table of a replay: rows are put together and written as text by several threads, and leave in one order.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use recount_dataflow::domain::window::Granularity;
use recount_dataflow::read::{Ad, ReadError, Snapshot};

use super::Format;
use crate::cli::CliError;
use crate::output::file::OutputFile;
use crate::output::lines;
use crate::output::text::Buffer;

/// Ads whose rows are one piece of work.
const PIECE_ADS: usize = 1_024;
/// Finished pieces that may wait for their turn, a thread.
const PIECES_WAITING: usize = 4;
/// More threads than this only wait for the one that writes.
const THREADS_MAX: usize = 8;

/// The rows of one piece, as text.
struct Piece {
    text: Buffer,
    rows: u64,
}

/// Writes every row of a granularity, sorted, and returns how many there are. Without a file they are counted.
pub(super) fn write(
    snapshot: &Snapshot,
    granularity: Granularity,
    format: Format,
    mut out: Option<&mut OutputFile>,
) -> Result<u64, CliError> {
    if let (Some(out), Format::Csv) = (&mut out, format) {
        out.buffer().extend_from_slice(lines::csv_header().as_bytes());
    }
    let ads = snapshot.ads();
    let pieces: Vec<&[Ad]> = ads.chunks(PIECE_ADS).collect();
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let format = out.is_some().then_some(format);
    thread::scope(|scope| {
        // Piece n comes from thread n modulo the number of threads, so taking turns keeps the order and bounds what waits.
        let receivers: Vec<Receiver<Result<Piece, ReadError>>> = (0..threads)
            .map(|first| {
                let (sender, receiver) = sync_channel(PIECES_WAITING);
                let mine = pieces.iter().skip(first).step_by(threads).copied();
                scope.spawn(move || compose(snapshot, granularity, format, mine, &sender));
                receiver
            })
            .collect();
        let mut rows = 0;
        for number in 0..pieces.len() {
            let piece = receivers[number % threads].recv().expect("a thread sends each of its pieces")?;
            rows += piece.rows;
            if let Some(out) = &mut out {
                out.write(&piece.text)?;
            }
        }
        Ok(rows)
    })
}

/// Puts pieces together until they end, or until nobody takes them any more.
fn compose<'a>(
    snapshot: &Snapshot,
    granularity: Granularity,
    format: Option<Format>,
    pieces: impl Iterator<Item = &'a [Ad]>,
    sender: &SyncSender<Result<Piece, ReadError>>,
) {
    let mut text_bytes = 0;
    for ads in pieces {
        // About as much as the piece before, so that it hardly ever has to move while it grows.
        let mut piece = Piece { text: Buffer::with_capacity(text_bytes + text_bytes / 8), rows: 0 };
        let read = snapshot.for_each_row_of(ads, granularity, |row| {
            piece.rows += 1;
            match format {
                None => {}
                Some(Format::Csv) => lines::push_csv_row(&mut piece.text, row),
                Some(_) => {
                    lines::push_row(&mut piece.text, row);
                    piece.text.push(b'\n');
                }
            }
        });
        text_bytes = piece.text.len();
        if sender.send(read.map(|()| piece)).is_err() {
            return;
        }
    }
}
