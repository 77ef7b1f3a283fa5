//! Damage to files, as a fuzzer's bytes say.

/// Bytes of one edit: what is done, where, and with which byte.
const EDIT_BYTES: usize = 5;

/// Changes a file: bytes are overwritten, bits flipped, pieces cut out, moved, repeated and put in. `edits` is read five bytes
/// at a time; what is left over is put in at the end.
pub fn damage(file: &mut Vec<u8>, edits: &[u8]) {
    let (edits, rest) = edits.as_chunks::<EDIT_BYTES>();
    for &[what, low, high, length, byte] in edits {
        let at = usize::from(u16::from_le_bytes([low, high])) % (file.len() + 1);
        let end = file.len().min(at + usize::from(length));
        match what % 7 {
            0 => file[at..end].fill(byte),
            1 => file[at..end].iter_mut().for_each(|damaged| *damaged ^= byte),
            2 => drop(file.drain(at..end)),
            3 => file.truncate(at),
            4 => {
                let piece: Vec<u8> = file[at..end].to_vec();
                file.extend(piece);
            }
            5 => {
                let piece: Vec<u8> = file.drain(at..end).collect();
                let to = usize::from(byte) * 16 % (file.len() + 1);
                file.splice(to..to, piece);
            }
            _ => drop(file.splice(at..at, vec![byte; usize::from(length)])),
        }
    }
    file.extend_from_slice(rest);
}
