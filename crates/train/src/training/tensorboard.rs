//! TensorBoard's event files: records framed by lengths and masked CRC-32C sums, each an `Event` message in
//! protocol-buffer form, of which scalars need four fields.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes one event file.
#[derive(Debug)]
pub struct EventFile {
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates `events.out.tfevents.SECONDS.NAME` in `directory`, begun at `wall_time` (seconds since 1970).
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(directory: &Path, wall_time: f64) -> io::Result<Self> {
        let name = format!("events.out.tfevents.{:010}.train", wall_time as u64);
        let mut events = Self { file: BufWriter::new(File::create(directory.join(name))?) };
        let mut event = double(1, wall_time);
        event.extend(bytes(3, b"brain.Event:2"));
        events.file.write_all(&record(&event))?;
        Ok(events)
    }

    /// Goes on with the newest event file in `directory`, or a new one if there is none, after cutting off
    /// what it holds beyond `step` and what a kill left half written: readers expect steps to ascend.
    ///
    /// # Errors
    /// If it cannot be cut or opened.
    pub fn resume(directory: &Path, wall_time: f64, step: u64) -> io::Result<Self> {
        let names = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
        let is_ours = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.out.tfevents."))
        };
        let Some(path) = names.filter(is_ours).max() else { return Self::create(directory, wall_time) };
        let kept = whole_records_until(&fs::read(&path)?, step);
        if kept == 0 {
            fs::remove_file(&path)?;
            return Self::create(directory, wall_time);
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        file.set_len(kept as u64)?;
        Ok(Self { file: BufWriter::new(file) })
    }

    /// Appends scalars of one step, and sees that a reader can have them now.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn write(&mut self, wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> io::Result<()> {
        self.file.write_all(&record(&scalar_event(wall_time, step, scalars)))?;
        self.file.flush()
    }
}

/// `Event { wall_time: 1, step: 2, summary: 5 { value: 1 { tag: 1, simple_value: 2 } } }`.
fn scalar_event(wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut one = bytes(1, tag.as_bytes());
        one.push(2 << 3 | 5);
        one.extend((*value as f32).to_le_bytes());
        summary.extend(bytes(1, &one));
    }
    let mut event = double(1, wall_time);
    event.push(2 << 3);
    event.extend(varint(step));
    event.extend(bytes(5, &summary));
    event
}

/// The length of the part of `file` that consists of whole records with steps up to `step`.
fn whole_records_until(file: &[u8], step: u64) -> usize {
    let mut end = 0;
    loop {
        let rest = &file[end..];
        let Some(length) = rest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes) as usize) else { break };
        let Some(data) = length.checked_add(12).and_then(|after| rest.get(12..after)) else { break };
        let next = end + length + 16;
        if next > file.len() || step_of(data) > step {
            break;
        }
        end = next;
    }
    end
}

/// The step of an event as [`scalar_event`] writes it; 0 of the file's head, which has none.
fn step_of(event: &[u8]) -> u64 {
    let Some((tag, rest)) = event.get(9..).and_then(<[u8]>::split_first) else { return 0 };
    if *tag != 2 << 3 {
        return 0;
    }
    let mut step = 0;
    for (i, byte) in rest.iter().enumerate().take(10) {
        step |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            break;
        }
    }
    step
}

/// Length, its sum, the data, its sum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_sum(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_sum(data).to_le_bytes());
    record
}

/// A CRC-32C sum, rotated and shifted, so that a sum over data with sums in it stays meaningful.
fn masked_sum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn double(field: u8, value: f64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

fn bytes(field: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    out.extend(varint(data.len() as u64));
    out.extend(data);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_masked_as_the_format_says() {
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720); the mask is TFRecord's.
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_sum(b"123456789"), expected);
    }

    #[test]
    fn an_event_is_these_bytes() {
        // Encoded by hand from the .proto files: wall_time 1.0, step 300, one value "a" = 0.5.
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..],
            &[0x10, 0xac, 0x02],
            &[0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0, 0x3f],
        ]
        .concat();
        assert_eq!(scalar_event(1.0, 300, &[("a", 0.5)]), expected);
        let record = record(&expected);
        assert_eq!(record.len(), 8 + 4 + expected.len() + 4);
        assert_eq!(record[..8], (expected.len() as u64).to_le_bytes());
    }

    #[test]
    fn a_resumed_file_is_that_of_a_run_that_was_never_interrupted() {
        let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bytes = |directory: &Path| {
            let path = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
            (fs::read(&path).unwrap(), path)
        };
        let write = |events: &mut EventFile, steps: &[u64]| {
            for &step in steps {
                events.write(2.0, step, &[("a", step as f64)]).unwrap();
            }
        };
        write(&mut EventFile::create(whole.path(), 1.0).unwrap(), &[100, 200, 300, 400]);
        write(&mut EventFile::create(broken.path(), 1.0).unwrap(), &[100, 200, 300]);
        let (mut torn, path) = bytes(broken.path());
        torn.extend(&record(&scalar_event(2.0, 400, &[("a", 0.0)]))[..30]);
        fs::write(&path, torn).unwrap();
        write(&mut EventFile::resume(broken.path(), 3.0, 200).unwrap(), &[300, 400]);
        assert_eq!(bytes(broken.path()).0, bytes(whole.path()).0);
        assert_eq!(step_of(&scalar_event(1.0, 1 << 40, &[])), 1 << 40);
    }
}
