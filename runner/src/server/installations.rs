//! The installations that a runner remembers, with the highest epoch of each (rule 5). Pure: time is an
//! argument.

use fovea_protocol::{Problem, Reason};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Upper bound on the installations that are remembered at once. A pool has one.
const MAX_INSTALLATIONS: usize = 64;

#[derive(Debug)]
pub(super) struct Installations {
    forget_after: Duration,
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    epoch: u64,
    /// Absent until its leader has announced itself.
    holder: Option<String>,
    /// When a request of this epoch last arrived.
    heard: Instant,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) installation: &'a str,
    pub(super) epoch: u64,
    /// The leader's process, in announcements.
    pub(super) holder: Option<&'a str>,
}

impl<'a> Sender<'a> {
    /// The sender of work.
    pub(super) fn of(installation: &'a str, epoch: u64) -> Self {
        Self {
            installation,
            epoch,
            holder: None,
        }
    }
}

impl Installations {
    /// `forget_after`: time without a request after which an installation may be forgotten.
    pub(super) fn new(forget_after: Duration) -> Self {
        Self {
            forget_after,
            known: HashMap::new(),
        }
    }

    /// Remembers the sender's epoch, or refuses it.
    ///
    /// If there is no room for another installation, the one that has been silent longest is forgotten.
    /// One that was heard within `forget_after` or `is_busy` is not.
    pub(super) fn observe(
        &mut self,
        sender: Sender<'_>,
        now: Instant,
        is_busy: impl Fn(&str) -> bool,
    ) -> Result<(), Problem> {
        let Sender {
            installation,
            epoch,
            holder,
        } = sender;
        if let Some(known) = self.known.get_mut(installation) {
            return known.observe(epoch, holder, now);
        }
        if self.known.len() >= MAX_INSTALLATIONS {
            self.forget_one(now, is_busy)?;
        }
        let known = Known {
            epoch,
            holder: holder.map(str::to_owned),
            heard: now,
        };
        self.known.insert(installation.to_owned(), known);
        Ok(())
    }

    fn forget_one(&mut self, now: Instant, is_busy: impl Fn(&str) -> bool) -> Result<(), Problem> {
        let silent = self.known.iter().filter(|(installation, known)| {
            now.saturating_duration_since(known.heard) >= self.forget_after
                && !is_busy(installation)
        });
        let longest = silent.min_by_key(|(_, known)| known.heard);
        let Some(installation) = longest.map(|(installation, _)| installation.clone()) else {
            let why = format!(
                "this runner serves {MAX_INSTALLATIONS} other installations; it forgets one that has \
                 sent nothing for {} s and has no jobs here",
                self.forget_after.as_secs()
            );
            return Err(Problem::new(Reason::Busy, why));
        };
        tracing::info!(
            installation,
            "forgotten: it has been silent, and another one needs its place"
        );
        self.known.remove(&installation);
        Ok(())
    }
}

impl Known {
    fn observe(&mut self, epoch: u64, holder: Option<&str>, now: Instant) -> Result<(), Problem> {
        let is_another = match (&self.holder, holder) {
            (Some(known), Some(holder)) => known != holder,
            _ => false,
        };
        if self.epoch > epoch {
            let why = format!(
                "a leader of epoch {} has taken over; this request is of epoch {epoch}",
                self.epoch
            );
            return Err(Problem::stale_epoch(self.epoch, why));
        }
        if self.epoch == epoch && is_another {
            let why = format!("another leader has announced itself with epoch {epoch}");
            return Err(Problem::stale_epoch(epoch, why));
        }
        if self.epoch < epoch {
            (self.epoch, self.holder) = (epoch, None);
        }
        if let (None, Some(holder)) = (&self.holder, holder) {
            self.holder = Some(holder.to_owned());
        }
        self.heard = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn of(installation: &str, epoch: u64) -> Sender<'_> {
        Sender {
            installation,
            epoch,
            holder: None,
        }
    }

    fn announced(epoch: u64, holder: &str) -> Sender<'_> {
        Sender {
            holder: Some(holder),
            ..of("i", epoch)
        }
    }

    /// As many as fit, the first one heard first.
    fn full(start: Instant) -> Installations {
        let mut installations = Installations::new(HOUR);
        for number in 0..MAX_INSTALLATIONS {
            let at = start + Duration::from_secs(number as u64);
            let name = number.to_string();
            installations.observe(of(&name, 5), at, |_| false).unwrap();
        }
        installations
    }

    #[test]
    fn a_lower_epoch_is_refused_with_the_one_that_is_remembered() {
        let (mut installations, now) = (Installations::new(HOUR), Instant::now());
        for epoch in [3, 3, 7] {
            installations
                .observe(of("i", epoch), now, |_| false)
                .unwrap();
        }
        let refused = installations.observe(of("i", 6), now, |_| false);
        let problem = refused.unwrap_err();
        assert_eq!(
            (problem.reason, problem.epoch),
            (Reason::StaleEpoch, Some(7))
        );
        installations.observe(of("j", 1), now, |_| false).unwrap();
    }

    #[test]
    fn two_leaders_of_one_epoch_are_told_apart() {
        let (mut installations, now) = (Installations::new(HOUR), Instant::now());
        let mut observe = |sender| installations.observe(sender, now, |_| false);
        observe(of("i", 4)).unwrap();
        observe(announced(4, "a")).unwrap();
        observe(announced(4, "a")).unwrap();
        let problem = observe(announced(4, "b")).unwrap_err();
        assert_eq!(
            (problem.reason, problem.epoch),
            (Reason::StaleEpoch, Some(4))
        );
        observe(of("i", 4)).unwrap();
        observe(announced(5, "b")).unwrap();
        assert!(observe(announced(5, "a")).is_err());
    }

    #[test]
    fn nobody_is_forgotten_while_there_is_room() {
        let start = Instant::now();
        let mut installations = Installations::new(HOUR);
        installations.observe(of("i", 5), start, |_| false).unwrap();
        let much_later = start + 1000 * HOUR;
        let stale = installations.observe(of("i", 4), much_later, |_| false);
        assert!(stale.is_err());
    }

    #[test]
    fn one_more_is_refused_until_another_has_been_silent_and_has_no_jobs() {
        let start = Instant::now();
        let mut installations = full(start);
        let early = start + Duration::from_secs(3599);
        let refused = installations.observe(of("new", 1), early, |_| false);
        assert_eq!(refused.unwrap_err().reason, Reason::Busy);
        // A request keeps "0"; "1" has jobs; "2" is the next.
        let later = start + HOUR + Duration::from_secs(2);
        installations.observe(of("0", 5), later, |_| false).unwrap();
        let busy = |name: &str| name == "1";
        installations.observe(of("new", 1), later, busy).unwrap();
        assert_eq!(installations.known.len(), MAX_INSTALLATIONS);
        let known = |name: &str| installations.known.contains_key(name);
        assert!(known("0") && known("1") && !known("2") && known("3") && known("new"));
    }

    #[test]
    fn a_refused_request_does_not_keep_an_installation() {
        let start = Instant::now();
        let mut installations = full(start);
        let later = start + HOUR;
        assert!(installations.observe(of("0", 4), later, |_| false).is_err());
        installations
            .observe(of("new", 1), later, |_| false)
            .unwrap();
        assert!(!installations.known.contains_key("0"));
    }
}
