//! The bytes of a binding.
//!
//! | at | what (little-endian) |
//! |---|---|
//! | 0..4 | `RCB1` |
//! | 4..8 | checksum of all that follows |
//! | 8..10 | how many positions there are |
//! | 10 | 1 where there is a watermark, else 0 |
//! | 11..19 | epoch |
//! | 19..27 | watermark, ms |
//! | 27..35 | wall clock, ms |
//! | 35..43 | records in |
//! | 43.. | positions: stream (2 bytes), next offset (8 bytes) |

use recount_dataflow::domain::fact::Position;
use recount_dataflow::store::EpochBinding;

use crate::checksum::Checksum;

/// The first bytes of a binding.
pub(super) const MAGIC: &[u8; 4] = b"RCB1";
const HEAD_BYTES: usize = 43;
const POSITION_BYTES: usize = 10;

/// Appends a binding's bytes.
pub(super) fn write(binding: &EpochBinding, checksum: Checksum, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    let positions = u16::try_from(binding.positions.len()).expect("a stream's number has 16 bits");
    bytes.extend_from_slice(&positions.to_le_bytes());
    bytes.push(u8::from(binding.watermark_ms.is_some()));
    bytes.extend_from_slice(&binding.epoch.to_le_bytes());
    bytes.extend_from_slice(&binding.watermark_ms.unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&binding.wall_ms.to_le_bytes());
    bytes.extend_from_slice(&binding.records_in.to_le_bytes());
    for position in &binding.positions {
        bytes.extend_from_slice(&position.stream.to_le_bytes());
        bytes.extend_from_slice(&position.offset.to_le_bytes());
    }
    let sum = checksum.of(&bytes[start + 8..]);
    bytes[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// The binding at the front, and how many bytes it takes; `None` where there is none that holds.
pub(super) fn read(bytes: &[u8], checksum: Checksum) -> Option<(EpochBinding, usize)> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let mut rest = bytes.get(4..)?;
    let sum = u32::from_le_bytes(take(&mut rest)?);
    let positions = usize::from(u16::from_le_bytes(take(&mut rest)?));
    let length = HEAD_BYTES + positions * POSITION_BYTES;
    if checksum.of(bytes.get(8..length)?) != sum {
        return None;
    }
    let [has_watermark] = take(&mut rest)?;
    let epoch = u64::from_le_bytes(take(&mut rest)?);
    let watermark_ms = i64::from_le_bytes(take(&mut rest)?);
    let wall_ms = i64::from_le_bytes(take(&mut rest)?);
    let records_in = u64::from_le_bytes(take(&mut rest)?);
    let mut position = || {
        let stream = u16::from_le_bytes(take(&mut rest)?);
        Some(Position { stream, offset: u64::from_le_bytes(take(&mut rest)?) })
    };
    let positions = (0..positions).map(|_| position()).collect::<Option<Vec<_>>>()?;
    let watermark_ms = (has_watermark == 1).then_some(watermark_ms);
    Some((EpochBinding { epoch, positions, watermark_ms, wall_ms, records_in }, length))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N).map(|taken| taken.try_into().expect("so many bytes were taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_read_back_and_no_flipped_bit_passes() {
        let checksum = Checksum::new(3);
        let positions = vec![Position { stream: 0, offset: 9 }, Position { stream: 3, offset: 1 << 47 }];
        let binding = EpochBinding { epoch: 7, positions, watermark_ms: Some(-1), wall_ms: 5, records_in: 6 };
        for binding in [EpochBinding { watermark_ms: None, positions: vec![], ..binding.clone() }, binding] {
            let mut bytes = Vec::new();
            write(&binding, checksum, &mut bytes);
            let length = bytes.len();
            assert_eq!(read(&bytes, checksum), Some((binding, length)));
            assert_eq!(read(&bytes[..length - 1], checksum), None);
            assert_eq!(read(&bytes, Checksum::new(4)), None);
            for bit in 0..8 * length {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&bytes, checksum), None, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
