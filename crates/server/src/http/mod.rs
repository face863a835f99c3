//! What every route needs of HTTP: serving, errors, parameters, guards.

pub(crate) mod compress;
pub(crate) mod cors;
pub(crate) mod error;
pub(crate) mod guard;
pub(crate) mod params;
pub(crate) mod serve;
