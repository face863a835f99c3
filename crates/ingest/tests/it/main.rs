//! The listeners as a client sees them: every protocol, encoding and error over real sockets, with a sink in memory.
//!
//! | file | shows | does not show |
//! |---|---|---|
//! | `http` | OTLP/HTTP: formats, codings, every error with its status, CORS | browsers |
//! | `grpc` | OTLP/gRPC over HTTP/2: frames, codings, status codes, deadlines, health | clients of other languages |
//! | `hostile` | bombs, liars, slow, cut and half-closed connections, junk, memory | floods from many machines |
//! | `lifecycle` | binding, ports, shutdown, back-pressure and the shared budget | storage |
//! | `replay` | what released clients sent, over both transports | clients not recorded |

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod grpc;
mod hostile;
mod http;
mod lifecycle;
mod replay;
mod support;
