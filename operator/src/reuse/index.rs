//! Which question is answered in which object of a namespace. Pure: time is an argument.

use fovea_protocol::MAX_ANSWER_BYTES;
use fovea_store::Sha256;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bound on the bytes of an object that are read at once.
const MAX_RANGE: u64 = 512 * 1024;

/// A line of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) from: u64,
    bytes: u16,
}

impl Place {
    /// `None` if the line is longer than any answer.
    pub(super) fn new(from: u64, bytes: u64) -> Option<Self> {
        let bytes = u16::try_from(bytes).ok()?;
        Some(Self { from, bytes })
    }

    /// The byte after the line.
    pub(super) fn to(self) -> u64 {
        self.from + u64::from(self.bytes)
    }

    /// The line in `bytes`, which begin at the object's byte `from`.
    pub(super) fn of(self, bytes: &[u8], from: u64) -> Option<&[u8]> {
        let at = |place: u64| usize::try_from(place.checked_sub(from)?).ok();
        let end = at(self.to())?.min(bytes.len());
        bytes.get(at(self.from)?..end)
    }
}

/// Where a question is answered. Small, as there are many.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// In an object of its own, written then, in seconds since the Unix epoch.
    Single { written: u32 },
    /// In a part's object.
    Part { part: u32, from: u32, bytes: u16 },
}

/// A part of an object that is read at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u64,
    /// The byte after it.
    pub(super) to: u64,
    /// The lines in it, each with the number of its question.
    pub(super) places: Vec<(usize, Place)>,
}

/// The ranges of an object that have all these places.
pub(super) fn ranges(mut places: Vec<(usize, Place)>) -> Vec<Range> {
    places.sort_unstable_by_key(|(_, place)| place.from);
    let mut ranges: Vec<Range> = Vec::new();
    for (at, place) in places {
        match ranges.last_mut() {
            Some(range) if place.to() - range.from <= MAX_RANGE => {
                range.to = place.to().max(range.to);
                range.places.push((at, place));
            }
            _ => ranges.push(Range {
                from: place.from,
                to: place.to(),
                places: vec![(at, place)],
            }),
        }
    }
    ranges
}

#[derive(Debug)]
struct Part {
    name: String,
    written: u32,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the first 64 bits of a question, which the line has all of.
    entries: HashMap<[u32; 2], Entry>,
    parts: HashMap<u32, Part>,
    last_part: u32,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the object of a single job.
    pub(super) fn add_single(&mut self, question: &Sha256, written: SystemTime) {
        let written = seconds(written);
        if self.is_news(question, written) {
            self.entries
                .insert(key(question), Entry::Single { written });
        }
    }

    /// Adds a part's object.
    pub(super) fn add_part(
        &mut self,
        name: &str,
        written: SystemTime,
        lines: Vec<(Sha256, Place)>,
    ) {
        if lines.is_empty() {
            return;
        }
        self.last_part += 1;
        let part = self.last_part;
        let written = seconds(written);
        let mut is_used = false;
        for (question, Place { from, bytes }) in lines {
            let Ok(from) = u32::try_from(from) else {
                break;
            };
            let entry = Entry::Part { part, from, bytes };
            if self.is_news(&question, written) {
                self.entries.insert(key(&question), entry);
                is_used = true;
            }
        }
        if is_used {
            let name = name.to_owned();
            self.parts.insert(part, Part { name, written });
        }
    }

    /// Whether no answer of the question is known that was written then or later.
    fn is_news(&self, question: &Sha256, written: u32) -> bool {
        let known = self.entries.get(&key(question));
        let known = known.and_then(|known| self.written(*known));
        known.is_none_or(|known| known < written)
    }

    /// The object that answers the question, if it was written after `since`, and where in it.
    pub(super) fn find(&self, question: &Sha256, since: SystemTime) -> Option<(String, Place)> {
        let entry = *self.entries.get(&key(question))?;
        if self.written(entry)? <= seconds(since) {
            return None;
        }
        Some(match entry {
            Entry::Single { .. } => {
                let place = Place::new(0, MAX_ANSWER_BYTES as u64)?;
                (question.to_string(), place)
            }
            Entry::Part { part, from, bytes } => {
                let from = u64::from(from);
                (self.parts.get(&part)?.name.clone(), Place { from, bytes })
            }
        })
    }

    fn written(&self, entry: Entry) -> Option<u32> {
        match entry {
            Entry::Single { written } => Some(written),
            Entry::Part { part, .. } => Some(self.parts.get(&part)?.written),
        }
    }

    /// Forgets an object, which is gone.
    pub(super) fn forget(&mut self, name: &str) {
        if let Ok(question) = name.parse() {
            self.entries.remove(&key(&question));
            return;
        }
        self.parts.retain(|_, part| part.name != name);
        let parts = &self.parts;
        self.entries.retain(|_, entry| match entry {
            Entry::Single { .. } => true,
            Entry::Part { part, .. } => parts.contains_key(part),
        });
    }

