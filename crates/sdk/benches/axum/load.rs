//! Load: connections that send the same request again as soon as it is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One server and the request to send.
pub struct Target {
    address: SocketAddr,
    request: Vec<u8>,
}

/// What came of one turn.
pub struct Done {
    /// One for each request answered.
    pub latencies: Vec<Duration>,
    pub took: Duration,
}

impl Target {
    pub fn new(address: SocketAddr, request: &[u8]) -> Self {
        Self { address, request: request.to_vec() }
    }

    /// Keeps `connections` busy for `time`.
    pub fn run(&self, connections: usize, time: Duration) -> Done {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..connections {
                let stream = TcpStream::connect(self.address).await.expect("the server listens");
                stream.set_nodelay(true).expect("a socket option");
                streams.push(stream);
            }
            let begin = Instant::now();
            let tasks: Vec<_> = streams
                .into_iter()
                .map(|stream| tokio::spawn(keep_busy(stream, self.request.clone(), begin + time)))
                .collect();
            let mut latencies = Vec::new();
            for task in tasks {
                latencies.extend(task.await.expect("no panic"));
            }
            Done { latencies, took: begin.elapsed() }
        })
    }
}

async fn keep_busy(mut stream: TcpStream, request: Vec<u8>, until: Instant) -> Vec<Duration> {
    let (mut latencies, mut answer) = (Vec::with_capacity(4096), vec![0; 64 << 10]);
    loop {
        let begin = Instant::now();
        if begin >= until {
            return latencies;
        }
        stream.write_all(&request).await.expect("the server reads");
        let mut length = 0;
        while !is_complete(answer.get(..length).unwrap_or_default()) {
            let read = stream.read(answer.get_mut(length..).expect("a short answer")).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            length += read;
        }
        latencies.push(begin.elapsed());
    }
}

/// Whether head and as much of a body as it announces are there.
fn is_complete(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(answer.get(..head).unwrap_or_default()).expect("a head of text");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    answer.len() >= head + 4 + length.parse::<usize>().expect("a number")
}
