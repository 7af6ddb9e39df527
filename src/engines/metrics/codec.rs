//! Rows of figures as few bytes: each row as what has changed since the row of the same name before it.
//!
//! ```text
//!  step  = tick (ns since the step before), time (zigzag: how far the clock and the tick disagree), count, row*
//!  row   = index [, kind, length, name: when the index is new], present (bits), changed (bits), difference (zigzag)*
//! ```
//! All numbers are LEB128.

use std::collections::HashMap;

/// What a row is about: a kind, and a name of that kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: u8,
    pub(super) name: String,
}

/// A row: at most 64 figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) values: Vec<Option<u64>>,
}

/// The times of a step, in nanoseconds: by the clock, since 1970, and by one that nobody sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) time: u64,
    pub(super) tick: u64,
}

/// Writes steps that follow each other.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    index: HashMap<Key, usize>,
    last: Vec<Vec<u64>>,
    times: Times,
}

impl Encoder {
    pub(super) fn write(&mut self, times: Times, rows: Vec<Row>, bytes: &mut Vec<u8>) {
        let tick = times.tick.wrapping_sub(self.times.tick);
        let time = times.time.wrapping_sub(self.times.time);
        self.times = times;
        put(bytes, tick);
        put(bytes, zigzag(time.wrapping_sub(tick)));
        put(bytes, rows.len() as u64);
        for Row { key, values } in rows {
            let next = self.last.len();
            let index = match self.index.get(&key) {
                Some(index) => {
                    put(bytes, *index as u64);
                    *index
                }
                None => {
                    put(bytes, next as u64);
                    bytes.push(key.kind);
                    put(bytes, key.name.len() as u64);
                    bytes.extend_from_slice(key.name.as_bytes());
                    self.index.insert(key, next);
                    self.last.push(vec![0; values.len()]);
                    next
                }
            };
            let Some(last) = self.last.get_mut(index) else {
                continue;
            };
            // Never shorter: the reader remembers those too.
            if last.len() < values.len() {
                last.resize(values.len(), 0);
            }
            let (mut present, mut changed) = (0_u64, 0_u64);
            for (bit, (value, last)) in values.iter().zip(last.iter()).enumerate() {
                if let Some(value) = value {
                    present |= 1 << bit;
                    changed |= u64::from(value != last) << bit;
                }
            }
            put(bytes, present);
            put(bytes, changed);
            for (value, last) in values.into_iter().zip(last) {
                if let Some(value) = value
                    && value != *last
                {
                    put(bytes, zigzag(value.wrapping_sub(*last)));
                    *last = value;
                }
            }
        }
    }

    /// About how many bytes this holds.
    pub(super) fn bytes(&self) -> usize {
        let names: usize = self.index.keys().map(|key| key.name.capacity()).sum();
        let values: usize = self.last.iter().map(|last| last.capacity() * 8).sum();
        names + values + self.index.capacity() * 48 + self.last.capacity() * 24
    }
}

/// Reads what an [`Encoder`] has written, from its first step on.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    known: Vec<(Key, Vec<u64>)>,
    times: Times,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            known: Vec::new(),
            times: Times::default(),
        }
    }

    /// The next step. None at the end, and where the bytes make no sense.
    pub(super) fn next(&mut self) -> Option<(Times, Vec<Row>)> {
        let tick = self.number()?;
        let time = unzigzag(self.number()?).wrapping_add(tick);
        self.times = Times {
            time: self.times.time.wrapping_add(time),
            tick: self.times.tick.wrapping_add(tick),
        };
        let count = self.number()?;
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.push(self.row()?);
        }
        Some((self.times, rows))
    }

    fn row(&mut self) -> Option<Row> {
        let index = usize::try_from(self.number()?).ok()?;
        if index == self.known.len() {
            let (kind, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            let length = usize::try_from(self.number()?).ok()?;
            let (name, rest) = self.bytes.split_at_checked(length)?;
            self.bytes = rest;
            let name = String::from_utf8(name.to_vec()).ok()?;
            let key = Key { kind: *kind, name };
            self.known.push((key, Vec::new()));
        }
        let (present, changed) = (self.number()?, self.number()?);
        let width = 64 - present.leading_zeros() as usize;
        let mut values = Vec::with_capacity(width);
        for bit in 0..width {
            if present & 1 << bit == 0 {
                values.push(None);
                continue;
            }
            let difference = match changed & 1 << bit {
                0 => 0,
                _ => unzigzag(self.number()?),
            };
            let (_, last) = self.known.get_mut(index)?;
            if last.len() <= bit {
                last.resize(bit + 1, 0);
            }
            let last = last.get_mut(bit)?;
            *last = last.wrapping_add(difference);
            values.push(Some(*last));
        }
        let (key, _) = self.known.get(index)?;
        let key = key.clone();
        Some(Row { key, values })
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Small differences in both directions are small numbers.
fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    (difference << 1) ^ (signed >> 63) as u64
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row() -> impl Strategy<Value = Row> {
        let value = proptest::option::of(prop_oneof![any::<u64>(), 0..300_u64]);
        let name = prop_oneof!["[a-c]", ".{0,20}"];
        (0..3_u8, name, proptest::collection::vec(value, 0..=64)).prop_map(
            |(kind, name, mut values)| {
                // What is absent at the end of a row is not written.
                while values.last() == Some(&None) {
                    values.pop();
                }
                let key = Key { kind, name };
                Row { key, values }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            steps in proptest::collection::vec(
                (any::<u64>(), any::<u64>(), proptest::collection::vec(row(), 0..6)), 0..8),
        ) {
            let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
            for (time, tick, rows) in &steps {
                let times = Times { time: *time, tick: *tick };
                encoder.write(times, rows.clone(), &mut bytes);
            }
            let mut decoder = Decoder::new(&bytes);
            for (time, tick, rows) in steps {
                let times = Times { time, tick };
                prop_assert_eq!(decoder.next(), Some((times, rows)));
            }
            prop_assert_eq!(decoder.next(), None);
        }

        #[test]
        fn bytes_that_make_no_sense_end_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(&bytes);
            while decoder.next().is_some() {}
        }
    }
}
