//! What the proxy adds to a request: the same load at a constant rate, directly and through the proxy.
//!
//! ```sh
//! cargo run --release -p tracewell-proxy --example latency -- 2000 10
//! ```
//!
//! Requests are due at fixed times, whatever became of those before; a latency counts from when its request was due, so
//! that a pause is felt by everyone who would have come meanwhile. Every trace is recorded and exported. The backend, the
//! clients and the receiver of spans are this process, the proxy is another one: this program again, with other words.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tracewell_proxy::{Config, Routes};
use tracewell_sdk::{Pipeline, Resource};
use tracing::Level;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connections that share the load.
const CONNECTIONS: u32 = 32;

/// Bytes of each answer.
const BODY_BYTES: usize = 1024;

/// Rounds of each kind, in turns, so that a busy machine is busy for both.
const ROUNDS: usize = 3;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == "proxy").is_some() {
        let usage = "usage: latency proxy URL-OF-BACKEND URL-OF-RECEIVER";
        return be_proxy(&arguments.next().ok_or(usage)?, &arguments.next().ok_or(usage)?);
    }
    let rate: f64 = arguments.next().map_or(Ok(2000.0), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(10.0), |text| text.parse())?;
    let (backend, sink) = (start_backend()?, start_sink()?);
    let proxy = Proxy::start(backend, sink)?;
    println!("{rate} requests/s over {CONNECTIONS} connections, {seconds} s a round, {BODY_BYTES} bytes an answer");
    for (name, version) in [("HTTP/1.1", Version::Http1), ("HTTP/2", Version::Http2)] {
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        run(proxy.address, version, rate, 1.0)?;
        for _ in 0..ROUNDS {
            direct.extend(run(backend, version, rate, seconds)?);
            through.extend(run(proxy.address, version, rate, seconds)?);
        }
        direct.sort_unstable();
        through.sort_unstable();
        println!("{name}: {} requests each way, microseconds from when a request was due", direct.len());
        println!("{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "p99.9", "max");
        let shares = [0.5, 0.9, 0.99, 0.999, 1.0];
        for (kind, all) in [("direct", &direct), ("proxy", &through)] {
            let row: String = shares.iter().map(|share| format!("{:>10}", at(all, *share).as_micros())).collect();
            println!("{kind:>10}{row}");
        }
        let added = |share: &f64| at(&through, *share).as_micros() as i128 - at(&direct, *share).as_micros() as i128;
        println!("{:>10}{}", "added", shares.iter().map(|share| format!("{:>10}", added(share))).collect::<String>());
    }
    Ok(())
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// The latencies of one round.
fn run(to: SocketAddr, version: Version, rate: f64, seconds: f64) -> Result<Vec<Duration>, Failure> {
    let begin = Instant::now() + Duration::from_millis(200);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| std::thread::spawn(move || client(to, version, begin, number, rate, seconds)))
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.join().map_err(|_| "a client panicked")??);
    }
    Ok(all)
}

fn client(
    to: SocketAddr,
    version: Version,
    begin: Instant,
    number: u32,
    rate: f64,
    seconds: f64,
) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    if let Version::Http2 = version {
        // The preface and empty settings.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    }
    let (mut latencies, mut stream_id) = (Vec::new(), 1u32);
    for turn in 0.. {
        let due = Duration::from_secs_f64(f64::from(turn * CONNECTIONS + number) / rate);
        if due.as_secs_f64() >= seconds {
            break;
        }
        std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
        match version {
            Version::Http1 => http1(&mut stream)?,
            Version::Http2 => http2(&mut stream, stream_id)?,
        }
        stream_id += 2;
        latencies.push((begin + due).elapsed());
    }
    Ok(latencies)
}

fn http1(stream: &mut TcpStream) -> Result<(), Failure> {
    stream.write_all(b"GET /orders/42 HTTP/1.1\r\nHost: shop\r\nUser-Agent: latency\r\n\r\n")?;
    let (mut buffer, mut got) = ([0u8; 8192], 0);
    loop {
        let read = stream.read(buffer.get_mut(got..).ok_or("a head that is too large")?)?;
        if read == 0 {
            return Err("the connection was closed".into());
        }
        got += read;
        let seen = buffer.get(..got).unwrap_or_default();
        if let Some(head) = seen.windows(4).position(|window| window == b"\r\n\r\n")
            && got >= head + 4 + BODY_BYTES
        {
            return if seen.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err("not a 200".into()) };
        }
    }
}

/// One request on one stream (RFC 9113): a HEADERS frame of indexed and literal fields, and frames until END_STREAM.
fn http2(stream: &mut TcpStream, id: u32) -> Result<(), Failure> {
    let mut head = vec![0x82, 0x86, 0x04, 10];
    head.extend_from_slice(b"/orders/42");
    head.extend_from_slice(&[0x01, 4]);
    head.extend_from_slice(b"shop");
    write_frame(stream, 1, 0x5, id, &head)?;
    loop {
        let mut frame = [0u8; 9];
        stream.read_exact(&mut frame)?;
        let [l0, l1, l2, kind, flags, i0, i1, i2, i3] = frame;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        stream.read_exact(&mut payload)?;
        let of = u32::from_be_bytes([i0, i1, i2, i3]);
        match kind {
            0 if !payload.is_empty() => {
                write_frame(stream, 8, 0, 0, &u32::try_from(payload.len())?.to_be_bytes())?;
            }
            3 | 7 => return Err("the stream was reset".into()),
            4 if flags & 1 == 0 => write_frame(stream, 4, 1, 0, &[])?,
            6 if flags & 1 == 0 => write_frame(stream, 6, 1, 0, &payload)?,
            _ => {}
        }
        if of == id && flags & 1 != 0 && kind <= 1 {
            return Ok(());
        }
    }
}

fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<(), Failure> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(payload);
    stream.write_all(&frame)?;
    Ok(())
}

/// A backend on a thread of its own that answers at once.
fn start_backend() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                // A socket without it still answers, only later.
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let service = service_fn(|_: Request<Incoming>| async {
                        let body = Bytes::from_static(&[b'x'; BODY_BYTES]);
                        Ok::<_, Infallible>(Response::new(Full::new(body)))
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // Clients end when they are done.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    Ok(address)
}

/// Takes whatever is exported.
fn start_sink() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || swallow(stream));
        }
    });
    Ok(address)
}

fn swallow(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0u64);
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = number.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// The proxy as `tracewell proxy` sets it up, until the process is killed.
fn be_proxy(backend: &str, sink: &str) -> Result<(), Failure> {
    let mut sdk = tracewell_sdk::Config::to_endpoint(sink);
    sdk.traces.queue_records_max = 32_768;
    sdk.traces.batch_records_max = 2_048;
    sdk.traces.delay = Duration::from_secs(1);
    let pipeline = Pipeline::start(sdk)?;
    let dispatch = pipeline.tracer(&Resource::new("measured")).dispatch(Level::INFO);
    let config = Config {
        inbound: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        routes: Routes::new(Vec::new(), Some(backend.parse()?)),
        ..Config::default()
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let proxy = tracewell_proxy::start(config, dispatch).await?;
        println!("{}", proxy.addresses().inbound.ok_or("no address")?);
        std::future::pending().await
    })
}

struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(backend: SocketAddr, sink: SocketAddr) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["proxy", &format!("http://{backend}"), &format!("http://{sink}")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It is ours, and has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
