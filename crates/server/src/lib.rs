//! Being born.
