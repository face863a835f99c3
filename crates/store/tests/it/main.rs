//! The store as its users see it, and as a crash, a bad disk and an impatient client treat it.
//!
//! | module | proves | does not prove |
//! |---|---|---|
//! | `facade` | what is acknowledged is visible, once, at every moment and after every kind of restart | that the columns hold the right values (unit tests of `head`, `merge`, `segment`) |
//! | `damage` | every kind of file may be damaged: said plainly, the rest served, nothing acknowledged lost | damage that two files share |
//! | `crash` | SIGKILL at random moments loses and doubles nothing | loss of power (the simulated disk in `wal` and `lifecycle` does) |

// `allow-unwrap-in-tests` reaches test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod damage;
mod facade;
mod support;
