//! Cuts a stream of items into shards. Pure.

use super::ShardSize;

/// Maximum number of pictures in a shard.
pub(super) const MAX_SHARD_ITEMS: u32 = 1000;

/// Maximum sum of the known sizes in a shard of several pictures.
pub(super) const MAX_SHARD_BYTES: u64 = 256 * 1024 * 1024;

/// Maximum size of the object that holds a shard's items. An item takes a hundredth of it at most.
pub(super) const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// The items of one shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// As JSON Lines.
    pub lines: Vec<u8>,
    pub size: ShardSize,
}

/// Collects items until a shard is full.
#[derive(Debug)]
pub(super) struct Cutter {
    max_items: u32,
    page: Page,
}

impl Cutter {
    pub(super) fn new(max_items: u32) -> Self {
        Self {
            max_items,
            page: Page::default(),
        }
    }

    /// Adds an item of `bytes`; returns the shard before it if the item does not fit into that.
    pub(super) fn push(&mut self, line: &[u8], bytes: u64) -> Option<Page> {
        let Page { lines, size } = &self.page;
        let fits = size.items < self.max_items
            && size.bytes.saturating_add(bytes) <= MAX_SHARD_BYTES
            && lines.len() + line.len() < MAX_PAGE_BYTES;
        let full = if fits { None } else { self.rest() };
        let Page { lines, size } = &mut self.page;
        lines.extend_from_slice(line);
        lines.push(b'\n');
        size.items += 1;
        size.bytes = size.bytes.saturating_add(bytes);
        full
    }

    /// The shard that is not full; `None` if it is empty.
    pub(super) fn rest(&mut self) -> Option<Page> {
        let page = std::mem::take(&mut self.page);
        (page.size.items > 0).then_some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(max_items: u32, items: &[(usize, u64)]) -> Vec<Page> {
        let mut cutter = Cutter::new(max_items);
        let lines = items.iter().enumerate();
        let mut pages: Vec<_> = lines
            .filter_map(|(index, (length, bytes))| {
                let line = format!("{index:0length$}");
                cutter.push(line.as_bytes(), *bytes)
            })
            .collect();
        pages.extend(cutter.rest());
        assert_eq!(cutter.rest(), None);
        pages
    }

    #[test]
    fn a_shard_ends_at_its_bounds_and_a_larger_picture_has_one_of_its_own() {
        let sizes = |max_items, items: &[(usize, u64)]| {
            let pages = cut(max_items, items);
            pages.iter().map(|page| page.size.items).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1000, &[]), Vec::<u32>::new());
        assert_eq!(sizes(1000, &vec![(1, 1); 2001]), [1000, 1000, 1]);
        let large = MAX_SHARD_BYTES + 1;
        assert_eq!(
            sizes(1000, &[(1, 1), (1, large), (1, 1), (1, 1)]),
            [1, 1, 2]
        );
        assert_eq!(sizes(1000, &[(1, MAX_SHARD_BYTES / 2); 3]), [2, 1]);
        assert_eq!(sizes(1, &[(1, 0); 3]), [1, 1, 1]);
        assert_eq!(sizes(1000, &[(MAX_PAGE_BYTES / 100, 0); 150]), [99, 51]);
    }

    proptest! {
        #[test]
        fn every_item_is_in_exactly_one_shard_in_order_and_within_the_bounds(
            max_items in 1u32..40,
            items in prop::collection::vec((1usize..60_000, 0..MAX_SHARD_BYTES * 2), 0..60),
        ) {
            let pages = cut(max_items, &items);
            let mut next = 0;
            for page in pages {
                prop_assert!((1..=max_items).contains(&page.size.items));
                prop_assert!(page.lines.len() <= MAX_PAGE_BYTES);
                prop_assert!(page.size.items == 1 || page.size.bytes <= MAX_SHARD_BYTES);
                let lines = std::str::from_utf8(&page.lines).unwrap();
                prop_assert_eq!(lines.lines().count(), page.size.items as usize);
                let mut bytes = 0;
                for line in lines.lines() {
                    prop_assert_eq!(line.parse::<usize>().unwrap(), next);
                    bytes += items[next].1;
                    next += 1;
                }
                prop_assert_eq!(bytes, page.size.bytes);
            }
            prop_assert_eq!(next, items.len());
        }
    }
}
