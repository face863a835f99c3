//! What slow requests have in common: in tables of requests, and in traces.

mod shop;
mod tables;
mod traces;
