//! The SDK as an application sees it, against a receiver that does what a script says.

mod export;
mod http;
mod receiver;
mod spans;