    /// Forgets the older half of the answers if there are more than `most`.
    pub(super) fn make_room(&mut self, most: usize) {
        if self.entries.len() <= most {
            return;
        }
        let entries = self.entries.values();
        let mut times: Vec<u32> = entries.filter_map(|entry| self.written(*entry)).collect();
        let middle = times.len() / 2;
        let (_, median, newer) = times.select_nth_unstable(middle);
        let median = *median;
        // Of answers of one second some are kept.
        let newer = newer.iter().filter(|time| **time > median).count();
        let mut spare = (most / 2).saturating_sub(newer);
        self.parts.retain(|_, part| part.written >= median);
        let parts = &self.parts;
        self.entries.retain(|_, entry| {
            let written = match entry {
                Entry::Single { written } => Some(*written),
                Entry::Part { part, .. } => parts.get(part).map(|part| part.written),
            };
            let is_spared = written == Some(median) && spare > 0;
            spare -= usize::from(is_spared);
            is_spared || written.is_some_and(|written| written > median)
        });
        self.entries.shrink_to_fit();
    }
}

fn key(question: &Sha256) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = bytes.iter().copied().map(u32::from);
        bytes.fold(0, |word, byte| word << 8 | byte)
    };
    let mut words = question.as_bytes().chunks_exact(4).map(word);
    [words.next().unwrap_or(0), words.next().unwrap_or(0)]
}

fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: u64) -> Sha256 {
        Sha256::of(&number.to_be_bytes())
    }

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn place(from: u64) -> Place {
        Place::new(from, 100).unwrap()
    }

    #[test]
    fn a_question_is_found_in_its_object_until_it_expires() {
        let mut index = Index::default();
        index.add_single(&question(1), at(10));
        index.add_part(
            "p",
            at(20),
            vec![(question(2), place(0)), (question(3), place(100))],
        );
        let found = |number, since| index.find(&question(number), at(since));
        let (name, whole) = found(1, 9).unwrap();
        assert_eq!((name, whole.from), (question(1).to_string(), 0));
        assert_eq!(found(1, 10), None);
        assert_eq!(found(3, 19), Some(("p".to_owned(), place(100))));
        assert_eq!(found(3, 20), None);
        assert_eq!(found(4, 0), None);
    }

    #[test]
    fn the_newest_answer_is_known_in_whichever_order_objects_are_listed() {
        let single = |index: &mut Index, second| index.add_single(&question(1), at(second));
        let part = |index: &mut Index, name: &str, second| {
            index.add_part(name, at(second), vec![(question(1), place(0))]);
        };
        let found = |index: &Index, since| {
            let found = index.find(&question(1), at(since));
            found.map(|(name, _)| name)
        };
        let mut index = Index::default();
        part(&mut index, "new", 20);
        single(&mut index, 10);
        part(&mut index, "old", 15);
        assert_eq!(found(&index, 19).as_deref(), Some("new"));
        assert_eq!((index.len(), index.parts.len()), (1, 1));
        single(&mut index, 30);
        part(&mut index, "late", 25);
        assert_eq!(found(&index, 29), Some(question(1).to_string()));
    }

    #[test]
    fn an_object_that_is_gone_answers_nothing() {
        let mut index = Index::default();
        index.add_single(&question(1), at(10));
        index.add_part("p", at(10), vec![(question(2), place(0))]);
        index.add_part("q", at(10), vec![(question(3), place(0))]);
        index.forget("p");
        index.forget(&question(1).to_string());
        let found = [1, 2, 3].map(|number| index.find(&question(number), at(0)).is_some());
        assert_eq!((found, index.len()), ([false, false, true], 1));
    }

    #[test]
    fn the_older_half_makes_room() {
        let mut index = Index::default();
        for number in 0..101 {
            let time = at(1000 - number);
            if number % 2 == 0 {
                index.add_single(&question(number), time);
            } else {
                let name = number.to_string();
                index.add_part(&name, time, vec![(question(number), place(0))]);
            }
        }
        index.make_room(101);
        assert_eq!(index.len(), 101);
        index.make_room(100);
        assert_eq!(index.len(), 50);
        let found = |number| index.find(&question(number), at(0)).is_some();
        assert!((0..49).all(found) && !(51..101).any(found));
        assert!(index.parts.len() <= 26);

        let mut index = Index::default();
        let lines = (0..101).map(|number| (question(number), place(number * 100)));
        index.add_part("one", at(1), lines.collect());
        index.make_room(100);
        assert_eq!(index.len(), 50);
    }

    #[test]
    fn places_near_one_another_are_read_at_once() {
        let far = MAX_RANGE * 3;
        let places = [far, 300, 0, MAX_RANGE - 100, MAX_RANGE - 99, far + 100];
        let ranges = ranges(places.into_iter().map(place).enumerate().collect());
        let shown = ranges
            .iter()
            .map(|range| (range.from, range.to, range.places.len()));
        let expected = [
            (0, MAX_RANGE, 3),
            (MAX_RANGE - 99, MAX_RANGE + 1, 1),
            (far, far + 200, 2),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_line_is_cut_out_of_what_was_read() {
        let line = Place::new(3, 4).unwrap();
        assert_eq!(line.of(b"0123456789", 0), Some(&b"3456"[..]));
        assert_eq!(line.of(b"23456789", 2), Some(&b"3456"[..]));
        assert_eq!(line.of(b"456789", 4), None);
        assert_eq!(line.of(b"01234", 0), Some(&b"34"[..]));
        assert_eq!(line.of(b"01", 0), None);
        assert_eq!(Place::new(0, 1 << 16), None);
    }
}
