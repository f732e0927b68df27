//! Nothing but a home for the tests beside it: `crate_graph`, `e2e`, `faults`.
