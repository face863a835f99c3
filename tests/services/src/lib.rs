//! Nothing but tests: see `tests/it/main.rs`, and `run`, which starts the servers.
