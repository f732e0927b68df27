//! Bounds that follow from the limit on open files. Pure.

use super::Config;

/// Files of the process itself, with the 64 connections to its health and metrics.
const OWN_FILES: usize = 128;
/// Most requests at a time to the object store, downloads aside, and to the API server; each takes a connection.
const MAX_OUTGOING: usize = 512;

/// How the open files of the process are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Connections of clients.
    pub connections: usize,
    /// Requests at a time to the object store, and to the API server.
    pub outgoing: usize,
}

impl Files {
    /// Divides `limit` files, of which at most `max_connections` are connections of clients.
    pub fn divide(limit: usize, max_connections: usize) -> Self {
        let outgoing = (limit / 8).clamp(1, MAX_OUTGOING);
        let left = limit.saturating_sub(OWN_FILES + 2 * outgoing).max(1);
        Self {
            connections: left.min(max_connections),
            outgoing,
        }
    }
}

impl Config {
    /// Lowers the bounds to what `limit` open files allow. Waits and downloads leave a quarter of the connections
    /// to other requests.
    pub fn fit(&mut self, limit: usize) -> Files {
        let files = Files::divide(limit, self.limits.max_connections);
        if files.connections < self.limits.max_connections {
            tracing::warn!(
                limit,
                connections = files.connections,
                wanted = self.limits.max_connections,
                "the limit on open files allows fewer connections: raise its hard limit, or lower --max-connections"
            );
        }
        self.limits.max_connections = files.connections;
        let most = (files.connections / 4 * 3).max(1);
        self.reads.max_waiters = self.reads.max_waiters.min(most);
        self.reads.max_downloads = self.reads.max_downloads.min(most);
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn connections_take_what_the_process_does_not_need_itself() {
        let divide = |limit| {
            let Files {
                connections,
                outgoing,
            } = Files::divide(limit, 16_384);
            (connections, outgoing)
        };
        assert_eq!(divide(usize::MAX), (16_384, 512));
        // A hard limit of 20,000 is enough for the default.
        assert_eq!(divide(20_000), (16_384, 512));
        assert_eq!(divide(1024), (640, 128));
        assert_eq!(divide(256), (64, 32));
        assert_eq!(divide(0), (1, 1));
        for limit in 200..20_000 {
            let (connections, outgoing) = divide(limit);
            assert!(connections + 2 * outgoing < limit, "{limit}");
        }
    }

    #[test]
    fn few_files_bound_waits_and_downloads_too_and_many_change_nothing() {
        let config = Config::parse_from(["fovea-api"]);
        let mut many = config.clone();
        many.fit(1_000_000);
        let bounds = |config: &Config| {
            (
                config.limits.max_connections,
                config.reads.max_waiters,
                config.reads.max_downloads,
            )
        };
        assert_eq!(bounds(&many), bounds(&config));
        let mut few = config;
        few.fit(256);
        assert_eq!(bounds(&few), (64, 48, 48));
    }
}
