//! An HTTP receiver on loopback that answers every request with 200 and keeps nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Sink {
    pub address: SocketAddr,
    received: Arc<[AtomicU64; 2]>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback socket");
        let address = listener.local_addr().expect("its address");
        let received = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counters = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counters = Arc::clone(&counters);
                std::thread::spawn(move || serve(stream, &counters));
            }
        });
        Self { address, received }
    }

    pub fn requests(&self) -> u64 {
        self.received[0].load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.received[1].load(Ordering::Relaxed)
    }
}

/// Answers until the connection ends.
fn serve(stream: TcpStream, counters: &[AtomicU64; 2]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        let read = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        counters[0].fetch_add(1, Ordering::Relaxed);
        counters[1].fetch_add(read, Ordering::Relaxed);
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
