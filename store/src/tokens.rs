//! Continuation tokens of one list, which must not go round in a circle.

use crate::StoreError;

/// Maximum number of pages of a list without an object, one after the other.
const MAX_EMPTY_PAGES: u32 = 1000;

/// Where a list goes on, and whether it ever ends.
#[derive(Debug, Default)]
pub struct PageTokens {
    next: Option<String>,
    /// An earlier token: that of the latest page whose number is a power of two.
    mark: Option<String>,
    pages: u64,
    empty: u32,
}

impl PageTokens {
    /// Token of the next page; `None` before the first page.
    pub fn token(&self) -> Option<String> {
        self.next.clone()
    }

    /// Takes the token that a page names; fails if the list goes round in a circle of any length, which
    /// Brent's algorithm finds, or if too many pages in a row are empty.
    pub fn follow(&mut self, next: Option<String>, is_empty: bool) -> Result<(), StoreError> {
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if next.is_some() && next == self.mark || self.empty > MAX_EMPTY_PAGES {
            return Err(StoreError::List("one does not end".to_owned()));
        }
        self.pages += 1;
        if self.pages.is_power_of_two() {
            self.mark.clone_from(&next);
        }
        self.next = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_goes_round_in_a_circle_ends_with_an_error() {
        for (before, circle) in [(0, 1), (0, 2), (5, 1), (7, 3), (100, 17)] {
            let mut tokens = PageTokens::default();
            let token = |page: u64| {
                let page = if page < before {
                    page
                } else {
                    before + (page - before) % circle
                };
                Some(page.to_string())
            };
            let end = (0..10 * (before + circle)).find(|page| {
                let followed = tokens.follow(token(*page), false);
                followed.is_err()
            });
            assert!(end.is_some(), "{before} {circle}");
        }
        let mut tokens = PageTokens::default();
        let mut all = (0..10_000u32).map(|page| tokens.follow(Some(page.to_string()), false));
        assert!(all.all(|followed| followed.is_ok()));
        let mut empty = (0..10_000u32).map(|page| tokens.follow(Some(page.to_string()), true));
        assert!(empty.any(|followed| followed.is_err()));
    }
}
