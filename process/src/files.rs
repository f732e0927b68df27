//! The limit on open files, of which every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one, which a process may do itself; returns the limit that
/// holds from now on. Most container runtimes and shells set a soft limit of 1,024, for programs that use select(2).
pub(crate) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, ?current, ?maximum, "the limit on open files cannot be raised");
            current
        }
    };
    // `None` is no limit.
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    tracing::info!(limit, "open files");
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        assert!(maximum.is_none_or(|maximum| maximum == limit as u64));
    }
}
